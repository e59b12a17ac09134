"""The ledger keeps its promises on SQLite and on PostgreSQL alike."""

import dataclasses
import itertools
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier

import psutil
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.lifecycle import TRANSITIONS, UNDER_WAY, Event, FailureKind, TaskState
from pixverse_dagster.core.outcomes import Accepted, Failed, Succeeded
from pixverse_dagster.core.row import Problem, Row
from pixverse_dagster.core.task import Applied, Move, MoveRefused, Task
from pixverse_dagster.ledger import schema
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import open_engine, sqlite_url
from pixverse_dagster.ledger.ledger import Ledger, open_ledger
from pixverse_dagster.policy.prices import estimate_usd
from pixverse_dagster_tests.harness.factories import (
    CELLS,
    HIGHWAY,
    NAME,
    NOW,
    RUN,
    RUNWARE,
    make_row,
    make_rows,
)
from pixverse_dagster_tests.harness.forked import call_together

LEASE = 180.0
SECRET = "X-Sim-Signature=s3cr3t"  # noqa: S105 - what must not be found afterwards
URL = f"https://results.example.org/1.mp4?{SECRET}"
FINISHED = Succeeded((URL,), cost_usd=0.11, seeds=(7,), note="1 of 1")
ENDED = Failed(FailureKind.MODERATED, "not allowed")


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "new" / "ledger.db")
    return request.getfixturevalue("postgres_database")


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def ledger(engine: sa.Engine) -> Ledger:
    return Ledger(engine)


def claim(ledger: Ledger, row: Row, now: float = NOW) -> tuple[Task, bool]:
    return ledger.claim(NAME, row, ClaimTerms(RUN, now, LEASE, estimate_usd(row.request)))


def claimed(ledger: Ledger, row: Row, now: float = NOW) -> Task:
    task, mine = claim(ledger, row, now)
    assert mine
    return task


def submitted(ledger: Ledger, row: Row, next_poll_at: float = NOW + 5) -> Task:
    return ledger.accept(claimed(ledger, row), Accepted(f"task-{row.id}"), NOW + 1, next_poll_at).task


def succeeded(ledger: Ledger, row: Row, finished_at: float = NOW + 9) -> Task:
    return ledger.succeed(submitted(ledger, row), FINISHED, finished_at).task


REACH: dict[TaskState, Callable[[Ledger, Row], Task]] = {
    TaskState.CLAIMED: claimed,
    TaskState.SUBMITTED: submitted,
    TaskState.SUCCEEDED: succeeded,
    TaskState.STORED: lambda ledger, row: ledger.store(succeeded(ledger, row), NOW + 20).task,
    TaskState.REFUSED: lambda ledger, row: ledger.refuse(claimed(ledger, row), "no credit").task,
    TaskState.FAILED: lambda ledger, row: ledger.fail(submitted(ledger, row), ENDED, NOW + 9).task,
    TaskState.UNKNOWN: lambda ledger, row: ledger.mark_unknown(claimed(ledger, row), "no answer", None).task,
    TaskState.ABANDONED: lambda ledger, row: ledger.abandon(submitted(ledger, row), "given up").task,
}


# --- claims


def test_of_sixteen_threads_exactly_one_claims_a_row(ledger: Ledger):
    """Any number of claims of one request at the same time give one owner, and the others see the owner's task."""
    together, row = Barrier(16), make_row()

    def attempt(_: int) -> tuple[Task, bool]:
        together.wait()
        return claim(ledger, row)

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(attempt, range(16)))
    assert sum(mine for _, mine in outcomes) == 1
    assert {task.id for task, _ in outcomes} == {ledger.tasks.find(NAME)[0].id}
    assert len(ledger.tasks.find(NAME)) == 1


def claim_all(job: tuple[str, list[Row]]) -> list[str]:
    url, rows = job
    ledger = open_ledger(url)
    return [row.id for row in rows if claim(ledger, row)[1]]


def test_of_four_processes_exactly_one_claims_each_row(ledger: Ledger, database_url: str):
    """Processes that claim the same rows at once, in the same order, get each row once, and no locked database."""
    rows = make_rows(50)
    claims = call_together(claim_all, [(database_url, rows)] * 4)
    assert sorted(itertools.chain(*claims)) == [row.id for row in rows]
    assert [task.attempt for task in ledger.tasks.find(NAME)] == [1] * len(rows)


