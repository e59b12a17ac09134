"""Writers of one gallery that are killed, or at work at the same time: in a directory and in a bucket."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.recovery.forget import forget_row, plan_forget
from pixverse_dagster.reports.gallery.removal import remove_clips
from pixverse_dagster.reports.gallery.writer import GalleryOptions, write_gallery
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.pages import PageFile, PageFiles
from pixverse_dagster.storage.s3 import S3Store
from pixverse_dagster_tests.harness.clips import store_row
from pixverse_dagster_tests.harness.factories import NAME, NOW, make_row, make_rows, put_row
from pixverse_dagster_tests.harness.galleries import cards_of, documents_of, files_of, index_of
from pixverse_dagster_tests.harness.ledgers import ledger_in

SMALL = GalleryOptions(cards_in_chunk=2)


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ClipStore:
    if request.param == "local":
        return LocalStore(tmp_path / "store")
    client, bucket = request.getfixturevalue("shared_bucket")
    return S3Store(client, bucket, uuid.uuid4().hex)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    engine = open_engine(ledger_in(tmp_path))
    yield Ledger(engine)
    engine.dispose()


@pytest.fixture
def moments(store: ClipStore) -> Sequence[int]:
    """The steps at which something happens: all of them in a directory; a bucket takes longer, and has some."""
    return range(1, 100) if isinstance(store, LocalStore) else (3, 100)


class Killed(BaseException):
    """The process is gone at this moment."""


class Steps:
    """The files of a gallery, and what happens before the n-th change to one: each is a moment of a writer's life."""

    def __init__(self, pages: PageFiles, then: Callable[[int], None]) -> None:
        self._pages = pages
        self._then = then
        self._lock = threading.Lock()
        self.steps = 0

    @contextmanager
    def _step(self) -> Generator[None]:
        """One change at a time, also of a writer with threads: no other one is made while something happens."""
        with self._lock:
            self.steps += 1
            self._then(self.steps)
            yield

    def read(self, path: str) -> PageFile | None:
        return self._pages.read(path)

    def write(self, path: str, data: bytes) -> None:
        with self._step():
            self._pages.write(path, data)

    def write_if(self, path: str, data: bytes, version: str | None) -> bool:
        with self._step():
            return self._pages.write_if(path, data, version)

    def copy(self, key: str, path: str) -> bool:
        with self._step():
            return self._pages.copy(key, path)

    def delete(self, path: str) -> None:
        with self._step():
            self._pages.delete(path)

    def list(self) -> Iterator[tuple[str, float]]:
        return self._pages.list()

    def uri(self, path: str) -> str:
        return self._pages.uri(path)


def write(ledger: Ledger, store: ClipStore, pages: PageFiles | None = None, **how: Any) -> None:
    write_gallery(ledger, store, NAME, SMALL, pages=pages, **how)


def rows(store: ClipStore) -> list[str]:
    return [card["row"] for card in cards_of(store.pages(NAME))]


def pictures(store: ClipStore) -> set[str]:
    return {path for path, _ in store.pages(NAME).list() if path.startswith("thumbs/")}


def test_killed_at_any_step_the_old_gallery_opens_and_the_next_writer_completes_it(
    ledger: Ledger, store: ClipStore, moments: Sequence[int]
):
    """Before each change to a file: what the index names is there at every moment, and nothing is shown half."""
    for number, row in enumerate(make_rows(3)):
        store_row(ledger, store, row, now=NOW + number)
    write(ledger, store)
    old = rows(store)
    for number in range(3):
        store_row(ledger, store, make_row(f"new{number}"), now=NOW + 100 + number)
    for killed_at in moments:

        def die(step: int, at: int = killed_at) -> None:
            if step == at:
                raise Killed

        try:
            write(ledger, store, Steps(store.pages(NAME), die))
        except Killed:
            assert rows(store) == old
        else:
            break
    assert rows(store) == [*old, "new0", "new1", "new2"]
    assert len(pictures(store)) == 6


def test_killed_at_any_step_of_the_first_writing_there_is_no_index_that_lies(
    ledger: Ledger, store: ClipStore, moments: Sequence[int]
):
    """As long as there is no index, the page says so; then it is whole, the page itself too."""
    for number, row in enumerate(make_rows(3)):
        store_row(ledger, store, row, now=NOW + number)
    for killed_at in moments:

        def die(step: int, at: int = killed_at) -> None:
            if step == at:
                raise Killed

        try:
            write(ledger, store, Steps(store.pages(NAME), die))
        except Killed:
            assert store.pages(NAME).read("data/index.js") is None
        else:
            break
    assert rows(store) == ["r000", "r001", "r002"]
    assert store.pages(NAME).read("index.html") is not None


