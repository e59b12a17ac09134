"""A row that was asked for keeps its place until it is sent, refused for itself, withdrawn or changed."""

import json
import re
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.row import Row
from pixverse_dagster.ledger.engine import open_engine, sqlite_url
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.policy.batching import choose_submit_batch
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.providers.base import Provider
from pixverse_dagster.providers.highway.protocol import Highway
from pixverse_dagster.providers.pixwith import Pixwith
from pixverse_dagster.providers.runware.protocol import Runware
from pixverse_dagster.stages.places import take_as_asked
from pixverse_dagster.stages.plan import plan_rows
from pixverse_dagster.stages.queue import describe_queue, find_room, leave_over_budget
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.transport.client import ProviderClient
from pixverse_dagster.transport.sender import HttpSender, Limits
from pixverse_dagster_tests.harness.answers import declined, oops
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
    submit_all,
)
from pixverse_dagster_tests.harness.raw_http import Server, say, silence

MODELS: dict[type[Provider], str] = {Highway: HIGHWAY, Runware: RUNWARE, Pixwith: PIXWITH}
Answer = Callable[[str], tuple[int, Any] | None]
"""What is said to the submit of a prompt; None for an acceptance."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    engine = open_engine(sqlite_url(tmp_path / "ledger.db"))
    yield Ledger(engine)
    engine.dispose()


class Desk:
    """A provider whose answers to submits are given by prompt, and can be changed."""

    def __init__(self, provider: type[Provider]) -> None:
        self.provider = provider
        self.answer: Answer = lambda _: None
        self.sent: list[str] = []
        self.server = Server(self._serve)

    def _serve(self, connection: socket.socket, number: int) -> None:
        document: Any = json.loads(self.server.requests[number - 1].split(b"\r\n\r\n", 1)[1])
        task: dict[str, Any] = document[0] if self.provider is Runware else document
        prompt: str = task.get("positivePrompt") or task["prompt"]
        self.sent.append(prompt)
        status, body = self.answer(prompt) or self._accept(task, number)
        content = body if isinstance(body, bytes) else json.dumps(body).replace("$UUID", task.get("taskUUID", ""))
        say(status, content if isinstance(content, bytes) else content.encode())(connection, number)

    def _accept(self, task: dict[str, Any], number: int) -> tuple[int, Any]:
        data = {"task_id": f"t{number}", "taskUUID": task.get("taskUUID"), "taskType": "videoInference"}
        return 200, {"code": 1, "data": [data] if self.provider is Runware else data}

    def client(self, limits: Limits | None = None, key: str = "k3y") -> ProviderClient:
        url = f"http://127.0.0.1:{self.server.port}"
        limits = limits or Limits(backoff_seconds=0, max_attempts=1, max_concurrency=1, submit_timeout_seconds=5)
        return ProviderClient(self.provider(key, url), HttpSender(limits))

    def rows(self, *names: str) -> list[Row]:
        return [make_row(name, MODELS[self.provider], prompt=f"prompt {name}") for name in names]


Open = Callable[..., Session]


@pytest.fixture
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    desk = Desk(getattr(request, "param", Highway))
    yield desk
    desk.server.close()


@contextmanager
def opened(
    ledger: Ledger, clients: Sequence[ProviderClient], clock: Clock | None = None, **setup: Any
) -> Generator[Session]:
    """A session with these clients."""
    setup = {"pace": QUICK.model_copy(update={"hold_seconds": 60}), **setup}
    with ExitStack() as stack:
        session = make_session(ledger, "http://127.0.0.1:9", Setup(**setup), clock or Clock())
        for other in session.clients.values():
            other.close()
        yield stack.enter_context(replace(session, clients={one.provider.NAME: one for one in clients}))


def waiting(ledger: Ledger) -> list[str]:
    return [entry.row for entry in ledger.queue.find(NAME)]


def tick(session: Session) -> list[str]:
    """The rows whose turn it is, as the sensor chooses them."""
    due = session.ledger.queue.due(NAME, session.clock(), session.worlds)
    return choose_submit_batch(due, find_room(session), 1000, QUICK)


NAMES = [f"r{number}" for number in range(8)]
TROUBLE: list[tuple[type[Provider], int, Any, str]] = [
    (Highway, 403, oops("INVALID_API_KEY"), "INVALID_API_KEY"),
    (Highway, 402, oops("NOT_ENOUGH_BALANCE"), "NOT_ENOUGH_BALANCE"),
    (Pixwith, 200, {"code": 0, "message": "Credits not enough"}, "Credits not enough"),
    (Pixwith, 200, {"code": 2, "message": "no"}, "declined"),
    (Runware, 400, declined("insufficientCredits", "$UUID"), "insufficientCredits"),
    (Runware, 401, b"", "HTTP 401"),
]


@pytest.mark.parametrize(("desk", "status", "body", "words"), TROUBLE, indirect=["desk"])
def test_trouble_with_the_account_costs_nobody_a_place(ledger: Ledger, desk: Desk, status: int, body: Any, words: str):
    """Every row says why it waits; one tries whether it is over, and then all go on in their order."""
    clock = Clock()
    desk.answer = lambda _: (status, body)
    with opened(ledger, [desk.client()], clock) as session:
        found = submit_all(session, desk.rows(*NAMES))
        assert len(desk.sent) == 1
        assert all("keeps its place in the queue" in one.problem for one in found.values())
        assert waiting(ledger) == NAMES
        lines = plan_rows(session, ledger.rows.find(NAME).values()).lines
        assert [line.row for line in lines if words not in line.note] == []
        assert tick(session) == []
        assert re.fullmatch(f"8 rows wait.*{re.escape(words)}.*", describe_queue(session, []))
        clock.ahead_seconds = 61
        assert len(tick(session)) == 1
        submissions = list(submit_rows(session, tick(session)))
        assert (len(submissions), len(desk.sent)) == (1, 2)
        assert waiting(ledger) == NAMES
        clock.ahead_seconds = 130
        assert tick(session) == [], "the rest doubles"
        clock.ahead_seconds = 300
        desk.answer = lambda _: None
        (first,) = tick(session)
        assert all(one.sent for one in submit_rows(session, [first]))
        rest = tick(session)
        assert rest == [name for name in NAMES if name in rest]
        clock.ahead_seconds = 3600
        assert all(one.sent for one in submit_rows(session, tick(session)))
    assert waiting(ledger) == []
    assert {task.state for task in ledger.tasks.current(NAME).values()} == {TaskState.SUBMITTED}
    assert len(desk.sent) == 2 + len(NAMES)


def test_an_outage_of_a_minute_costs_nobody_a_place(ledger: Ledger, desk: Desk):
    """What never left is sent when the provider is there again."""
    gone = replace(desk.client(), provider=Highway("k3y", "http://127.0.0.1:9"))
    with opened(ledger, [gone]) as session:
        found = submit_all(session, desk.rows(*NAMES))
        assert all("keeps its place in the queue" in one.problem for one in found.values())
        assert "never left" in found["r7"].problem
        assert "never left" in ledger.queue.find(NAME)[-1].reason
    assert waiting(ledger) == NAMES
    clock = Clock(300)
    with opened(ledger, [replace(desk.client(), known_world="live")], clock) as session:
        pass
    with opened(ledger, [desk.client()], clock) as session:
        assert all(one.sent for one in submit_rows(session, tick(session)))
        clock.ahead_seconds = 600
        assert all(one.sent for one in submit_rows(session, tick(session)))
    assert (waiting(ledger), sorted(desk.sent)) == ([], [f"prompt {name}" for name in NAMES])


def test_another_key_is_tried_at_once(ledger: Ledger, desk: Desk):
    """What was said of the old one says nothing of it."""
    desk.answer = lambda _: (401, oops("FAILED_TO_AUTH"))
    with opened(ledger, [desk.client()]) as session:
        submit_all(session, desk.rows(*NAMES))
        assert tick(session) == []
    desk.answer = lambda _: None
    with opened(ledger, [desk.client(key="an0ther")]) as session:
        assert tick(session) == ["r1"], "not the one that was refused"
        assert all(one.sent for one in submit_rows(session, tick(session)))
        assert find_room(session)["highway"] == float("inf")


def test_a_person_who_asks_again_need_not_wait_for_the_end_of_a_rest(ledger: Ledger, desk: Desk):
    """Where the provider did not ask for it: one row is tried, and the others follow."""
    desk.answer = lambda _: (402, oops("NOT_ENOUGH_BALANCE"))
    with opened(ledger, [desk.client()]) as session:
        submit_all(session, desk.rows(*NAMES))
    with opened(ledger, [desk.client(Limits(backoff_seconds=0, max_attempts=1, max_concurrency=4))]) as session:
        list(submit_rows(session, NAMES))
        assert len(desk.sent) == 2, "one goes ahead, however many could"
        desk.answer = lambda _: None
    with opened(ledger, [desk.client()]) as session:
        assert all(one.sent for one in submit_rows(session, NAMES))
    assert waiting(ledger) == []


def test_no_row_is_for_ever_the_one_that_goes_ahead(ledger: Ledger, desk: Desk):
    """Should what is said of the account be about the row after all, the others are sent all the same."""
    desk.answer = lambda prompt: (403, oops("ACCESS_DENY")) if prompt == "prompt r0" else None
    clock = Clock()
    with opened(ledger, [desk.client()], clock) as session:
        submit_all(session, desk.rows(*NAMES))
        for _ in range(8):
            clock.ahead_seconds += 61
            list(submit_rows(session, tick(session)))
    assert waiting(ledger) == ["r0"]
    assert len(ledger.tasks.find(NAME, [TaskState.SUBMITTED])) == len(NAMES) - 1


PAGE = b"<html>Request blocked. API key, credit balance, rate limit. Please try again later. Support ID: %d</html>"
ABOUT_A_ROW: list[tuple[type[Provider], int, Any]] = [
    (Highway, 403, PAGE),
    (Runware, 403, PAGE),
    (Pixwith, 403, PAGE),
    (Highway, 403, {"code": 403, "message": "Your balance? Try again later"}),
    (Runware, 400, {"errors": [{"message": "rate limit? try again later"}]}),
    (Pixwith, 200, {"code": 0, "message": "This prompt is not possible. Please try again later"}),
]


@pytest.mark.parametrize(("desk", "status", "body"), ABOUT_A_ROW, indirect=["desk"])
def test_what_is_said_of_one_prompt_is_its_rows_alone(ledger: Ledger, desk: Desk, status: int, body: Any):
    """The others are sent; it goes to the end, and out after the third same answer, which says so."""
    calls = iter(range(100))

    def answer(prompt: str) -> tuple[int, Any] | None:
        if prompt != "prompt r0":
            return None
        return status, body.replace(b"%d", str(next(calls)).encode()) if isinstance(body, bytes) else body

    desk.answer = answer
    clock = Clock()
    with opened(ledger, [desk.client()], clock, max_open_tasks=None) as session:
        found = submit_all(session, desk.rows(*NAMES))
        assert [key for key, one in found.items() if one.problem] == ["r0"]
        assert "goes to the end of the queue" in found["r0"].problem
        ledger.queue.add(NAME, [replace(ledger.queue.find(NAME)[0], row="r1", since=clock() - 1)], clock())
        assert waiting(ledger) == ["r0"]
        assert find_room(session)[desk.provider.NAME] == float("inf")
        assert tick(session) == [], "not at once"
        clock.ahead_seconds = 3600
        (again,) = submit_rows(session, tick(session))
        assert (waiting(ledger), ledger.queue.find(NAME)[0].refusals) == (["r0"], 2)
        clock.ahead_seconds = 7200
        (last,) = submit_rows(session, tick(session))
        assert "goes to the end" in again.problem
        assert "for the third time with the same answer, and is not sent again by itself" in last.problem
        assert waiting(ledger) == []
        assert len(desk.sent) == len(NAMES) + 2


def test_another_answer_is_counted_anew_and_trouble_with_the_account_is_not_counted(ledger: Ledger, desk: Desk):
    """Three of a kind in a row, and of what is said of the row."""
    said: list[tuple[int, Any]] = [(403, b"one"), (403, b"two"), (402, b""), (403, b"two"), (403, b"two")]
    answers = iter(said)
    desk.answer = lambda _: next(answers)
    with opened(ledger, [desk.client()]) as session:
        keys = record_rows(ledger, desk.rows("r0"))
        for refusals in (1, 1, 1, 2):
            list(submit_rows(session, keys))
            assert [entry.refusals for entry in ledger.queue.find(NAME)] == [refusals]
        list(submit_rows(session, keys))
    assert waiting(ledger) == []


def test_a_request_that_is_refused_by_a_code_leaves_the_queue(ledger: Ledger, desk: Desk):
    """It is not sent again until somebody asks for it."""
    desk.answer = lambda _: (400, oops("INVALID_REQUEST_BODY", "Please try again later"))
    with opened(ledger, [desk.client()]) as session:
        found = submit_all(session, desk.rows("r0", "r1"))
        assert all("Fix the cause and run the row again" in one.problem for one in found.values())
    assert (waiting(ledger), len(desk.sent)) == ([], 2)


def test_a_row_that_can_never_be_sent_leaves_the_queue(ledger: Ledger, desk: Desk):
    """Its image is not there: nobody is asked for it again at every tick, and the others go on."""
    with opened(ledger, [desk.client()]) as session:
        found = submit_all(session, [make_row("gone", HIGHWAY, image="gone.png"), *desk.rows("r0")])
    assert (found["gone"].sent, found["r0"].sent) == (False, True)
    assert ledger.queue.count(NAME) == (0, "")


def test_a_provider_that_is_added_later_has_its_rows(ledger: Ledger, desk: Desk):
    """Until then they say that there is none."""
    with opened(ledger, []) as session:
        found = submit_all(session, desk.rows("r0", "r1"))
        assert "no resource for 'highway': add one, and it keeps its place" in found["r0"].problem
        assert "no resource" in ledger.queue.find(NAME)[0].reason
    clock = Clock(61)
    with opened(ledger, [], clock) as session:
        assert tick(session) == []
    with opened(ledger, [desk.client()], clock) as session:
        assert all(one.sent for one in submit_rows(session, tick(session)))
    assert (waiting(ledger), len(desk.sent)) == ([], 2)


def test_a_key_that_cannot_be_used_costs_nobody_a_place(ledger: Ledger, desk: Desk):
    """Nothing is sent, no other process is kept from the account, and no run is asked for meanwhile."""
    with opened(ledger, [replace(desk.client(), unusable="HIGHWAY_KEY is empty")]) as session:
        found = submit_all(session, desk.rows("r0", "r1"))
        assert all("HIGHWAY_KEY is empty, and it keeps its place" in one.problem for one in found.values())
        assert tick(session) == []
    with opened(ledger, [desk.client()]) as session:
        assert all(one.sent for one in submit_rows(session, tick(session)))


def test_who_is_over_budget_waits_for_more(ledger: Ledger, desk: Desk):
    """Whether the plan says so, or the claim; those behind have their turn, and a raised budget lets all go on."""
    rows, clock = [make_row(name, RUNWARE) for name in ("r0", "r1", "r2")], Clock()
    desk.provider = Runware
    with opened(ledger, [desk.client()], clock, budget=Budget(total_usd=0.12)) as session:
        found = submit_all(session, rows)
        assert found["r0"].sent
        assert "are left of the budget" in found["r1"].problem
        assert found["r2"].problem.endswith("Nothing was sent, and it keeps its place in the queue")
        assert waiting(ledger) == ["r1", "r2"]
        assert tick(session) == []
        clock.ahead_seconds = 601
        assert leave_over_budget(session, ledger.queue.due(NAME, clock()), ["r1", "r2"]) == [], "no run is asked for"
        assert tick(session) == [], "and those behind have their turn"
        notes = [line.note for line in plan_rows(session, rows[1:]).lines]
        assert all("it keeps its place in the queue" in note for note in notes), notes
    clock.ahead_seconds = 3600
    with opened(ledger, [desk.client()], clock) as session:
        assert all(one.sent for one in submit_rows(session, tick(session)))


# --- runs


def test_a_run_has_its_rows_in_the_queue_and_to_itself_while_it_works(ledger: Ledger, desk: Desk):
    """So that whatever becomes of it, another goes on when the lease is over: nothing is forgotten by a kill."""
    seen: list[tuple[list[str], list[str], list[str]]] = []

    def answer(_: str) -> None:
        later = session.clock() + 1000
        due = [[entry.row for entry in ledger.queue.due(NAME, at)] for at in (session.clock(), later)]
        seen.append((waiting(ledger), due[0], due[1]))

    desk.answer = answer
    with opened(ledger, [desk.client()]) as session:
        submit_all(session, desk.rows("r0", "r1", "r2"))
    assert seen == [(rest, [], rest) for rest in (["r1", "r2"], ["r2"], [])]


def test_who_turns_away_from_a_run_leaves_the_rest_in_the_queue(ledger: Ledger, desk: Desk):
    """As a process does that gets a signal. Where a person wanted it, nobody waits any more."""
    with opened(ledger, [desk.client(Limits(max_concurrency=1, submits_per_minute=60))]) as session:
        submissions = submit_rows(session, record_rows(ledger, desk.rows(*NAMES)))
        next(submissions)
        submissions.close()
        assert waiting(ledger) == NAMES[1:]
        assert tick(session) == NAMES[1:]
    wanted = [True]
    with opened(ledger, [desk.client()]) as session:
        stopped = replace(session, stopped=lambda: not wanted[0])
        submissions = submit_rows(stopped, NAMES)
        next(submissions)
        wanted[0] = False
        assert all("the run was stopped" in one.problem for one in submissions if not one.sent and one.row != "r0")
        assert ledger.queue.drop_run(session.run_id, session.clock()) > 0
    assert waiting(ledger) == []


def test_a_row_that_is_withdrawn_while_its_run_works_is_not_sent(ledger: Ledger, desk: Desk):
    """Also not when the same run comes back to it; and a person may ask for it again."""
    desk.answer = lambda prompt: ledger.rows.withdraw(NAME, "r1", 0.0) and None if prompt == "prompt r0" else None
    with opened(ledger, [desk.client()]) as session:
        found = submit_all(session, desk.rows("r0", "r1"))
        assert "withdrawn while it waited. Nothing was sent" in found["r1"].skipped
        (again,) = submit_rows(session, ["r1"])
        assert "withdrawn" in again.skipped
        assert waiting(ledger) == []
    with opened(ledger, [desk.client()]) as session:
        take_as_asked(session, ["r1"])
        (offered,) = submit_rows(session, ["r1"])
        assert "withdrawn" in offered.skipped, "nor by a run that a sensor asked for before"
    with opened(ledger, [desk.client()]) as session:
        assert next(iter(submit_rows(session, ["r1"]))).sent


def test_a_hung_provider_keeps_neither_the_others_rows_nor_its_own_lease(ledger: Ledger, desk: Desk):
    """The others are sent at once; its own rows stay with this run for as long as it takes."""
    hung = Server(silence)
    pace = QUICK.model_copy(update={"collect_lease_seconds": 1.2})
    limits = Limits(max_concurrency=1, connect_timeout_seconds=0.2, submit_timeout_seconds=1.2)
    client = ProviderClient(Pixwith("k3y", f"http://127.0.0.1:{hung.port}"), HttpSender(limits))
    rows = [*(make_row(name, PIXWITH) for name in ("p0", "p1")), *desk.rows("r0", "r1")]
    with opened(ledger, [client, desk.client()], pace=pace) as session:
        submissions = submit_rows(session, record_rows(ledger, rows))
        assert {next(submissions).row, next(submissions).row} == {"r0", "r1"}
        due: list[Any] = []

        def look() -> None:
            while not done.wait(0.05):
                due.append([entry.row for entry in ledger.queue.due(NAME, session.clock())])

        done = Event()
        thread = Thread(target=look)
        thread.start()
        rest = list(submissions)
        done.set()
        thread.join()
    hung.close()
    assert {one.task.state for one in rest if one.task} == {TaskState.UNKNOWN}
    assert len(due) > 10
    assert not any(due)


def test_a_table_that_is_read_anew_ends_the_waits_for_what_it_does_not_ask_for(ledger: Ledger):
    """Also for good: a row that comes back later with the same words was not asked for again."""
    with opened(ledger, []) as session:
        rows = [make_row(name, HIGHWAY) for name in ("r0", "r1", "r2")]
        submit_all(session, rows)
        record_rows(ledger, [rows[0], make_row("r1", HIGHWAY, prompt="other words")])
        record_rows(ledger, rows)
        assert waiting(ledger) == ["r0"]
        table = sa.table("pixverse_waiting")
        engine = ledger._engine  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        with engine.connect() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 1