def test_a_request_that_may_have_been_paid_for_is_never_claimed_again(ledger: Ledger):
    """Whatever became of it: a request with a task that is not refused keeps that task."""
    tasks = {state: REACH[state](ledger, make_row(state)) for state in REACH if state is not TaskState.REFUSED}
    for state, task in tasks.items():
        again, mine = claim(ledger, make_row(state), NOW + 1_000_000)
        assert not mine
        assert again == ledger.tasks.refresh(task)
        assert again.state is state
    assert len(ledger.tasks.find(NAME)) == len(tasks)


def test_a_refused_request_may_be_claimed_again_under_another_reference(ledger: Ledger):
    """A refusal costs nothing: the next claim is attempt 2, with a reference that the provider has not seen."""
    row = make_row()
    first = ledger.refuse(claimed(ledger, row), "no credit").task
    second, mine = claim(ledger, row, NOW + 60)
    assert mine
    assert (first.attempt, second.attempt) == (1, 2)
    assert second.client_reference != first.client_reference
    assert [(task.attempt, task.state) for task in ledger.tasks.attempts(second)] == [
        (1, TaskState.REFUSED),
        (2, TaskState.CLAIMED),
    ]
    assert ledger.tasks.attempts(second)[0].reason == "no credit"


def test_of_many_threads_exactly_one_claims_the_second_attempt(ledger: Ledger):
    """After a refusal, racing claims make one second attempt, not several."""
    row, together = make_row(), Barrier(8)
    ledger.refuse(claimed(ledger, row), "busy")

    def attempt(_: int) -> bool:
        together.wait()
        return claim(ledger, row)[1]

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1
    assert sorted(task.attempt for task in ledger.tasks.find(NAME)) == [1, 2]


def test_a_new_take_or_another_request_may_be_claimed(ledger: Ledger):
    """A stored row is paid for again when it asks for something else: a new take, other words, another model."""
    REACH[TaskState.STORED](ledger, make_row())
    for changed in (make_row(take=2), make_row(prompt="two kites"), make_row(model=HIGHWAY)):
        task, mine = claim(ledger, changed)
        assert mine
        assert (task.attempt, task.take, task.digest) == (1, changed.take, changed.digest)


def test_pipelines_and_rows_with_the_same_words_do_not_share_claims(ledger: Ledger):
    """The same words in another row or another pipeline are another clip."""
    tasks = [claimed(ledger, make_row("one")), claimed(ledger, make_row("two"))]
    task, mine = ledger.claim("posters", make_row("one"), ClaimTerms(RUN, NOW, LEASE))
    assert mine
    assert len({one.client_reference for one in [*tasks, task]}) == 3


def test_a_client_reference_is_a_uuid_of_version_4_that_the_ledger_gives_again(ledger: Ledger, engine: sa.Engine):
    """The reference is derived, not drawn: the same ledger, row, digest and attempt always have the same one."""
    row = make_row()
    first = claimed(ledger, row).client_reference
    parsed = uuid.UUID(first)
    assert (parsed.version, parsed.variant, str(parsed)) == (4, uuid.RFC_4122, first)
    with engine.begin() as connection:
        connection.execute(sa.delete(schema.tasks))
    assert claimed(Ledger(engine), row).client_reference == first


def test_client_references_differ_between_ledgers_rows_digests_and_attempts(ledger: Ledger, tmp_path: Path):
    """Two deployments on one account never choose the same id, nor do two requests of one deployment."""
    other_engine = open_engine(sqlite_url(tmp_path / "other.db"))
    other = Ledger(other_engine)
    row = make_row()
    references = [
        claimed(other, row).client_reference,
        ledger.refuse(claimed(ledger, row), "busy").task.client_reference,
    ]
    references += [claimed(ledger, one).client_reference for one in (row, make_row("other"), make_row(take=2))]
    other_engine.dispose()
    assert other.id != ledger.id
    assert len(set(references)) == 5


def claim_and_die(url: str, row: Row) -> None:
    claimed(open_ledger(url), row)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_claim_outlives_the_process_that_made_it(ledger: Ledger, database_url: str):
    """The intent to pay is in the database when `claim` returns: a kill one instruction later does not lose it."""
    process = multiprocessing.get_context("spawn").Process(target=claim_and_die, args=(database_url, make_row()))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    (task,) = ledger.tasks.find(NAME)
    assert task.state is TaskState.CLAIMED
    assert not claim(ledger, make_row())[1]


