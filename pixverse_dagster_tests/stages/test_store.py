"""Entering a store, and storing what belongs there: each attempt in its own folder, each file on record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pixverse_dagster.core.errors import StoreConflict
from pixverse_dagster.core.layout import MARKER, task_folder
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.manifest import ClipManifest
from pixverse_dagster.core.outcomes import Accepted, Failed, Succeeded
from pixverse_dagster.core.task import Applied, Task
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.reports.verify import verify
from pixverse_dagster.stages.collect import Collected, collect_tasks
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.store import enter_store
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.marker import check_form
from pixverse_dagster_tests.harness.factories import NAME, NOW, make_row, record_rows, session_in
from pixverse_dagster_tests.harness.finished import ROW, Serve, claimed, serving, succeeded
from pixverse_dagster_tests.harness.putting import putting
from pixverse_dagster_tests.harness.stored import collect_all, manifest_of, read

GOLDEN = Path(__file__).parents[1] / "data" / "manifest.json"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session that can ask no provider."""
    with session_in(tmp_path, "http://127.0.0.1:9") as session:
        yield session


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A function that serves a clip with this picture, at an address of its own."""
    with serving(tmp_path) as serve:
        yield serve


def stored(session: Session, store: LocalStore, task: Task) -> ClipManifest:
    return manifest_of(collect_all(session, store, [task])[task.row])


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- what is stored, and what the ledger says of it


def test_a_second_attempt_never_enters_the_folder_of_the_first(
    session: Session, store: LocalStore, serve: Serve, tmp_path: Path
):
    """What the first one left stays; the second one's manifest names the second task, and its bytes are that task's."""
    first = succeeded(session, "t1", serve("moving"))
    left = f"{task_folder(first)}/1.mp4"
    enter_store(store, session.ledger.id, NAME)
    assert putting(store, tmp_path)(left, b"half of the first attempt")
    session.ledger.expire(first, Failed(FailureKind.EXPIRED, "gone"), NOW)
    assert isinstance(session.ledger.release(session.ledger.tasks.refresh(first), "a person, today"), Applied)
    second = succeeded(session, "t2", serve("black"))
    manifest = stored(session, store, second)
    assert str(task_folder(second)) == f"{task_folder(first)}-a2"
    assert (manifest.task_id, manifest.attempt, manifest.claim) == ("t2", 2, 2)
    assert [output.key for output in manifest.outputs] == [f"{task_folder(second)}/1.mp4"]
    assert hashlib.sha256(read(store, manifest.outputs[0].key)).hexdigest() == digest(tmp_path / "black.mp4")
    assert [(one.attempt, one.state, one.decision) for one in manifest.attempts] == [
        (1, TaskState.FAILED, "a person, today"),
        (2, TaskState.SUCCEEDED, None),
    ]
    assert read(store, left) == b"half of the first attempt"


def test_a_clip_of_a_first_attempt_is_kept_beside_that_of_a_second(session: Session, store: LocalStore, serve: Serve):
    """Also where the first one turns out to have succeeded after all."""
    first = succeeded(session, "t1", serve("moving"))
    session.ledger.expire(first, Failed(FailureKind.EXPIRED, "gone"), NOW)
    session.ledger.release(session.ledger.tasks.refresh(first), "a person, today")
    second = succeeded(session, "t2", serve("black"))
    late = session.ledger.succeed(first, Succeeded((serve("gradient"),)), NOW)
    assert isinstance(late, Applied)
    found = [stored(session, store, task) for task in (second, late.task)]
    assert [one.task_id for one in found] == ["t2", "t1"]
    assert found[0].outputs[0].sha256 != found[1].outputs[0].sha256
    assert verify(session.ledger, store, NAME).disagreements == ()


def test_every_file_is_on_record_as_it_landed(session: Session, store: LocalStore, serve: Serve):
    """Clip and poster, with the digests that the manifest has; and the manifest's own stands with the task."""
    task = succeeded(session, "t1", serve("moving"))
    (output,) = stored(session, store, task).outputs
    landed = {one.key: (one.n, one.digest.sha256, one.digest.size_bytes) for one in session.ledger.files.find(task)}
    assert landed == {
        output.key: (1, output.sha256, output.size_bytes),
        output.poster_key: (1, output.poster_sha256, output.poster_size_bytes),
    }
    for key, (_, sha256, size_bytes) in landed.items():
        data = read(store, key)
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (sha256, size_bytes)
    task = session.ledger.tasks.refresh(task)
    assert task.manifest_sha256 == hashlib.sha256(read(store, task_folder(task).manifest)).hexdigest()


