"""Whatever a result host answers: the clip, or a fresh link; an end only by what shows one; and nobody else waits."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.outcomes import Accepted, Succeeded
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import MoveRefused, Task
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.policy.timing import STALLED_WAIT_SECONDS
from pixverse_dagster.reports.verify import verify
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.standing import present_holder
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.transport.download import DownloadRules
from pixverse_dagster_tests.harness.factories import (
    NAME,
    PIXWITH,
    QUICK,
    RUN,
    RUNWARE,
    Clock,
    Setup,
    make_row,
    make_rows,
    moved,
    record_rows,
    session_in,
    succeeded_tasks,
)
from pixverse_dagster_tests.harness.films import Film, film
from pixverse_dagster_tests.harness.raw_http import Script, Server, drop, in_turn, say, silence
from pixverse_dagster_tests.harness.servers import StartSimulator
from pixverse_dagster_tests.harness.stored import collect_all, manifest_of, read

PAGE = b"<!DOCTYPE html><html><head><title>Log in to the hotel's network</title></head><body>Hello</body></html>"
GCS = b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>ExpiredToken</Code><Message>s3cret</Message></Error>"
NOWHERE = "http://127.0.0.1:9"
PAST = QUICK.result_lifetime_seconds + 60
"""Seconds after which no link is promised to work any more."""
RULES = DownloadRules(
    allow_private_network=True, max_attempts=1, timeout_seconds=0.3, total_timeout_seconds=1, backoff_seconds=0.01
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return film(tmp_path_factory.mktemp("film") / "clip.mp4", Film("moving")).read_bytes()


class Api:
    """A provider that answers every poll with the links that it has now, and a host that answers as it is told."""

    def __init__(self, *answers: Script) -> None:
        self.host = Server(in_turn(*answers))
        self.links: Callable[[int], list[str]] = self.link
        self.server = Server(self._poll)
        self.url = f"http://127.0.0.1:{self.server.port}"

    def link(self, number: int) -> list[str]:
        return [f"http://127.0.0.1:{self.host.port}/{number}.mp4?k=s3cret"]

    def _poll(self, connection: socket.socket, number: int) -> None:
        data = {"task_id": "t1", "status": 2, "result_urls": self.links(number)}
        say(200, json.dumps({"code": 1, "message": "ok", "data": data}).encode())(connection, number)

    def close(self) -> None:
        self.host.close()
        self.server.close()


@pytest.fixture
def api() -> Iterator[Callable[..., Api]]:
    made: list[Api] = []

    def make(*answers: Script) -> Api:
        made.append(Api(*answers))
        return made[-1]

    yield make
    for one in made:
        one.close()


def succeeded(session: Session, row: Row, task_id: str, *urls: str) -> Task:
    """A task that its provider has finished just now, under the present key."""
    ledger, now = session.ledger, session.clock()
    holder = present_holder(session, session.clients[row.request.provider()])
    terms = ClaimTerms(RUN, now, 60, 0.1, account=holder.account, world=holder.world, key=holder.key)
    task, _ = ledger.claim(NAME, row, terms)
    return moved(ledger.succeed(ledger.accept(task, Accepted(task_id), now, now).task, Succeeded(urls), now))


def of_api(session: Session, made: Api) -> Task:
    """The task whose first link is the one that the provider gave when it was finished."""
    row = make_row(model=PIXWITH)
    record_rows(session.ledger, [row])
    return succeeded(session, row, "t1", *made.link(0))


def serve(session: Session, made: Api, store: LocalStore) -> Task:
    """Collect the task once, and say what became of it."""
    task = session.ledger.tasks.find(NAME)[0] if session.ledger.tasks.find(NAME) else of_api(session, made)
    list(collect_tasks(session, store, [task]))
    return session.ledger.tasks.refresh(task)


# --- what is not the file

GONE: dict[str, Script] = {
    "404": say(404, b"NoSuchKey"),
    "400 of Google's": say(400, GCS, "Content-Type: application/xml"),
}
ELSE: dict[str, Script] = {
    "a page": say(200, PAGE),
    "JSON": say(200, b'{"error": "try again later"}'),
    "a proxy's 407": say(407, b"who are you?"),
    "503": say(503, b""),
    "silence": silence,
}
"""What each other answer means is in `pure/test_result_hosts.py`."""


@pytest.mark.parametrize("what", [*GONE, *ELSE])
def test_whatever_is_not_the_file_leads_to_a_fresh_link(
    tmp_path: Path, api: Callable[..., Api], clip: bytes, what: str
):
    """Once, also if the provider repeats the address; the clip is stored with the bytes of the second answer."""
    made, store = api((GONE | ELSE)[what], say(200, clip)), LocalStore(tmp_path / "store")
    with session_in(tmp_path, made.url, Setup(download=RULES)) as session:
        task = serve(session, made, store)
        assert task.state is TaskState.STORED, task.note
        assert read(store, f"{task.folder}/1.mp4") == clip
    assert (len(made.host.requests), len(made.server.requests)) == (2, 1)


@pytest.mark.parametrize("what", GONE)
def test_a_result_is_expired_if_a_fresh_link_is_refused_as_gone_past_its_time(
    tmp_path: Path, api: Callable[..., Api], what: str
):
    """Before its time the task stays; afterwards it has failed, with what the host said."""
    made, clock, store = api(GONE[what]), Clock(), LocalStore(tmp_path / "store")
    with session_in(tmp_path, made.url, Setup(download=RULES), clock) as session:
        assert serve(session, made, store).state is TaskState.SUCCEEDED
        clock.ahead_seconds = PAST
        task = serve(session, made, store)
        assert (task.state, task.kind, task.stalled_at) == (TaskState.FAILED, FailureKind.EXPIRED, None)
    assert len(made.server.requests) == 2


@pytest.mark.parametrize("what", ELSE)
def test_a_clip_that_cannot_be_reached_is_never_expired(tmp_path: Path, api: Callable[..., Api], what: str):
    """Past its time a person is to look, with what the host said; it is tried every 15 min, and never paid again."""
    made, clock, store = api(ELSE[what]), Clock(), LocalStore(tmp_path / "store")
    with session_in(tmp_path, made.url, Setup(download=RULES), clock) as session:
        task = serve(session, made, store)
        assert (task.state, task.stalled_at) == (TaskState.SUCCEEDED, None)
        clock.ahead_seconds = PAST
        task, ledger = serve(session, made, store), session.ledger
        assert task.state is TaskState.SUCCEEDED
        assert [one.id for one in ledger.tasks.stalled(NAME)] == [task.id]
        assert task.note.startswith("not stored yet: ")
        assert "s3cret" not in task.note
        assert ledger.tasks.ready(NAME, session.clock() + STALLED_WAIT_SECONDS - 5, 10) == []
        assert len(ledger.tasks.ready(NAME, session.clock() + STALLED_WAIT_SECONDS + 5, 10)) == 1
    assert len(made.server.requests) == 2, "each try with a fresh link"
    assert list(store.keys(f"{NAME}/")) == []


def no_links(_: int) -> list[str]:
    return []


def test_without_a_fresh_link_nothing_shows_that_a_clip_is_gone(tmp_path: Path, api: Callable[..., Api], clip: bytes):
    """A provider that names other outputs, or none, gives none; a link that comes later is the clip's."""
    made, clock, store = api(GONE["404"], GONE["404"], say(200, clip)), Clock(), LocalStore(tmp_path / "store")
    made.links = no_links
    with session_in(tmp_path, made.url, Setup(download=RULES), clock) as session:
        row = make_row(model=PIXWITH)
        record_rows(session.ledger, [row])
        task = succeeded(session, row, "t1", *made.link(0))
        clock.ahead_seconds = PAST
        assert serve(session, made, store).state is TaskState.SUCCEEDED
        assert session.ledger.tasks.refresh(task).stalled_at
        made.links = made.link
        after = serve(session, made, store)
        assert (after.state, after.stalled_at) == (TaskState.STORED, None)


