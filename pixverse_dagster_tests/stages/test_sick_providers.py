"""One provider hangs, trickles, drops, answers nonsense or is gone: the others' tasks are polled in the same round."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy import event

from pixverse_dagster.core.errors import NoAnswer, NotSent, PixverseError
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.outcomes import Accepted, PollFact
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import open_engine, sqlite_url
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.providers.base import Provider, TaskRef
from pixverse_dagster.providers.highway.protocol import Highway
from pixverse_dagster.providers.pixwith import Pixwith
from pixverse_dagster.providers.runware.protocol import Runware
from pixverse_dagster.stages.poll import poll_due
from pixverse_dagster.stages.session import Session
from pixverse_dagster.transport.client import ProviderClient
from pixverse_dagster.transport.sender import HttpSender, Limits
from pixverse_dagster_tests.harness.factories import (
    HIGHWAY,
    NAME,
    PIXWITH,
    QUICK,
    RUNWARE,
    Clock,
    Setup,
    make_row,
    make_session,
    record_rows,
    send_submit,
)
from pixverse_dagster_tests.harness.raw_http import Script, Server, drop, say, silence, trickle

URL = "https://a.example/1.mp4"
DONE = say(200, json.dumps({"code": 1, "data": {"status": 2, "result_urls": [URL]}}).encode())
PATIENT = Limits(max_concurrency=2)
"""Its calls would wait for half a minute, which no round does."""
PACE = QUICK.model_copy(update={"first_poll_seconds": 5.0, "max_poll_seconds": 15.0})
ROUND_SECONDS = 4.0
"""Long enough for the healthy one on a machine that is busy; a provider that hangs takes all of it."""
SHORT_SECONDS = 1.5
LONG_SECONDS = 30
SICK: dict[str, Script] = {
    "hangs": silence,
    "a byte at a time": trickle,
    "drops": drop,
    "HTTP 500": say(500, b"oops"),
    "nonsense": say(200, b"[[["),
}
Serve = Callable[[type[Provider], Script], ProviderClient]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A function that starts a server with a script, and opens an account there."""
    with ExitStack() as stack:

        def start(provider: type[Provider], script: Script) -> ProviderClient:
            server = Server(script)
            stack.callback(server.close)
            client = ProviderClient(provider("simulator", f"http://127.0.0.1:{server.port}"), HttpSender(PATIENT))
            stack.callback(client.close)
            return client

        yield start


@pytest.fixture
def session(tmp_path: Path, clock: Clock) -> Iterator[Session]:
    engine = open_engine(sqlite_url(tmp_path / "ledger.db"))
    with make_session(Ledger(engine), "http://127.0.0.1:9", Setup(pace=PACE), clock) as session:
        yield session
    engine.dispose()


def at(session: Session, *clients: ProviderClient) -> Session:
    """The session with these accounts only."""
    return replace(session, clients={client.provider.NAME: client for client in clients})


def pending(session: Session, model: str, count: int) -> list[Task]:
    """Tasks that the provider has, and that are due."""
    ledger, now = session.ledger, session.clock()
    rows = [make_row(f"{model[:3]}{number:03}", model) for number in range(count)]
    record_rows(ledger, [*ledger.rows.find(NAME).values(), *rows])
    found: list[Task] = []
    for row in rows:
        client = session.clients[row.request.provider()]
        key = client.provider.fingerprint(ledger.salt)
        terms = ClaimTerms("run", now, 60, account=client.account, world=client.world, key=key)
        task, _ = ledger.claim(NAME, row, terms)
        found.append(ledger.accept(task, Accepted(f"id-{row.id}"), now, now - 1).task)
    return found


def states(session: Session, model: str) -> list[TaskState]:
    return [task.state for task in session.ledger.tasks.find(NAME) if model == task.request.MODEL]


@pytest.mark.parametrize("sickness", SICK)
def test_one_sick_provider_delays_no_other(session: Session, serve: Serve, sickness: str):
    """The round ends in time, the other's clips are known in it, and nothing is said of the sick one's tasks."""
    session = at(session, serve(Highway, SICK[sickness]), serve(Pixwith, DONE))
    pending(session, HIGHWAY, 4)
    pending(session, PIXWITH, 4)
    began, began_at = time.monotonic(), session.clock()
    report = poll_due(session, ROUND_SECONDS)
    assert time.monotonic() - began < LONG_SECONDS
    assert states(session, PIXWITH) == [TaskState.SUCCEEDED] * 4
    assert states(session, HIGHWAY) == [TaskState.SUBMITTED] * 4
    assert (report.succeeded, report.ended, report.unread > 0) == (4, (), True)
    assert session.ledger.tasks.due(NAME, began_at + 2, 10) == [], "it is not asked again at once"