# --- transitions


@dataclass(frozen=True)
class Case:
    """A method of the ledger, the states it may leave, and the state it leads to (None: the same)."""

    call: Callable[[Ledger, Task], Move]
    leaves: tuple[TaskState, ...]
    to: TaskState | None = None


S = TaskState
CASES = {
    Event.ACCEPT: Case(
        lambda ledger, task: ledger.accept(task, Accepted("late"), NOW + 3, NOW + 8),
        (S.CLAIMED, S.UNKNOWN),
        S.SUBMITTED,
    ),
    Event.REFUSE: Case(lambda ledger, task: ledger.refuse(task, "why"), (S.CLAIMED,), S.REFUSED),
    Event.REFUSE_LATE: Case(
        lambda ledger, task: ledger.refuse(task, "why", late=True), (S.CLAIMED, S.UNKNOWN), S.REFUSED
    ),
    Event.MARK_UNKNOWN: Case(
        lambda ledger, task: ledger.mark_unknown(task, "why", NOW + 8), (S.CLAIMED, S.UNKNOWN), S.UNKNOWN
    ),
    Event.KEEP_POLLING: Case(
        lambda ledger, task: ledger.keep_polling(task, "eta 3 s", NOW + 8), (S.CLAIMED, S.SUBMITTED, S.UNKNOWN)
    ),
    Event.SUCCEED: Case(
        lambda ledger, task: ledger.succeed(task, FINISHED, NOW + 9), (S.SUBMITTED, S.SUCCEEDED), S.SUCCEEDED
    ),
    Event.FAIL: Case(lambda ledger, task: ledger.fail(task, ENDED, NOW + 9), (S.SUBMITTED, S.SUCCEEDED), S.FAILED),
    Event.RETRY_COLLECT: Case(lambda ledger, task: ledger.retry_collect(task, "cut off", NOW + 8), (S.SUCCEEDED,)),
    Event.STORE: Case(lambda ledger, task: ledger.store(task, NOW + 30), (S.SUBMITTED, S.SUCCEEDED), S.STORED),
    Event.ABANDON: Case(lambda ledger, task: ledger.abandon(task, "why"), (S.UNKNOWN, S.SUBMITTED), S.ABANDONED),
    Event.RELEASE: Case(lambda ledger, task: ledger.release(task, "by hand"), (S.FAILED, S.ABANDONED)),
}


def test_every_event_and_every_state_are_tried():
    """All but the claim, which makes a task; and the product's own table says the same as this one."""
    assert {*CASES, Event.CLAIM} == set(Event)
    assert set(REACH) == set(TaskState)
    assert {event: (set(case.leaves), case.to) for event, case in CASES.items()} == {
        event: (set(move.leaves), move.to) for event, move in TRANSITIONS.items() if event is not Event.CLAIM
    }


@pytest.mark.parametrize("event", CASES)
def test_a_task_moves_only_along_its_way(ledger: Ledger, event: Event):
    """From each state: where an event cannot leave it nothing changes, and the answer is no success."""
    case = CASES[event]
    for state, reach in REACH.items():
        before = reach(ledger, make_row(f"from {state}"))
        # What a second process still believes must not matter, only what the ledger says.
        move = case.call(ledger, dataclasses.replace(before, state=case.leaves[0]))
        assert move.task == ledger.tasks.refresh(before)
        if state in case.leaves:
            assert isinstance(move, Applied), state
            assert move.task.state is (case.to or state), state
            assert move.task != before or case.to is state
        else:
            assert move == MoveRefused(before, event)


def test_a_late_answer_wins_over_unknown(ledger: Ledger):
    """An acceptance that arrives after the outcome was called unknown is the truth."""
    task = REACH[TaskState.UNKNOWN](ledger, make_row())
    late = ledger.accept(task, Accepted("task-1"), NOW + 100, NOW + 105).task
    assert (late.state, late.task_id, late.reason) == (TaskState.SUBMITTED, "task-1", None)


def test_a_late_refusal_does_not_win_over_unknown(ledger: Ledger):
    """A submit of unknown outcome may have been replayed meanwhile, so a refusal of the first sending frees nothing."""
    task = claimed(ledger, make_row())
    ledger.mark_unknown(task, "no answer", None)
    assert ledger.refuse(task, "busy").task.state is TaskState.UNKNOWN
    assert not claim(ledger, make_row())[1]