def test_of_two_writers_at_any_step_of_the_first_neither_loses_a_clip(
    ledger: Ledger, store: ClipStore, moments: Sequence[int]
):
    """The second comes in before each change of the first, with one more clip: both are there in the end."""
    store_row(ledger, store, make_row("first"), now=NOW)
    write(ledger, store)
    for at in moments[:7]:
        store_row(ledger, store, make_row(f"mine{at}"), now=NOW + 10 * at)

        def come_in(step: int, at: int = at) -> None:
            if step == at:
                store_row(ledger, store, make_row(f"others{at}"), now=NOW + 10 * at + 5)
                write(ledger, store)

        write(ledger, store, Steps(store.pages(NAME), come_in))
        write(ledger, store)
        found = rows(store)
        assert sorted(found) == sorted({task.row for task in ledger.tasks.find(NAME)}), at
        assert len(pictures(store)) == len(found)


def test_of_two_first_writers_the_gallery_is_whole(ledger: Ledger, store: ClipStore):
    """Neither has seen an index; each step of the one is met by the whole of the other."""
    for number, row in enumerate(make_rows(3)):
        store_row(ledger, store, row, now=NOW + number)

    def come_in(step: int) -> None:
        if step == 4:
            write(ledger, store)

    write(ledger, store, Steps(store.pages(NAME), come_in))
    assert rows(store) == ["r000", "r001", "r002"]


def test_many_writers_at_once_write_one_gallery(ledger: Ledger, store: ClipStore):
    """Threads, as runs on several machines: all end, and what the index names is there."""
    for number, row in enumerate(make_rows(5)):
        store_row(ledger, store, row, now=NOW + number)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write, ledger, store) for _ in range(4)]:
            done.result()
    assert rows(store) == [f"r{number:03}" for number in range(5)]


def test_what_is_forgotten_while_a_writer_is_at_work_is_nowhere_afterwards(
    ledger: Ledger, store: ClipStore, moments: Sequence[int]
):
    """Before each change of the writer's: its data files, its picture, and every file of an earlier gallery go."""
    write(ledger, store)
    for count, at in enumerate(moments[:8], start=1):
        task = store_row(ledger, store, make_row(f"secret{at}", prompt=f"the secret {at}"), now=NOW + 10 * at)
        store_row(ledger, store, make_row(f"other{at}"), now=NOW + 10 * at + 1)

        def forget(step: int, at: int = at, task: Any = task) -> None:
            if step == at:
                ledger.forget(task, "by hand")
                remove_clips(store.pages(NAME), NAME, [task.folder], task.row)

        write(ledger, store, Steps(store.pages(NAME), forget))
        if ledger.tasks.refresh(task).state == "stored":
            forget(at)
        # A file that one deletes while the other names it again is put once more, with its clip behind the others.
        assert sorted(rows(store)) == sorted(f"other{number}" for number in moments[:count])
        everything = b"".join(files_of(store.pages(NAME)).values())
        assert b"the secret" not in everything
        assert len(pictures(store)) == count


@pytest.mark.parametrize("at", range(1, 9))
def test_what_is_forgotten_while_the_first_writer_is_at_work_is_nowhere_afterwards(
    ledger: Ledger, tmp_path: Path, at: int
):
    """Where there is no gallery yet, and nothing of one, so that nothing can be taken out of it."""
    store = LocalStore(tmp_path / "store")
    task = store_row(ledger, store, make_row("secret", prompt="the secret"), now=NOW)
    store_row(ledger, store, make_row("other"), now=NOW + 1)

    def forget(step: int) -> None:
        if step == at:
            ledger.forget(task, "by hand")
            remove_clips(store.pages(NAME), NAME, [task.folder], task.row)

    write(ledger, store, Steps(store.pages(NAME), forget))
    assert ledger.tasks.refresh(task).state == "forgotten"
    _only_the_other_is_there(store)


@pytest.mark.parametrize("at", range(1, 6))
def test_a_row_forgotten_by_a_person_while_a_writer_is_at_work_is_nowhere_afterwards(
    ledger: Ledger, tmp_path: Path, at: int
):
    """By all that `clips forget` does: before the writer has put anything of the clip, and at each step from there."""
    store = LocalStore(tmp_path / "store")
    write(ledger, store)
    task = store_row(ledger, store, make_row("secret", prompt="the secret"), now=NOW)
    store_row(ledger, store, make_row("other"), now=NOW + 1)

    def forget(step: int) -> None:
        if step == at:
            done = forget_row(ledger, store, plan_forget(ledger, store, NAME, "secret"), "by hand", NOW + 2)
            assert done.failed == {}

    write(ledger, store, Steps(store.pages(NAME), forget))
    assert ledger.tasks.refresh(task).state == "forgotten"
    _only_the_other_is_there(store)


