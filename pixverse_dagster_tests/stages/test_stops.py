"""A run that a person cancels ends by itself, whatever it waits for; what was paid for goes on, and is on record."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.ledger.engine import open_engine, sqlite_url
from pixverse_dagster.ledger.schema import tasks as tasks_table
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.stages.progress import describe_progress, describe_rows
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.stages.waiting import RunStopped
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.transport.sender import Limits
from pixverse_dagster_tests.harness.factories import (
    NAME,
    Setup,
    deliver,
    make_row,
    make_rows,
    make_task,
    record_rows,
    session_in,
    succeeded_tasks,
)
from pixverse_dagster_tests.harness.raw_http import Server
from pixverse_dagster_tests.harness.servers import Simulator, StartSimulator

SLOW = Limits(submits_per_minute=0.01, max_concurrency=4)
"""A second submit is sent after an hour and a half."""
HELD = Limits(backoff_seconds=6000, max_wait_seconds=6000, max_concurrency=4)


class Hangs(LocalStore):
    """A store that answers to nobody, unless and until it `answers`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked, self.answers = threading.Event(), threading.Event()

    def put_new(self, *words: Any, **more: Any) -> bool:
        self._hang()
        return super().put_new(*words, **more)

    def open(self, key: str) -> BinaryIO:
        self._hang()
        return super().open(key)

    def _hang(self) -> None:
        self.asked.set()
        self.answers.wait()


@pytest.fixture
def hung_store(tmp_path: Path) -> Iterator[Hangs]:
    store = Hangs(tmp_path / "clips")
    yield store
    store.answers.set()


@pytest.fixture
def hung_host() -> Iterator[Server]:
    """A host that takes a request and never answers."""
    release = threading.Event()
    server = Server(lambda _connection, _number: bool(release.wait()))  # pyright: ignore[reportArgumentType]
    yield server
    release.set()
    server.close()


def with_stop(session: Session, stopped: Callable[[], bool]) -> Session:
    return replace(session, stopped=stopped)


def point_links_to(folder: Path, url: str) -> None:
    engine = open_engine(sqlite_url(folder / "ledger.db"))
    with engine.begin() as connection:
        connection.execute(sa.update(tasks_table).values(urls=f'["{url}"]'))
    engine.dispose()


def submits(server: Simulator) -> int:
    return sum(sum(calls.get("submit", {}).values()) for calls in server.requests().values())


@pytest.mark.parametrize("waits_for", ["the provider", "a permit", "a rate pause"])
def test_a_run_that_waits_for_the_provider_ends_when_it_is_cancelled(
    simulator: StartSimulator, tmp_path: Path, waits_for: str
):
    """In person: nothing further is sent, and what was accepted is on record and goes on."""
    faults = {"submit.rate_limited": 1.0} if waits_for == "a rate pause" else {}
    limits = {"a permit": SLOW, "a rate pause": HELD}.get(waits_for, Limits())
    server = simulator(generation_seconds=600, faults=faults)
    with session_in(tmp_path, server.url, Setup(limits=limits)) as made:
        session = with_stop(made, lambda: submits(server) > 0)
        with pytest.raises(RunStopped):
            deliver(session, LocalStore(tmp_path / "clips"), record_rows(session.ledger, make_rows(3)), 3600)
        found = session.ledger.tasks.find(NAME, [TaskState.SUBMITTED, TaskState.CLAIMED, TaskState.UNKNOWN])
        assert [task.task_id for task in found] == [task["task_id"] for task in server.tasks()]


@pytest.mark.parametrize("limits", [SLOW, HELD], ids=["a permit", "a rate pause"])
def test_a_run_that_only_submits_ends_when_it_is_cancelled(simulator: StartSimulator, tmp_path: Path, limits: Limits):
    """Every row is told of: what was sent, and what was not."""
    server = simulator(generation_seconds=600, faults={"submit.rate_limited": float(limits is HELD)})
    with session_in(tmp_path, server.url, Setup(limits=limits)) as made:
        session = with_stop(made, lambda: submits(server) > 0)
        told = {one.row: one for one in submit_rows(session, record_rows(session.ledger, make_rows(4)))}
        assert len(told) == 4
        assert sum(one.sent and not one.problem for one in told.values()) == len(server.tasks())
        assert all("Nothing was spent" in one.problem or "stopped" in one.problem or one.sent for one in told.values())
        assert not session.ledger.tasks.find(NAME, [TaskState.CLAIMED, TaskState.UNKNOWN])