def test_a_round_without_time_asks_nobody(session: Session, serve: Serve, clock: Clock):
    """Neither about what is due nor about what may be unknown; the next round does."""
    session = at(session, serve(Highway, DONE), serve(Pixwith, DONE))
    pending(session, PIXWITH, 2)
    row = make_row("claimed", HIGHWAY)
    record_rows(session.ledger, [*session.ledger.rows.find(NAME).values(), row])
    account = session.clients["highway"].account
    session.ledger.claim(NAME, row, ClaimTerms("run", session.clock(), 60, account=account, world="simulator"))
    clock.ahead_seconds += 300
    assert poll_due(session, 0).asked == 0
    assert states(session, PIXWITH) + states(session, HIGHWAY) == [TaskState.SUBMITTED] * 2 + [TaskState.CLAIMED]
    assert poll_due(session, ROUND_SECONDS).asked == 3
    assert states(session, PIXWITH) + states(session, HIGHWAY) == [TaskState.SUCCEEDED] * 2 + [TaskState.UNKNOWN]


def test_a_provider_that_is_gone_is_asked_a_few_times_and_then_left_alone(session: Session, serve: Serve):
    """However many tasks it has: the rest is put off in one statement, before the tasks that were not read."""
    session = at(session, session.clients["highway"], serve(Pixwith, DONE))
    pending(session, HIGHWAY, 30)
    report = poll_due(session, ROUND_SECONDS)
    assert 1 <= report.unread <= 10
    tasks = session.ledger.tasks.find(NAME)
    asked = [task.next_poll_at or 0 for task in tasks if task.unread_since is not None]
    left = [task.next_poll_at or 0 for task in tasks if task.unread_since is None]
    assert len(asked) == report.unread
    assert session.clock() < max(left) < min(asked)


def runware(poison: Script, ids: Sequence[str]) -> tuple[Callable[[Any, int], None], list[Server]]:
    """A Runware on which every task still runs, and that is poisoned by some ids."""
    servers: list[Server] = []

    def script(connection: Any, number: int) -> None:
        asked = [one["taskUUID"] for one in json.loads(servers[0].requests[number - 1].partition(b"\r\n\r\n")[2])]
        if set(asked) & set(ids):
            poison(connection, number)
            return
        rows = [{"taskUUID": one, "status": "processing"} for one in asked]
        say(200, json.dumps({"data": rows}).encode(), "Connection: close")(connection, number)

    return script, servers


@pytest.fixture
def poisoned(session: Session) -> Iterator[Callable[[Script, int], Session]]:
    with ExitStack() as stack:

        def start(poison: Script, number: int) -> Session:
            script, servers = runware(poison, [f"id-run{number:03}"])
            servers.append(Server(script))
            stack.callback(servers[0].close)
            client = ProviderClient(Runware("simulator", f"http://127.0.0.1:{servers[0].port}"), HttpSender(PATIENT))
            stack.callback(client.close)
            return at(session, client)

        yield start


def unread(session: Session) -> set[str]:
    return {task.row for task in session.ledger.tasks.find(NAME) if task.unread_since is not None}


@pytest.mark.parametrize("poison", [say(500, b"oops"), drop], ids=["HTTP 500", "dropped"])
def test_one_task_that_makes_an_answer_unreadable_blinds_no_other(
    poisoned: Callable[[Script, int], Session], poison: Script
):
    """An unread batch is asked again in halves, in the same round."""
    session = poisoned(poison, 17)
    pending(session, RUNWARE, 50)
    report = poll_due(session, LONG_SECONDS)
    assert (unread(session), report.running) == ({"run017"}, 49)


def test_one_task_about_which_no_answer_comes_blinds_the_others_for_a_few_rounds_only(
    poisoned: Callable[[Script, int], Session], clock: Clock
):
    """What was unread is asked about in small batches, so that it is found out."""
    session = poisoned(silence, 3)
    pending(session, RUNWARE, 20)
    rounds = 0
    while unread(session) != {"run003"}:
        assert rounds < 12, unread(session)
        poll_due(session, SHORT_SECONDS)
        rounds += 1
        clock.ahead_seconds += 120


def test_a_task_that_cannot_be_read_past_its_deadline_frees_its_slot_and_is_named(
    session: Session, serve: Serve, clock: Clock
):
    """It stays submitted, is asked about slowly, is never taken for failed, and a late clip is still welcome."""
    session = at(session, serve(Pixwith, say(410, b"record has expired")))
    account = session.clients["pixwith"].account
    (task,) = pending(session, PIXWITH, 1)
    assert poll_due(session, LONG_SECONDS).stalled == ()
    clock.ahead_seconds = QUICK.task_deadline_seconds - 100
    assert poll_due(session, LONG_SECONDS).stalled == ()
    assert session.ledger.accounts.open_tasks([account], clock()) == {account: 1}
    clock.ahead_seconds = QUICK.task_deadline_seconds + 100
    assert [one.row for one in poll_due(session, LONG_SECONDS).stalled] == [task.row]
    assert session.ledger.accounts.open_tasks([account], clock()) == {}
    assert [one.row for one in session.ledger.tasks.stalled(NAME)] == [task.row]
    for _ in range(2):
        clock.ahead_seconds += 1000
        report = poll_due(session, LONG_SECONDS)
        assert (report.unread, report.stalled, report.ended) == (1, (), ())
    now = session.ledger.tasks.refresh(task)
    assert now.state is TaskState.SUBMITTED
    assert 800 < (now.next_poll_at or 0) - clock() <= 900
    clock.ahead_seconds += 1000
    assert poll_due(at(session, serve(Pixwith, DONE)), LONG_SECONDS).recovered == 1
    assert (states(session, PIXWITH), session.ledger.tasks.stalled(NAME)) == ([TaskState.SUCCEEDED], [])