@pytest.mark.parametrize("at", range(1, 5))
def test_what_another_writer_noticed_as_forgotten_is_not_put_by_the_first(ledger: Ledger, tmp_path: Path, at: int):
    """The other writes the whole gallery in between, so that its index is younger than the forgetting."""
    store = LocalStore(tmp_path / "store")
    write(ledger, store)
    task = store_row(ledger, store, make_row("secret", prompt="the secret"), now=NOW)
    store_row(ledger, store, make_row("other"), now=NOW + 1)

    def forget(step: int) -> None:
        if step == at:
            ledger.forget(task, "by hand")
            write(ledger, store)
            remove_clips(store.pages(NAME), NAME, [task.folder], task.row)

    write(ledger, store, Steps(store.pages(NAME), forget))
    assert ledger.tasks.refresh(task).state == "forgotten"
    _only_the_other_is_there(store)


def test_forgetting_changes_nothing_that_is_seen_of_a_gallery_without_the_clip(ledger: Ledger, tmp_path: Path):
    """Only a writer meets another index, and where there is no gallery, none is begun."""
    store = LocalStore(tmp_path / "store")
    task = store_row(ledger, store, make_row("other"), now=NOW)
    assert not remove_clips(store.pages(NAME), NAME, [f"{task.folder}0"], "secret")
    assert not files_of(store.pages(NAME))
    write(ledger, store)
    before, version = files_of(store.pages(NAME)), store.pages(NAME).read("data/index.js")
    assert not remove_clips(store.pages(NAME), NAME, [f"{task.folder}0"], "secret")
    after = files_of(store.pages(NAME))
    assert {path for path in before | after if before.get(path) != after.get(path)} == {"data/index.js"}
    assert store.pages(NAME).read("data/index.js") != version
    _only_the_other_is_there(store)


def _only_the_other_is_there(store: ClipStore) -> None:
    assert rows(store) == ["other"]
    assert b"the secret" not in b"".join(files_of(store.pages(NAME)).values())
    assert len(pictures(store)) == 1


def test_killed_at_any_step_forgetting_goes_on_when_it_is_run_again(
    ledger: Ledger, store: ClipStore, moments: Sequence[int]
):
    """The gallery opens at every moment; in the end nothing of the clip is left."""
    task = store_row(ledger, store, make_row("secret", prompt="the secret"), now=NOW)
    write(ledger, store)
    store_row(ledger, store, make_row("other"), now=NOW + 1)
    put_row(ledger, make_row("waits"))
    write(ledger, store)
    ledger.forget(task, "by hand")
    for killed_at in moments:

        def die(step: int, at: int = killed_at) -> None:
            if step == at:
                raise Killed

        try:
            remove_clips(Steps(store.pages(NAME), die), NAME, [task.folder], "secret")
        except Killed:
            documents_of(store.pages(NAME))
        else:
            break
    assert rows(store) == ["other", "waits"]
    assert b"the secret" not in b"".join(files_of(store.pages(NAME)).values())
    assert len(pictures(store)) == 1
    assert remove_clips(store.pages(NAME), NAME, [task.folder], "secret") is False
    write(ledger, store)
    assert rows(store) == ["other", "waits"]


def test_a_killed_process_leaves_a_gallery_that_opens(tmp_path: Path, ledger: Ledger):
    """The real thing, for a directory: a process that writes without end is killed, several times."""
    store = LocalStore(tmp_path / "store")
    for number, row in enumerate(make_rows(4)):
        store_row(ledger, store, row, now=NOW + number)
    context = multiprocessing.get_context("spawn")
    for _ in range(2):
        mine, others = context.Pipe()
        process = context.Process(target=write_for_ever, args=(tmp_path, others))
        process.start()
        assert mine.poll(60)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert len(rows(store)) >= 4
    write(ledger, store)
    stored = {task.row for task in ledger.tasks.find(NAME, [TaskState.STORED])}
    assert {card["row"] for card in cards_of(store.pages(NAME)) if card["state"] == "stored"} == stored


def write_for_ever(folder: Path, ready: Connection) -> None:
    ledger, store = Ledger(open_engine(ledger_in(folder))), LocalStore(folder / "store")
    for number in range(1_000_000):
        store_row(ledger, store, make_row(uuid.uuid4().hex), now=NOW + 100 + number)
        write(ledger, store)
        if number == 1:
            ready.send("under way")


def test_the_next_writer_goes_on_from_where_the_index_says(ledger: Ledger, store: ClipStore):
    """And reads no more of the history than came since."""
    store_row(ledger, store, make_row("first"), now=NOW)
    write(ledger, store)
    assert index_of(store.pages(NAME)).writer.position == ledger.overview.position()