def test_of_racing_moves_one_wins_and_all_see_the_same_task(ledger: Ledger):
    """`store` and `end` at the same moment leave one end, and everyone is told which."""
    task, together = succeeded(ledger, make_row()), Barrier(8)

    def move(number: int) -> Task:
        together.wait()
        return ledger.store(task, NOW + 20).task if number % 2 else ledger.fail(task, ENDED, NOW + 20).task

    with ThreadPoolExecutor(8) as pool:
        outcomes = {one.state for one in pool.map(move, range(8))}
    assert outcomes == {ledger.tasks.refresh(task).state}


def test_text_of_a_provider_that_a_database_cannot_hold_is_kept_as_far_as_it_can(ledger: Ledger):
    """A NUL or half a surrogate pair in a provider's message never keeps an outcome out of the ledger."""
    nasty = "no\x00thing \ud800 here"
    refused = ledger.refuse(claimed(ledger, make_row("a")), nasty).task
    failed = ledger.fail(submitted(ledger, make_row("b")), Failed(FailureKind.PROVIDER_ERROR, nasty), NOW).task
    running = ledger.keep_polling(submitted(ledger, make_row("c")), nasty, NOW).task
    found = [ledger.tasks.refresh(task) for task in (refused, failed, running)]
    assert [task.state for task in found] == [TaskState.REFUSED, TaskState.FAILED, TaskState.SUBMITTED]
    assert all("thing" in (task.reason or task.note) for task in found)


# --- looking


def test_due_tasks_come_longest_overdue_first_and_no_more_than_asked_for(ledger: Ledger):
    """The task that has waited longest is polled first, so that a bounded tick starves none."""
    for number, wait in enumerate([30, 10, 20, 40]):
        submitted(ledger, make_row(f"r{number}"), NOW + wait)
    assert [task.row for task in ledger.tasks.due(NAME, NOW + 30, 10)] == ["r1", "r2", "r0"]
    assert [task.row for task in ledger.tasks.due(NAME, NOW + 30, 2)] == ["r1", "r2"]
    assert ledger.tasks.due("posters", NOW + 1000, 10) == []
    assert ledger.tasks.due(NAME, NOW + 9, 10) == []


def test_a_claim_is_due_when_its_lease_is_over_and_ends_are_never_due(ledger: Ledger):
    """A claim without an answer is looked at once its process has had its time; what has ended is left alone."""
    for state, reach in REACH.items():
        reach(ledger, make_row(state))
    assert [task.state for task in ledger.tasks.due(NAME, NOW + LEASE - 1, 10)] == [TaskState.SUBMITTED]
    assert {task.state for task in ledger.tasks.due(NAME, NOW + LEASE, 10)} == {TaskState.SUBMITTED, TaskState.CLAIMED}
    unknown = ledger.mark_unknown(claimed(ledger, make_row("asked again")), "no answer", NOW + 3).task
    assert unknown in ledger.tasks.due(NAME, NOW + 3, 10)


def test_ready_tasks_come_oldest_result_first_and_no_more_than_asked_for(ledger: Ledger):
    """The result that expires first is collected first."""
    for number, finished_at in enumerate([30, 10, 20]):
        succeeded(ledger, make_row(f"r{number}"), NOW + finished_at)
    submitted(ledger, make_row("running"))
    assert [task.row for task in ledger.tasks.ready(NAME, NOW + 100, 10)] == ["r1", "r2", "r0"]
    assert [task.row for task in ledger.tasks.ready(NAME, NOW + 100, 2)] == ["r1", "r2"]
    assert [task.row for task in ledger.tasks.ready(NAME, NOW + 15, 10)] == ["r1"]


def test_a_leased_task_is_offered_again_when_the_lease_is_over(ledger: Ledger):
    """One collect run at a time has a task, and a run that died does not keep it."""
    tasks = [succeeded(ledger, make_row(f"r{number}")) for number in range(3)]
    ledger.lease_collect(tasks[:2], NOW + 900)
    assert [task.row for task in ledger.tasks.ready(NAME, NOW + 899, 10)] == ["r2"]
    assert len(ledger.tasks.ready(NAME, NOW + 900, 10)) == 3


