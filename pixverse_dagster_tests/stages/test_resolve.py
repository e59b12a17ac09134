"""Submits of unknown outcome where the caller chose the id: a tick asks, a run replays, and only an end is a proof."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from socket import socket

import pytest

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.engine import open_engine, sqlite_url
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.stages.poll import poll_due
from pixverse_dagster.stages.resolve import lease_replays, resolve_rows
from pixverse_dagster.stages.session import Session
from pixverse_dagster.transport.sender import HttpSender, Limits
from pixverse_dagster_tests.harness.factories import NAME, QUICK, Clock, make_row, make_session, submit_all
from pixverse_dagster_tests.harness.raw_http import Server, say

PROCESSING = {"status": "processing"}
DONE = {"status": "success", "videoURL": "https://vm.runware.ai/video/1.mp4"}


class Provider:
    """A Runware that takes submits without an answer, and says the same of every id that it is asked about."""

    def __init__(self) -> None:
        self.row: dict[str, str] | None = None
        self.loses_answers = True
        self.refuses_replays = False
        self.submits: list[str] = []
        self.server = Server(self._answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def _answer(self, connection: socket, number: int) -> None:
        asked = json.loads(self.server.requests[number - 1].partition(b"\r\n\r\n")[2])
        ids = [one["taskUUID"] for one in asked]
        if asked[0]["taskType"] == "videoInference":
            self.submits += ids
            if self.refuses_replays:
                error = {"code": "insufficientCredits", "message": "no credit", "taskUUID": ids[0]}
                say(400, json.dumps({"errors": [error]}).encode(), "Connection: close")(connection, number)
                return
            if self.loses_answers:
                return
            data = [{"taskType": "videoInference", "taskUUID": one} for one in ids]
        else:
            data = [{"taskType": "getResponse", "taskUUID": one, **self.row} for one in ids] if self.row else []
        say(200, json.dumps({"data": data}).encode(), "Connection: close")(connection, number)


@pytest.fixture
def clock() -> Clock:
    return Clock()


Open = Callable[[Provider], Session]


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider()
    yield provider
    provider.server.close()


@pytest.fixture
def session(tmp_path: Path, clock: Clock, provider: Provider) -> Iterator[Session]:
    """A session with one submit of unknown outcome, which was sent twice: the run replays it at once."""
    with ExitStack() as stack:
        engine = open_engine(sqlite_url(tmp_path / "ledger.db"))
        stack.callback(engine.dispose)
        session = stack.enter_context(make_session(Ledger(engine), provider.url, clock=clock))
        submit_all(session, [make_row()])
        provider.submits.clear()
        clock.ahead_seconds += 1
        yield session


def only(session: Session) -> Task:
    (task,) = session.ledger.tasks.find(NAME)
    return task


@pytest.mark.parametrize("row", [None, PROCESSING], ids=["not known", "processing"])
def test_a_tick_pays_for_nothing_and_names_what_a_run_may_replay(
    session: Session, provider: Provider, row: dict[str, str] | None
):
    """Whatever is said of an id that may never have arrived: the run's replay decides, under the same id."""
    provider.row = row
    assert [task.row for task in poll_due(session, 10).replayable] == ["kite"]
    assert (provider.submits, only(session).state) == ([], TaskState.UNKNOWN)
    provider.loses_answers = False
    (task,) = resolve_rows(session, ["kite"])
    assert (task.state, task.task_id) == (TaskState.SUBMITTED, task.client_reference)
    assert provider.submits == [task.client_reference]


@pytest.mark.parametrize("row", [None, PROCESSING], ids=["not known", "processing"])
def test_a_run_that_comes_too_late_sends_nothing(
    session: Session, provider: Provider, clock: Clock, row: dict[str, str] | None
):
    """Past the window a row that is not known needs a person; "processing" proves nothing, and is asked about on."""
    provider.row = row
    assert poll_due(session, 10).replayable
    clock.ahead_seconds += QUICK.replay_window_seconds
    list(resolve_rows(session, ["kite"]))
    assert provider.submits == []
    assert (only(session).state, only(session).resolves_itself) == (TaskState.UNKNOWN, row is PROCESSING)
    clock.ahead_seconds += QUICK.task_deadline_seconds
    assert poll_due(session, 10).replayable == ()
    assert (provider.submits, [one.row for one in session.ledger.tasks.unresolved(NAME)]) == ([], ["kite"])


class Late(HttpSender):
    """A sender whose turn comes when the window of a replay is over."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(Limits())
        self._clock = clock

    @contextmanager
    def permit(self) -> Generator[None]:
        with super().permit():
            self._clock.ahead_seconds += QUICK.replay_window_seconds
            yield


def test_a_replay_whose_turn_comes_after_the_window_is_not_sent(session: Session, provider: Provider, clock: Clock):
    """It was in time when it was decided on, and stood in line since."""
    client = replace(session.clients["runware"], sender=Late(clock))
    (task,) = resolve_rows(replace(session, clients={"runware": client}), ["kite"])
    client.close()
    assert (provider.submits, task.state) == ([], TaskState.UNKNOWN)


def test_a_replay_that_is_refused_says_nothing_of_the_first_submit(session: Session, provider: Provider):
    """It may be refused for want of credit while the first one is rendered: the request stays as it is."""
    provider.refuses_replays = True
    (task,) = resolve_rows(session, ["kite"])
    assert (task.state, task.resolves_itself) == (TaskState.UNKNOWN, True)
    assert len(provider.submits) == 1
    assert not submit_all(session, [make_row()])["kite"].sent


@pytest.mark.parametrize("late", [False, True])
def test_a_clip_that_is_there_proves_that_the_submit_arrived(
    session: Session, provider: Provider, clock: Clock, *, late: bool
):
    """Before and after the window, to a tick as well: nothing is sent again."""
    provider.row = PROCESSING
    clock.ahead_seconds += QUICK.replay_window_seconds * late
    poll_due(session, 10)
    provider.row = DONE
    clock.ahead_seconds += 900
    assert poll_due(session, 10).replayable == ()
    assert only(session).task_id == only(session).client_reference
    clock.ahead_seconds += 60
    poll_due(session, 10)
    assert (only(session).state, provider.submits) == (TaskState.SUCCEEDED, [])


def test_what_was_offered_to_a_run_is_not_offered_again_and_the_offer_ends_with_the_window(
    session: Session, clock: Clock
):
    """A run that starts too late to replay is waited for by nobody."""
    rows = [task.row for task in poll_due(session, 10).replayable]
    lease_replays(session, rows, 60)
    clock.ahead_seconds += 50
    assert poll_due(session, 10).replayable == ()
    lease_replays(session, rows, 100_000)
    assert (only(session).next_poll_at or 0) <= only(session).claimed_at + QUICK.replay_window_seconds


def test_a_claim_from_the_future_is_not_replayed(session: Session, provider: Provider, clock: Clock):
    """A clock was wrong when it was written, or is now: how long ago the submit was sent nobody knows."""
    clock.ahead_seconds -= 3600
    task = only(session)
    session.ledger.polling.leave_open({task.id: clock() - 1})
    assert poll_due(session, 10).replayable == ()
    list(resolve_rows(session, ["kite"]))
    assert provider.submits == []