@pytest.mark.parametrize("unusable", ["", "the key is empty"], ids=["removed", "without a key"])
def test_the_tasks_of_a_provider_that_nobody_can_ask_are_left_in_one_statement(
    session: Session, serve: Serve, clock: Clock, unusable: str
):
    """However many they are; past their deadline they hold no slot, and are named."""
    other = serve(Pixwith, DONE)
    tasks = pending(session, HIGHWAY, 30)
    locked = replace(session.clients["highway"], unusable=unusable)
    session = at(session, other, *([locked] if unusable else []))
    written: list[str] = []
    engine: sa.Engine = session.ledger.tasks._engine  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]

    def count(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        written.extend([statement] if statement.startswith(("UPDATE pixverse_tasks", "INSERT")) else [])

    event.listen(engine, "before_cursor_execute", count)
    report = poll_due(session, LONG_SECONDS)
    assert len(written) <= 3, written
    assert report.last_error == (unusable or "no resource for provider 'highway'")
    assert session.ledger.tasks.due(NAME, clock(), 10) == []
    clock.ahead_seconds = QUICK.task_deadline_seconds + 100
    assert {one.row for one in poll_due(session, LONG_SECONDS).stalled} == {task.row for task in tasks}
    assert states(session, HIGHWAY) == [TaskState.SUBMITTED] * 30


class Confused(Highway):
    """A provider whose answers are read by a mistake."""

    def read_poll(self, response: httpx.Response, tasks: Sequence[TaskRef]) -> dict[str, PollFact]:
        del response, tasks
        found: dict[str, PollFact] = {}
        return {"id": found["another id"]}


class Elsewhere(Highway):
    """A provider that answers about another task than it was asked about."""

    def read_poll(self, response: httpx.Response, tasks: Sequence[TaskRef]) -> dict[str, PollFact]:
        del response, tasks
        return {}


@pytest.mark.parametrize("provider", [Confused, Elsewhere])
def test_an_answer_that_cannot_be_read_by_whatever_mistake_is_no_answer(
    session: Session, serve: Serve, provider: type[Provider]
):
    """It ends nothing, and says nothing: not even that the task is missing."""
    session = at(session, serve(provider, say(200, b"{}")), serve(Pixwith, DONE))
    pending(session, HIGHWAY, 1)
    pending(session, PIXWITH, 1)
    assert poll_due(session, LONG_SECONDS).unread == 1
    assert states(session, PIXWITH) == [TaskState.SUCCEEDED]
    assert unread(session) == {"hig000"}


def test_a_submit_that_hangs_holds_up_no_poll_and_closing_waits_for_nobody(serve: Serve):
    """Calls that are under way end by themselves; afterwards nothing is sent."""
    hung = threading.Event()

    def script(connection: Any, number: int) -> None:
        if number == 1:
            hung.set()
            silence(connection, number)
        else:
            say(200, b'{"task": {"status": "TASK_STATUS_PROCESSING"}}')(connection, number)

    client = replace(serve(Highway, script), sender=HttpSender(Limits(max_concurrency=1, submit_timeout_seconds=1)))
    ended: list[PixverseError] = []

    def submit() -> None:
        row = make_row(model=HIGHWAY)
        try:
            send_submit(client, row.request, row.request.body(str), "ref")
        except PixverseError as error:
            ended.append(error)

    thread = threading.Thread(target=submit)
    thread.start()
    assert hung.wait(LONG_SECONDS)
    assert list(client.poll([TaskRef("id")])) == ["id"]
    client.close()
    with pytest.raises(NotSent):
        client.poll([TaskRef("id")])
    thread.join()
    assert len(ended) == 1


@pytest.mark.parametrize("script", [silence, trickle], ids=["hangs", "a byte at a time"])
def test_a_poll_ends_at_its_deadline(serve: Serve, script: Script):
    """Not when its own time is over."""
    client = serve(Highway, script)
    with pytest.raises(NoAnswer):
        client.poll([TaskRef("id")], time.monotonic() + 0.2)
    client.close()