def test_renewed_result_urls_do_not_take_a_task_out_of_the_queue(ledger: Ledger):
    """A collect run that renews an expired link and then dies leaves a task that is offered again."""
    task = succeeded(ledger, make_row())
    ledger.lease_collect([task], NOW + 900)
    renewed = ledger.succeed(task, Succeeded(("https://results.example.org/new.mp4",)), NOW + 50).task
    assert renewed.urls == ("https://results.example.org/new.mp4",)
    assert ledger.tasks.ready(NAME, NOW + 899, 10) == []
    assert [one.id for one in ledger.tasks.ready(NAME, NOW + 900, 10)] == [task.id]


def test_a_failed_collect_is_offered_again_at_its_time(ledger: Ledger):
    """A collect that failed waits its turn and counts."""
    task = ledger.retry_collect(succeeded(ledger, make_row()), "not stored yet: cut off", NOW + 60).task
    assert (task.state, task.collects, task.note) == (TaskState.SUCCEEDED, 1, "not stored yet: cut off")
    assert ledger.tasks.ready(NAME, NOW + 59, 10) == []
    assert ledger.tasks.ready(NAME, NOW + 60, 10) == [task]


def test_current_is_the_newest_attempt_at_what_the_row_asks_for_now(ledger: Ledger):
    """Tasks of earlier words or takes of a row are history, not the row's task."""
    old, new = make_row("a"), make_row("a", prompt="two kites")
    REACH[TaskState.STORED](ledger, old)
    ledger.rows.record(NAME, [new, make_row("b")], [], RUN, NOW)
    assert ledger.tasks.current(NAME) == {}
    ledger.refuse(claimed(ledger, new), "busy")
    second = claimed(ledger, new, NOW + 1)
    assert ledger.tasks.current(NAME) == {"a": second}
    assert ledger.tasks.current(NAME, ["a", "b", "no such row"]) == {"a": second}
    assert ledger.tasks.current(NAME, ["b"]) == {}
    assert ledger.tasks.current("posters") == {}


def test_newest_stored_is_the_clip_that_was_stored_last(ledger: Ledger):
    """What a downstream asset gets is a row's latest clip, also while a newer take is still being made."""
    first = ledger.store(succeeded(ledger, make_row("a")), NOW + 20).task
    second = ledger.store(succeeded(ledger, make_row("a", take=2)), NOW + 30).task
    submitted(ledger, make_row("a", take=3))
    succeeded(ledger, make_row("b"))
    assert ledger.tasks.newest_stored(NAME, ["a", "b"]) == {"a": second}
    assert {task.id for task in ledger.tasks.find(NAME, [TaskState.STORED])} == {first.id, second.id}


def test_find_narrows_by_pipeline_state_and_row_and_counts_agree(ledger: Ledger):
    """Each filter leaves what it says, the oldest claim first."""
    for number, state in enumerate(REACH):
        REACH[state](ledger, make_row(state))
        ledger.claim("posters", make_row(state), ClaimTerms(RUN, NOW - number, LEASE))
    assert {task.state for task in ledger.tasks.find(NAME, UNDER_WAY)} == set(UNDER_WAY)
    assert [task.row for task in ledger.tasks.find(NAME, keys=["stored"])] == ["stored"]
    assert [task.claimed_at for task in ledger.tasks.find("posters")] == [NOW - n for n in reversed(range(len(REACH)))]
    assert ledger.tasks.counts(NAME) == dict.fromkeys(REACH, 1)
    assert ledger.tasks.counts("posters") == {TaskState.CLAIMED: len(REACH)}


# --- snapshots


def test_a_snapshot_names_what_is_new_changed_unchanged_and_removed(ledger: Ledger):
    """Reading the table again says what became of each row; the same table again changes nothing."""
    ledger.rows.record(NAME, [make_row("a"), make_row("b"), make_row("c")], [], RUN, NOW)
    table = [make_row("d"), make_row("b", prompt="two kites"), make_row("a", campaign="winter")]
    change = ledger.rows.record(NAME, table, [], RUN, NOW + 1)
    assert (change.new, change.changed, change.unchanged, change.removed) == (("d",), {"b": ("prompt",)}, 1, ("c",))
    again = ledger.rows.record(NAME, table, [], RUN, NOW + 2)
    assert (again.new, again.changed, again.unchanged, again.removed) == ((), {}, 3, ())
    assert list(ledger.rows.find(NAME).values()) == table
    assert ledger.rows.find("posters") == {}