def test_one_attempt_is_given_up_for_another_or_neither_happens(tmp_path: Path, api: Callable[..., Api]):
    """What is given up keeps no link, and is paid for again once; where a newer attempt is there, nothing changes."""
    with session_in(tmp_path, NOWHERE) as session:
        ledger, first = session.ledger, of_api(session, api(say(404, b"")))
        given_up = moved(ledger.replace(first, "by hand", "today"))
        assert (given_up.state, given_up.released, given_up.urls) == (TaskState.ABANDONED, True, ())
        row = make_row(model=PIXWITH)
        second = succeeded(session, row, "t2", "http://127.0.0.1:9/1.mp4")
        late = moved(ledger.adopt(given_up, "t1", session.clock(), "found"))
        late = moved(ledger.succeed(late, Succeeded(("http://127.0.0.1:9/2.mp4",)), session.clock()))
        refused = ledger.replace(late, "by hand", "today")
        assert isinstance(refused, MoveRefused)
        assert {one.state for one in ledger.tasks.claims(second)} == {TaskState.SUCCEEDED}


# --- clips that cannot be decoded

CONTAINERS = {
    "mp4": b"\0\0\0\x20ftypisom" + b"\x07" * 500,
    "webm": b"\x1a\x45\xdf\xa3" + b"\x07" * 500,
    "mov": b"\0\0\0\x14ftypqt  " + b"\x07" * 500,
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_bytes_that_arrived_whole_are_stored_if_they_are_what_the_provider_has(
    tmp_path: Path, api: Callable[..., Api], container: str
):
    """What cannot be decoded comes twice alike, and is a failed check on a stored clip."""
    made, store = api(say(200, CONTAINERS[container])), LocalStore(tmp_path / "store")
    with session_in(tmp_path, made.url, Setup(download=RULES)) as session:
        (found,) = collect_tasks(session, store, [of_api(session, made)])
        manifest = manifest_of(found)
        assert session.ledger.tasks.find(NAME)[0].state is TaskState.STORED
        assert verify(session.ledger, store, NAME, deep=True).disagreements == ()
    (output,) = manifest.outputs
    assert (output.container, output.codec, output.width, output.poster_sha256) == (container, "", 0, "")
    assert output.unread
    assert read(store, output.key) == CONTAINERS[container]
    assert output.poster_key not in store.keys(f"{NAME}/")
    assert [one.check for one in found.findings if not one.passed] == ["decodes"]
    assert len(made.host.requests) == 2


def test_bytes_that_differ_each_time_were_damaged_on_the_way(tmp_path: Path, api: Callable[..., Api], clip: bytes):
    """They are not what the provider has: nothing is stored until whole bytes come."""
    broken = [say(200, CONTAINERS["mp4"] + bytes([number])) for number in range(3)]
    made, store = api(*broken, say(200, clip)), LocalStore(tmp_path / "store")
    with session_in(tmp_path, made.url, Setup(download=RULES)) as session:
        assert "damaged on the way" in serve(session, made, store).note
        assert serve(session, made, store).state is TaskState.STORED
        assert len(made.host.requests) == 4


def test_an_answer_with_fewer_links_takes_no_output_away(tmp_path: Path, api: Callable[..., Api], clip: bytes):
    """A poll for fresh links that shows one output of two is no answer: both are stored when it shows both again."""
    made, store = api(say(410, b"gone"), say(200, clip)), LocalStore(tmp_path / "store")
    with session_in(tmp_path, made.url, Setup(download=RULES)) as session:
        row = make_row(model=PIXWITH, outputs=2)
        record_rows(session.ledger, [row])
        task = succeeded(session, row, "t1", *made.link(0), *made.link(1))
        (found,) = collect_tasks(session, store, [task])
        assert found.manifest is None
        assert "shows 1 of 2 outputs" in found.problem
        made.links = lambda number: made.link(number) + made.link(number + 1)
        (found,) = collect_tasks(session, store, [session.ledger.tasks.refresh(task)])
        assert len(manifest_of(found).outputs) == 2


def no_decoder(_: pytest.MonkeyPatch) -> ModuleType | None:
    return None


def of_another_version(_: pytest.MonkeyPatch) -> ModuleType:
    return ModuleType("av")


def breaking(_: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("av")

    def fail(*_: object, **__: object) -> None:
        raise SystemError("error return without exception set")

    module.open = fail  # pyright: ignore[reportAttributeAccessIssue]
    return module


@pytest.mark.parametrize("av", [no_decoder, of_another_version, breaking])
def test_a_decoders_fault_keeps_no_clip_out_of_the_store(
    tmp_path: Path,
    api: Callable[..., Api],
    clip: bytes,
    monkeypatch: pytest.MonkeyPatch,
    av: Callable[[pytest.MonkeyPatch], ModuleType | None],
):
    """Every output is stored as it came, its check fails, and facts and posters are made good by a later look."""
    made, store = api(say(200, clip)), LocalStore(tmp_path / "store")
    with session_in(tmp_path, made.url, Setup(download=RULES)) as session:
        row = make_row(model=PIXWITH, outputs=2)
        record_rows(session.ledger, [row])
        task = succeeded(session, row, "t1", *made.link(0), *made.link(1))
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, "av", av(patched))
            (found,) = collect_tasks(session, store, [task])
        first = manifest_of(found)
        assert [output.sha256 for output in first.outputs] == [hashlib.sha256(clip).hexdigest()] * 2
        assert all(output.unread and not output.poster_sha256 for output in first.outputs)
        assert "decodes" in {one.check for one in found.findings if not one.passed}
        text = read(store, f"{task.folder}/manifest.json")
        (again,) = collect_tasks(session, store, [session.ledger.tasks.refresh(task)])
        second = manifest_of(again)
        facts = [(one.codec, one.width, one.height, one.unread) for one in second.outputs]
        assert facts == [("h264", 640, 360, None)] * 2
        assert again.poster.startswith(b"\xff\xd8")
        assert [read(store, output.poster_key)[:2] for output in second.outputs] == [b"\xff\xd8"] * 2
        assert "decodes" not in {one.check for one in again.findings if not one.passed}
        assert read(store, f"{task.folder}/manifest.json") == text
        assert verify(session.ledger, store, NAME, deep=True).disagreements == ()


def test_a_poster_that_cannot_be_made_takes_nothing_but_the_picture(
    tmp_path: Path, api: Callable[..., Api], clip: bytes, monkeypatch: pytest.MonkeyPatch
):
    """The facts are the clip's; the picture is made good later."""
    made, store = api(say(200, clip)), LocalStore(tmp_path / "store")
    with session_in(tmp_path, made.url, Setup(download=RULES)) as session:
        with monkeypatch.context() as patched:
            patched.setattr("pixverse_dagster.media.probe.POSTER_WIDTH", None)  # which no encoder takes
            (found,) = collect_tasks(session, store, [of_api(session, made)])
        (output,) = manifest_of(found).outputs
        assert (output.width, output.unread, output.poster_size_bytes, found.poster) == (640, None, 0, b"")
        (again,) = collect_tasks(session, store, [session.ledger.tasks.refresh(found.task)])
        assert again.poster == read(store, output.poster_key) != b""
        assert verify(session.ledger, store, NAME).disagreements == ()
    assert len(made.host.requests) == 1


# --- a sick host


def test_a_host_that_hangs_takes_no_thread_of_another(tmp_path: Path, clip: bytes):
    """The clips of the others are stored first, however many of the sick one's stand before them."""
    over = threading.Event()

    def hang(connection: socket.socket, number: int) -> None:
        over.wait(60)
        drop(connection, number)

    sick, well = Server(hang), Server(say(200, clip))
    rules = replace_rules(max_concurrency=2, timeout_seconds=5, total_timeout_seconds=5)
    try:
        with session_in(tmp_path, "http://127.0.0.1:9", Setup(download=rules)) as session:
            rows = make_rows(8, model=PIXWITH)
            record_rows(session.ledger, rows)
            ports = [sick.port] * 5 + [well.port] * 3
            tasks = [
                succeeded(session, row, f"t-{row.id}", f"http://127.0.0.1:{port}/1.mp4")
                for row, port in zip(rows, ports, strict=True)
            ]
            store, landed = LocalStore(tmp_path / "store"), list[str]()
            for collected in collect_tasks(session, store, tasks):
                landed += [collected.task.row] * bool(collected.manifest)
                if len(landed) == 3:
                    over.set()
                elif not over.is_set():
                    assert collected.manifest, collected.problem
            assert set(landed) == {row.id for row in rows[5:]}
            assert session.ledger.tasks.counts(NAME) == {TaskState.STORED: 3, TaskState.SUCCEEDED: 5}
    finally:
        over.set()
        sick.close()
        well.close()


def test_two_providers_at_one_host_do_not_wait_for_each_other(tmp_path: Path, simulator: StartSimulator):
    """One's files hang, and there are more of them than threads; the other's are stored meanwhile."""
    server = simulator(generation_seconds=0)
    rules = replace_rules(max_concurrency=2, timeout_seconds=5, total_timeout_seconds=5)
    with session_in(tmp_path, server.url, Setup(download=rules)) as session:
        sick, well = make_rows(3, model=RUNWARE), [make_row(f"well{n}", PIXWITH) for n in range(2)]
        tasks = sorted(succeeded_tasks(session, [*sick, *well]), key=lambda task: task.provider, reverse=True)
        server.sicken("runware", "hang", "media")
        landed: list[str] = []
        for collected in collect_tasks(session, LocalStore(tmp_path / "store"), tasks):
            if len(landed) < len(well):
                assert collected.manifest, collected.problem
            landed += [collected.task.row] * bool(collected.manifest)
            if len(landed) == len(well):
                server.heal("runware")
        assert {*landed[:2]} == {"well0", "well1"}


def test_a_host_that_gives_no_answer_is_not_waited_for_by_every_clip(tmp_path: Path):
    """After three clips without one, the others are left for another time; each says why."""
    sick = Server(silence)
    rules = replace_rules(max_concurrency=1, timeout_seconds=0.1, total_timeout_seconds=0.2)
    try:
        with session_in(tmp_path, "http://127.0.0.1:9", Setup(download=rules)) as session:
            rows = make_rows(10, model=PIXWITH)
            record_rows(session.ledger, rows)
            url = f"http://127.0.0.1:{sick.port}/1.mp4"
            tasks = [succeeded(session, row, f"t-{row.id}", url) for row in rows]
            found = collect_all(session, LocalStore(tmp_path / "store"), tasks)
            assert len(sick.requests) == 3
            assert sum("gave no answer about several other clips" in one.problem for one in found.values()) == 7
            assert {one.collects for one in session.ledger.tasks.find(NAME)} == {1}
    finally:
        sick.close()


def replace_rules(**values: float) -> DownloadRules:
    return RULES.model_copy(update=values)