def collected_after(
    session: Session, store: LocalStore, task: Task, meanwhile: Callable[[Ledger], object]
) -> list[Collected]:
    """What collecting yields where something happens to the task between the clip's event and its move."""
    found: list[Collected] = []
    for one in collect_tasks(session, store, [task]):
        found.append(one)
        if len(found) == 1:
            assert one.manifest is not None, one.problem
            meanwhile(session.ledger)
    return found


def test_a_clip_that_the_ledger_does_not_take_is_no_success(
    session: Session, store: LocalStore, serve: Serve, caplog: pytest.LogCaptureFixture
):
    """The task was disputed in the meantime: it is reported once more, with the problem, and logged."""
    task = succeeded(session, "t1", serve("moving"))
    other = make_row("boat")

    def dispute(ledger: Ledger) -> None:
        record_rows(ledger, [ROW, other])
        ledger.accept(claimed(session, other), Accepted("t1"), NOW, NOW)

    first, second = collected_after(session, store, task, dispute)
    assert (first.problem, second.manifest, second.task.state) == ("", None, TaskState.UNKNOWN)
    for word in ("'kite'", "is in the store", "unknown", "nothing is paid again"):
        assert word in second.problem
    assert second.problem in caplog.text
    assert session.ledger.tasks.refresh(task).state is TaskState.UNKNOWN


def test_a_clip_that_is_stored_counts_whatever_was_said_of_its_task_meanwhile(
    session: Session, store: LocalStore, serve: Serve
):
    """Given up as expired by another run, or stored by it: the clip is there, and so says the ledger."""
    task = succeeded(session, "t1", serve("moving"))
    gone = Failed(FailureKind.EXPIRED, "gone")
    (found,) = collected_after(session, store, task, lambda ledger: ledger.expire(task, gone, NOW))
    assert found.problem == ""
    assert session.ledger.tasks.refresh(task).state is TaskState.STORED
    again = collected_after(session, store, session.ledger.tasks.refresh(task), lambda _: None)
    assert [one.problem for one in again] == [""]


# --- which store it is


def documents(store: LocalStore) -> dict[str, Any]:
    keys = [MARKER, *store.keys("ledgers/")]
    return {key: json.loads(read(store, key)) for key in keys}


def test_a_store_says_which_one_it_is_and_who_wrote_there(session: Session, store: LocalStore):
    """Entering it a second time, or for another pipeline or ledger, keeps what stands there."""
    ledger = session.ledger.id
    enter_store(store, ledger, "films")
    marker = documents(store)[MARKER]
    assert set(marker) == {"store_id", "format", "created_at"}
    assert (len(marker["store_id"]), marker["format"]) == (32, 1)
    before = {path: path.stat().st_mtime_ns for path in Path(store.uri("")).rglob("*.json")}
    enter_store(store, ledger, "films")
    assert {path: path.stat().st_mtime_ns for path in Path(store.uri("")).rglob("*.json")} == before
    enter_store(store, ledger, "posters")
    enter_store(store, "another", "films")
    assert documents(store) == {
        MARKER: marker,
        f"ledgers/{ledger}.json": {"ledger_id": ledger, "pipelines": ["films", "posters"]},
        "ledgers/another.json": {"ledger_id": "another", "pipelines": ["films"]},
    }