def test_a_snapshot_keeps_its_problems(ledger: Ledger):
    """The problems of the last reading are known until the next one, the first thousand of them."""
    problems = [Problem(line, f"r{line}", "prompt", 'is "empty"\x00') for line in range(1500)]
    ledger.rows.record(NAME, [], problems, RUN, NOW)
    assert ledger.rows.problems(NAME) == problems[:1000]
    ledger.rows.record(NAME, [make_row()], [], RUN, NOW + 1)
    assert ledger.rows.problems(NAME) == []
    assert ledger.rows.problems("posters") == []


def test_a_snapshot_is_recorded_whole_or_not_at_all(ledger: Ledger):
    """A table whose last row cannot be written leaves the rows as they were."""
    before = [make_row("a"), make_row("b")]
    ledger.rows.record(NAME, before, [], RUN, NOW)
    rows = make_rows(700)
    with pytest.raises(IntegrityError) as error:
        ledger.rows.record(NAME, [*rows, rows[0]], [], RUN, NOW + 1)
    assert "a kite" not in str(error.value), "a database error quotes what was written, webhook tokens included"
    assert list(ledger.rows.find(NAME).values()) == before


def test_five_thousand_rows_are_recorded_in_seconds_and_read_back_in_order(ledger: Ledger):
    """A large table is one transaction of seconds, and asking for many rows by id works."""
    one = make_row()
    table = [dataclasses.replace(one, id=f"r{number}", line=number) for number in reversed(range(5000))]
    start = time.monotonic()
    change = ledger.rows.record(NAME, table, [], RUN, NOW)
    assert time.monotonic() - start < 10
    assert len(change.new) == 5000
    keys = [row.id for row in table]
    assert list(ledger.rows.find(NAME)) == keys
    assert set(ledger.rows.find(NAME, keys)) == set(keys)


def test_the_same_table_may_be_recorded_by_several_runs_at_once(ledger: Ledger):
    """Two readings of the table at the same moment both succeed, and the rows stand once."""
    together, table = Barrier(6), make_rows(60)

    def record(number: int) -> None:
        together.wait()
        ledger.rows.record(NAME, table, [], f"run-{number}", NOW + number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(record, range(6)))
    assert list(ledger.rows.find(NAME).values()) == table


# --- round trips


@pytest.mark.parametrize("model", CELLS)
def test_a_task_comes_back_with_every_field(ledger: Ledger, model: str):
    """Request, images, labels, times, money, URLs and seeds are read as they were written, for every model."""
    row = make_row("Привет 世界 %41 '--", model, campaign='"; DROP TABLE', language="日本", take=3)
    ledger.rows.record(NAME, [row], [], RUN, NOW)
    assert ledger.rows.find(NAME) == {row.id: row}
    task = claimed(ledger, row)
    assert ledger.tasks.refresh(task).request == row.request
    task = ledger.accept(task, Accepted("task-1", 30.0), NOW + 1.25, NOW + 5).task
    task = ledger.keep_polling(task, "eta 3 s", NOW + 7.5).task
    task = ledger.succeed(task, Succeeded(("https://a/1", "https://a/2"), 0.25, (7, None), "2 of 3"), NOW + 9.125).task
    task = ledger.retry_collect(task, "cut off", NOW + 60).task
    found = ledger.tasks.refresh(task)
    assert found == dataclasses.replace(task, next_poll_at=None)
    expected = {
        "pipeline": NAME,
        "row": row.id,
        "digest": row.digest,
        "attempt": 1,
        "take": 3,
        "request": row.request,
        "images": row.images,
        "labels": {"campaign": '"; DROP TABLE', "language": "日本"},
        "state": TaskState.SUCCEEDED,
        "run_id": RUN,
        "claimed_at": NOW,
        "account": "",
        "released": False,
        "settled": None,
        "task_id": "task-1",
        "kind": None,
        "reason": None,
        "note": "cut off",
        "urls": ("https://a/1", "https://a/2"),
        "seeds": (7, None),
        "estimate_usd": 0.1121 if model == RUNWARE else None,
        "cost_usd": 0.25,
        "polls": 2,
        "collects": 1,
        "submitted_at": NOW + 1.25,
        "finished_at": NOW + 9.125,
        "stored_at": None,
        "next_poll_at": None,
    }
    rest = {"id": task.id, "client_reference": task.client_reference}
    assert {f.name: getattr(found, f.name) for f in dataclasses.fields(found)} == expected | rest


# --- secrets