def test_a_run_that_downloads_ends_when_it_is_cancelled(server: Simulator, tmp_path: Path, hung_host: Server):
    """The clip stays ready, its link good, and it was no failed attempt."""
    with session_in(tmp_path, server.url) as made:
        ready = succeeded_tasks(made, make_rows(2))
        point_links_to(tmp_path, f"http://127.0.0.1:{hung_host.port}/clip.mp4")
        session = with_stop(made, lambda: len(hung_host.requests) > 0)
        found = session.ledger.tasks.by_id([task.id for task in ready])
        with pytest.raises(RunStopped):
            list(collect_tasks(session, LocalStore(tmp_path / "clips"), found))
        assert {(task.state, task.collects) for task in session.ledger.tasks.find(NAME)} == {(TaskState.SUCCEEDED, 0)}


def test_a_run_whose_store_hangs_ends_when_it_is_cancelled(server: Simulator, tmp_path: Path, hung_store: Hangs):
    """Whether it stores, or asks before it pays; another run goes on where it stopped."""
    with session_in(tmp_path, server.url) as made:
        ready = succeeded_tasks(made, make_rows(1))
        session = with_stop(made, hung_store.asked.is_set)
        with pytest.raises(RunStopped):
            list(collect_tasks(session, hung_store, ready))
        hung_store.asked.clear()
        record_rows(session.ledger, [make_row("new")])
        with pytest.raises(RunStopped):
            list(submit_rows(replace(session, open_store=lambda: hung_store), ["new"]))
        assert len(server.tasks()) == 1
        hung_store.answers.set()
        assert [one.problem for one in collect_tasks(made, hung_store, ready)] == [""]


def test_how_rows_stand_is_one_line(server: Simulator, tmp_path: Path):
    """Also of rows that nobody submitted, of those that are stored, and of clips of a request that left the table."""
    with session_in(tmp_path, server.url) as session:
        keys = record_rows(session.ledger, make_rows(2))
        assert describe_progress(session, keys) == "of 2 rows, 2 are not submitted"
        ready = succeeded_tasks(session, make_rows(2))
        list(collect_tasks(session, LocalStore(tmp_path / "clips"), ready[:1]))
        record_rows(session.ledger, [])
        said = describe_progress(session, keys)
    assert said == "of 2 rows, 1 is stored, 1 is ready and not stored yet (being stored now)"


def test_a_store_that_hangs_behind_a_payment_holds_up_no_cancelled_run(
    simulator: StartSimulator, tmp_path: Path, hung_store: Hangs
):
    """It is to hear that this run has paid: that is tried for a moment only, and the next run says it."""
    server = simulator(generation_seconds=600)

    def stopped() -> bool:
        if paid := len(server.tasks()) > 0:
            hung_store.answers.clear()
        return paid

    hung_store.answers.set()
    with session_in(tmp_path, server.url, Setup(limits=SLOW)) as made:
        session = replace(made, stopped=stopped, open_store=lambda: hung_store)
        told = list(submit_rows(session, record_rows(made.ledger, make_rows(2))))
        assert sorted(one.sent and not one.problem for one in told) == [False, True]
        assert not hung_store.answers.is_set()


def test_every_reason_is_one_line_and_the_commonest_come_first():
    """Whatever a host said, and however many rows there are."""
    keys = [f"r{n}" for n in range(9)]
    notes = ["a", "b", "b", "c\n" * 999, "d", "e"]
    tasks = {
        key: make_task(row=key, state=TaskState.SUCCEEDED, note=note) for key, note in zip(keys, notes, strict=False)
    }
    tasks["r7"] = make_task(row="r7", state=TaskState.SUBMITTED, unread_since=1.0, note="HTTP 500")
    said = describe_rows(keys, tasks, {"r8": "no slot"})
    assert said.startswith("of 9 rows, 6 are ready and not stored yet (2: b; 1: a; 1: c c ")
    assert "and 2 other reasons), 1 cannot be read at its provider (HTTP 500), 1 waits" in said
    assert said.endswith(" for its turn (no slot), 1 is not submitted")
    assert "\n" not in said
    assert len(said) < 500