def test_what_a_later_release_wrote_of_a_ledger_is_kept(store: LocalStore, tmp_path: Path):
    """Keys that are not known here survive another pipeline."""
    enter_store(store, "one", "films")
    place = Path(store.uri("ledgers/one.json"))
    place.write_text(json.dumps({**json.loads(place.read_text()), "added_later": {"a": 1}}))
    enter_store(store, "one", "posters")
    assert json.loads(place.read_text()) == {
        "ledger_id": "one", "pipelines": ["films", "posters"], "added_later": {"a": 1}
    }  # fmt: skip


def early_clip(store: LocalStore, folder: Path, pipeline: str = NAME) -> Path:
    """A store as it was before the first release: clips, with manifests of version 1, and nothing at the root."""
    manifest = json.dumps({**json.loads(GOLDEN.read_text()), "version": 1}).encode()
    key = f"{pipeline}/clips/kite/0123456789ab-t1/manifest.json"
    assert putting(store, folder)(key, manifest)
    return Path(store.uri(key))


def contents(store: LocalStore) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path(store.uri("")).rglob("*") if path.is_file()}


WORDS = ("before the first release", "nothing is read from it", "nothing is paid against it", "a store of its own")


@pytest.mark.parametrize("marked", [False, True])
def test_a_store_of_the_earlier_form_is_refused_in_one_sentence(
    session: Session, store: LocalStore, serve: Serve, tmp_path: Path, *, marked: bool
):
    """Also where another pipeline has made the store's marker since; nothing is written, and nothing read."""
    early_clip(store, tmp_path)
    if marked:
        enter_store(store, "another", "posters")
    task = succeeded(session, "t1", serve("moving"))
    before = contents(store)
    problem = collect_all(session, store, [task])["kite"].problem
    assert [word for word in WORDS if word not in problem] == []
    for refuse in (lambda: check_form(store, NAME), lambda: verify(session.ledger, store, NAME)):
        with pytest.raises(StoreConflict) as refused:
            refuse()
        assert str(refused.value) in problem
    assert {path: data for path, data in contents(store).items() if path.name != "replace.lock"} == before
    assert session.ledger.tasks.refresh(task).state is TaskState.SUCCEEDED


def test_what_is_no_clip_does_not_make_a_store_an_earlier_one(store: LocalStore, tmp_path: Path):
    """Neither another pipeline's clips nor files of somebody else."""
    early_clip(store, tmp_path, "posters")
    assert putting(store, tmp_path)(f"{NAME}/clips/README.txt", b"clips go here")
    assert check_form(store, NAME) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"store_id": "a", "format": 2, "created_at": "now", "more": 1}', "of format 2, .* Upgrade pixverse-dagster"),
        ("{}", "does not say which store this is"),
        ("<html>", "does not say which store this is"),
    ],
)
def test_a_store_that_is_not_understood_is_left_alone(store: LocalStore, tmp_path: Path, text: str, words: str):
    """One of a later release, and one whose marker is damaged: neither entered nor verified."""
    putting(store, tmp_path)(MARKER, text.encode())
    with pytest.raises(StoreConflict, match=words):
        enter_store(store, "one", NAME)
    with pytest.raises(StoreConflict, match="nothing is paid for"):
        check_form(store, NAME)
    assert list(store.keys("ledgers/")) == []


def test_reading_commands_write_nothing(session: Session, store: LocalStore):
    """A store that nobody has entered yet stays as it is."""
    assert check_form(store, NAME) is None
    assert verify(session.ledger, store, NAME).disagreements == ()
    with suppress(FileNotFoundError):
        assert list(Path(store.uri("")).iterdir()) == []


def test_of_many_that_enter_at_once_nobody_is_lost(store: LocalStore):
    """One store id, and every pipeline of a ledger in its document."""
    names = [f"p{number}" for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(partial(enter_store, store, "one"), names))
        list(pool.map(partial(enter_store, store, pipeline="films"), names))
    found = documents(store)
    assert sorted(found["ledgers/one.json"]["pipelines"]) == sorted(names)
    assert all(found[f"ledgers/{name}.json"]["pipelines"] == ["films"] for name in names)