@pytest.mark.parametrize("ends", ["stored", "failed"])
def test_result_urls_are_gone_from_the_database_when_the_task_is_over(ledger: Ledger, engine: sa.Engine, ends: str):
    """A result URL is a permission: once the clip is stored or the task has ended, no byte of it is left."""
    tasks = [succeeded(ledger, make_row(f"r{number}")) for number in range(40)]
    tasks = [ledger.succeed(task, Succeeded((f"{URL}&again=1", URL)), NOW + 10).task for task in tasks]
    assert SECRET.encode() in everything_in(engine)
    for task in tasks:
        over = ledger.store(task, NOW + 20).task if ends == "stored" else ledger.fail(task, ENDED, NOW + 20).task
        assert over.urls == ()
    assert SECRET.encode() not in everything_in(engine)


def everything_in(engine: sa.Engine) -> bytes:
    """All that the database holds: SQLite's files byte by byte, after a checkpoint; PostgreSQL's tables in full."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.rollback()
            connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        path = Path(engine.url.database or "")
        return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    with engine.connect() as connection:
        tables = [connection.execute(sa.select(table)).all() for table in schema.metadata.sorted_tables]
    return repr(tables).encode()


# --- migrations


def test_the_migrations_make_the_schema_that_the_code_uses(engine: sa.Engine):
    """What Alembic builds step by step is what `schema.metadata` says, down to types, indexes and constraints."""
    options = {"version_table": schema.VERSION_TABLE, "compare_type": True}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []
        assert context.get_current_revision() == schema.HEAD


def test_opening_a_ledger_twice_is_harmless(ledger: Ledger, database_url: str):
    """A second opening finds the same ledger, with its identity and its tasks."""
    task = claimed(ledger, make_row())
    again = open_engine(database_url)
    second = Ledger(again)
    assert (second.id, second.tasks.find(NAME)) == (ledger.id, [task])
    again.dispose()


def ledger_id(url: str) -> str:
    return open_ledger(url).id


def test_four_processes_may_open_a_new_ledger_at_once(database_url: str):
    """The first opening makes the ledger, whoever is first; the others find it made."""
    ids = call_together(ledger_id, [database_url] * 4)
    assert len(set(ids)) == 1
    engine = open_engine(database_url)
    assert Ledger(engine).id == ids[0]
    engine.dispose()


def test_a_new_file_that_another_process_is_about_to_fill_is_waited_for(tmp_path: Path):
    """SQLite itself does not wait where a file gets its write-ahead log."""
    path = tmp_path / "ledger.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    # A transaction that has read and is about to write: the switch fails at once, whatever the time-out.
    other.execute("BEGIN IMMEDIATE")
    released = threading.Timer(0.5, lambda: other.execute("COMMIT"))
    released.start()
    engine = open_engine(sqlite_url(path))
    assert Ledger(engine).id
    engine.dispose()
    released.join()
    other.close()


def test_a_ledger_of_a_newer_version_is_refused_and_left_alone(ledger: Ledger, engine: sa.Engine, database_url: str):
    """An old program on a new ledger stops with what to do, and changes nothing."""
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))  # noqa: S608 - ours
    with pytest.raises(PixverseError, match=r"newer pixverse-dagster\. Nothing was changed; upgrade"):
        open_engine(database_url)
    with engine.connect() as connection:
        assert connection.scalar(sa.text(f"SELECT version_num FROM {schema.VERSION_TABLE}")) == "9999"  # noqa: S608


def test_a_refused_ledger_is_left_closed(tmp_path: Path):
    """Nobody was given the engine, so opening has closed its connections itself."""
    path = (tmp_path / "ledger.db").resolve()
    engine = open_engine(sqlite_url(path))
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))  # noqa: S608 - ours
    assert open_files(path)
    engine.dispose()
    with pytest.raises(PixverseError, match="newer"):
        open_engine(sqlite_url(path))
    assert open_files(path) == []


def open_files(path: Path) -> list[str]:
    """The files of this SQLite database that this process has open."""
    return [file.path for file in psutil.Process().open_files() if file.path.startswith(str(path))]


def test_a_plain_postgresql_url_means_the_driver_that_is_installed(postgres_database: str):
    """`postgresql://` and `postgres://` work as people write them."""
    for scheme in ("postgresql", "postgres"):
        engine = open_engine(postgres_database.replace("postgresql+psycopg2", scheme))
        assert engine.dialect.driver == "psycopg2"
        engine.dispose()
