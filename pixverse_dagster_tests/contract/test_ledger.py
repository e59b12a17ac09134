"""The ledger keeps its promises on SQLite and on PostgreSQL alike."""

import dataclasses
import itertools
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
import traceback
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

from pixverse_dagster.core.errors import OverBudget, Paused, PixverseError, RowChanged
from pixverse_dagster.core.layout import clip_folder
from pixverse_dagster.core.lifecycle import TRANSITIONS, UNDER_WAY, Event, FailureKind, TaskState
from pixverse_dagster.core.outcomes import Accepted, Failed, Succeeded
from pixverse_dagster.core.row import Problem, Row, retake
from pixverse_dagster.core.task import Acceptance, Applied, KeptApart, Move, MoveRefused, QueuedRow, Task, latest
from pixverse_dagster.ledger import schema
from pixverse_dagster.ledger.claims import ClaimTerms, client_reference
from pixverse_dagster.ledger.engine import open_engine, sqlite_url
from pixverse_dagster.ledger.ledger import Ledger, open_ledger
from pixverse_dagster.ledger.pauses import Pause, Scope
from pixverse_dagster.ledger.polling import Heard
from pixverse_dagster.policy.budget import Budget, Spent
from pixverse_dagster.policy.identity import Holder
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
    make_task,
    moved,
    put_row,
)
from pixverse_dagster_tests.harness.forked import call_together
from pixverse_dagster_tests.harness.ledgers import ledger_in

LEASE = 180.0
SECRET = "X-Sim-Signature=s3cr3t"  # noqa: S105 - what must not be found afterwards
URL = f"https://results.example.org/1.mp4?{SECRET}"
FINISHED = Succeeded((URL,), cost_usd=0.11, seeds=(7,), note="1 of 1")
ENDED = Failed(FailureKind.MODERATED, "not allowed")


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new ledger."""
    if request.param == "sqlite":
        return ledger_in(tmp_path / "new")
    return request.getfixturevalue("postgres_ledger")


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "new" / "ledger.db")
    return request.getfixturevalue("postgres_database")


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


def claim(ledger: Ledger, row: Row, now: float = NOW) -> tuple[Task, bool]:
    if ledger.rows.find(NAME, [row.id]).get(row.id) != row:
        put_row(ledger, row)
    return ledger.claim(NAME, row, ClaimTerms(RUN, now, LEASE, estimate_usd(row.request)))


def claimed(ledger: Ledger, row: Row, now: float = NOW) -> Task:
    task, mine = claim(ledger, row, now)
    assert mine
    return task


def submitted(ledger: Ledger, row: Row, next_poll_at: float = NOW + 5) -> Task:
    return ledger.accept(claimed(ledger, row), Accepted(f"task-{row.id}-{row.take}"), NOW + 1, next_poll_at).task


def succeeded(ledger: Ledger, row: Row, finished_at: float = NOW + 9) -> Task:
    return moved(ledger.succeed(submitted(ledger, row), FINISHED, finished_at))


REACH: dict[TaskState, Callable[[Ledger, Row], Task]] = {
    TaskState.CLAIMED: claimed,
    TaskState.SUBMITTED: submitted,
    TaskState.SUCCEEDED: succeeded,
    TaskState.STORED: lambda ledger, row: moved(ledger.store(succeeded(ledger, row), NOW + 20)),
    TaskState.REFUSED: lambda ledger, row: moved(ledger.refuse(claimed(ledger, row), "no credit")),
    TaskState.FAILED: lambda ledger, row: moved(ledger.fail(submitted(ledger, row), ENDED, NOW + 9)),
    TaskState.UNKNOWN: lambda ledger, row: moved(ledger.mark_unknown(claimed(ledger, row), "no answer", None)),
    TaskState.ABANDONED: lambda ledger, row: moved(ledger.abandon(submitted(ledger, row), "given up", "by hand")),
    TaskState.FORGOTTEN: lambda ledger, row: moved(ledger.forget(REACH[TaskState.STORED](ledger, row), "by hand")),
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
    ledger.rows.record(NAME, rows, [], RUN, NOW)
    claims = call_together(claim_all, [(database_url, rows)] * 4)
    assert sorted(itertools.chain(*claims)) == [row.id for row in rows]
    assert [task.claim for task in ledger.tasks.find(NAME)] == [1] * len(rows)


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
    """A refusal costs nothing and is no attempt: the next claim has a reference that the provider has not seen."""
    row = make_row()
    first = moved(ledger.refuse(claimed(ledger, row), "no credit"))
    second, mine = claim(ledger, row, NOW + 60)
    assert mine
    assert (first.claim, second.claim) == (1, 2)
    assert second.client_reference != first.client_reference
    second = ledger.accept(second, Accepted("t"), NOW, NOW).task
    assert [(task.claim, task.attempt, task.state) for task in ledger.tasks.claims(second)] == [
        (1, None, TaskState.REFUSED),
        (2, 1, TaskState.SUBMITTED),
    ]
    assert ledger.tasks.claims(second)[0].reason == "no credit"


def test_of_many_threads_exactly_one_claims_the_second_attempt(ledger: Ledger):
    """After a refusal, racing claims make one second attempt, not several."""
    row, together = make_row(), Barrier(8)
    ledger.refuse(claimed(ledger, row), "busy")

    def attempt(_: int) -> bool:
        together.wait()
        return claim(ledger, row)[1]

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1
    assert sorted(task.claim for task in ledger.tasks.find(NAME)) == [1, 2]


def test_a_new_take_or_another_request_may_be_claimed(ledger: Ledger):
    """A stored row is paid for again when it asks for something else: a new take, other words, another model."""
    REACH[TaskState.STORED](ledger, make_row())
    for changed in (make_row(take=2), make_row(prompt="two kites"), make_row(model=HIGHWAY)):
        task, mine = claim(ledger, changed)
        assert mine
        assert (task.claim, task.take, task.digest) == (1, changed.take, changed.digest)


def test_pipelines_and_rows_with_the_same_words_do_not_share_claims(ledger: Ledger):
    """The same words in another row or another pipeline are another clip."""
    tasks = [claimed(ledger, make_row("one")), claimed(ledger, make_row("two"))]
    task, mine = ledger.claim("posters", put_row(ledger, make_row("one"), "posters"), ClaimTerms(RUN, NOW, LEASE))
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
        moved(ledger.refuse(claimed(ledger, row), "busy")).client_reference,
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

    call: Callable[[Ledger, Task], Acceptance | Move]
    leaves: tuple[TaskState, ...]
    to: TaskState | None = None


S = TaskState
LATER = NOW + 1_000_000
CASES = {
    Event.RENEW: Case(lambda ledger, task: ledger.renew(task, NOW + 2 * LEASE, now=NOW), (S.CLAIMED,)),
    Event.ACCEPT: Case(
        lambda ledger, task: ledger.accept(task, Accepted(f"late {task.row}"), NOW + 3, NOW + 8),
        (S.CLAIMED, S.UNKNOWN),
        S.SUBMITTED,
    ),
    Event.REFUSE: Case(lambda ledger, task: ledger.refuse(task, "why"), (S.CLAIMED,), S.REFUSED),
    Event.REFUSE_LATE: Case(
        lambda ledger, task: ledger.refuse(task, "why", late=True), (S.CLAIMED, S.UNKNOWN), S.REFUSED
    ),
    # Not from an unknown task that waits for a person: only a person or an acceptance takes it off the check.
    Event.MARK_UNKNOWN: Case(lambda ledger, task: ledger.mark_unknown(task, "why", NOW + 8), (S.CLAIMED,), S.UNKNOWN),
    Event.KEEP_POLLING: Case(
        lambda ledger, task: ledger.keep_polling(task, "eta 3 s", NOW + 8), (S.CLAIMED, S.SUBMITTED)
    ),
    Event.DISPUTE: Case(
        lambda ledger, task: ledger.accept(
            claimed(ledger, make_row(f"other {uuid.uuid4()}")), Accepted(task.task_id or "none"), NOW, NOW
        ),
        (S.SUBMITTED, S.SUCCEEDED),
        S.UNKNOWN,
    ),
    Event.SUCCEED: Case(
        lambda ledger, task: ledger.succeed(task, FINISHED, NOW + 9),
        (S.SUBMITTED, S.SUCCEEDED, S.FAILED),
        S.SUCCEEDED,
    ),
    Event.FAIL: Case(lambda ledger, task: ledger.fail(task, ENDED, NOW + 9), (S.SUBMITTED,), S.FAILED),
    Event.EXPIRE: Case(lambda ledger, task: ledger.expire(task, ENDED, NOW + 9), (S.SUCCEEDED,), S.FAILED),
    Event.RETRY_COLLECT: Case(lambda ledger, task: ledger.retry_collect(task, "cut off", NOW + 8), (S.SUCCEEDED,)),
    Event.STORE: Case(
        lambda ledger, task: ledger.store(task, NOW + 30), (S.SUCCEEDED, S.FAILED, S.ABANDONED), S.STORED
    ),
    Event.ADOPT: Case(
        lambda ledger, task: ledger.adopt(task, f"found-{task.row}", NOW + 40, "by hand"),
        # Not from the failure that is tried here, moderation: that was the provider's own word.
        (S.CLAIMED, S.UNKNOWN, S.REFUSED, S.ABANDONED),
        S.SUBMITTED,
    ),
    Event.NOT_ACCEPTED: Case(
        lambda ledger, task: ledger.set_not_accepted(task, "why", LATER, "by hand"), (S.UNKNOWN,), S.REFUSED
    ),
    Event.ABANDON: Case(
        lambda ledger, task: ledger.abandon(task, "why", "by hand"), (S.UNKNOWN, S.SUBMITTED, S.SUCCEEDED), S.ABANDONED
    ),
    Event.RELEASE: Case(lambda ledger, task: ledger.release(task, "by hand"), (S.FAILED, S.ABANDONED)),
    Event.WITHDRAW: Case(lambda ledger, task: ledger.withdraw(task, "by hand"), (S.FAILED, S.ABANDONED)),
    Event.RELOCATE: Case(lambda ledger, task: ledger.relocate(task, "elsewhere"), (S.SUCCEEDED,)),
    Event.DESCRIBE: Case(lambda ledger, task: ledger.describe(task, "ab" * 32), (S.STORED,)),
    # Not by an event of its own kind: a task that the ledger knows is never made again.
    Event.RESTORE: Case(lambda ledger, task: ledger.restore(task), ()),
    Event.FIND: Case(
        lambda ledger, task: ledger.find(task, dataclasses.replace(task, task_id=task.task_id or task.row, folder="f")),
        (S.CLAIMED, S.SUBMITTED, S.SUCCEEDED, S.REFUSED, S.FAILED, S.UNKNOWN, S.ABANDONED),
        S.STORED,
    ),
    Event.FORGET: Case(lambda ledger, task: ledger.forget(task, "by hand"), (S.STORED,), S.FORGOTTEN),
}
KEPT_APART = {S.REFUSED, S.ABANDONED, S.SUBMITTED, S.SUCCEEDED, S.STORED, S.FAILED, S.FORGOTTEN}
"""States in which a task cannot take an acceptance under another id, which is kept beside it."""


def test_every_event_and_every_state_are_tried():
    """All but the claim, which makes a task; the product's own table allows no more than this one, but for guards."""
    assert {*CASES, Event.CLAIM} == set(Event)
    assert set(REACH) == set(TaskState)
    for event, move in TRANSITIONS.items():
        if event is not Event.CLAIM:
            more = set(move.leaves) - set(CASES[event].leaves)
            assert move.to == CASES[event].to, event
            assert set(CASES[event].leaves) <= set(move.leaves), event
            guarded = {S.UNKNOWN} if move.guard else set[TaskState]()
            assert more <= guarded | ({S.FAILED} if move.kinds != tuple(FailureKind) else set()), event


@pytest.mark.parametrize("event", CASES)
def test_a_task_moves_only_along_its_way(ledger: Ledger, event: Event):
    """From each state: where an event cannot leave it nothing changes, and the answer is no success."""
    case = CASES[event]
    for state, reach in REACH.items():
        before = reach(ledger, make_row(f"from {state}"))
        # What a second process still believes must not matter, only what the ledger says.
        move = case.call(ledger, dataclasses.replace(before, state=next(iter(case.leaves), S.STORED)))
        after = ledger.tasks.refresh(before)
        if state in case.leaves:
            assert after.state is (case.to or state), state
            assert after != before or case.to is state or event is Event.WITHDRAW
        else:
            assert after == before, (event, state)
            if event is Event.ACCEPT:
                assert isinstance(move, KeptApart), state
            elif event is not Event.DISPUTE:
                assert move == MoveRefused(before, event)


def test_only_lost_and_expired_failures_are_adopted(ledger: Ledger):
    """What the provider says has failed is not revived by hand; what only seemed gone is."""
    for kind in FailureKind:
        task = moved(ledger.fail(submitted(ledger, make_row(kind)), Failed(kind, "why"), NOW))
        move = ledger.adopt(task, f"task-{kind}", NOW, "by hand")
        assert isinstance(move, Applied) is (kind in {FailureKind.LOST, FailureKind.EXPIRED})


@pytest.mark.parametrize("state", sorted(KEPT_APART))
def test_no_acceptance_is_dropped(ledger: Ledger, state: TaskState):
    """One that its task cannot take is a task of its own, which needs a person and counts as spent; never twice."""
    task = REACH[state](ledger, make_row())
    spent = ledger.spent(NAME, RUN, NOW).total_usd
    kept = ledger.accept(task, Accepted("second id"), NOW + 50, NOW + 55)
    for again in (kept, ledger.accept(task, Accepted("second id"), NOW + 50, NOW + 55)):
        assert isinstance(again, KeptApart)
        assert again.task == kept.task
        assert (kept.task.state, kept.task.task_id, kept.task.resolves_itself) == (S.UNKNOWN, "second id", False)
        assert kept.task.client_reference == task.client_reference
        assert kept.task.folder not in {"", task.folder}
        assert "paid for" in again.reason
    assert ledger.tasks.refresh(task) == task
    assert len(ledger.tasks.claims(task)) == 2
    assert ledger.spent(NAME, RUN, NOW).total_usd == pytest.approx(spent + 0.1121)
    assert kept.task in ledger.tasks.unresolved(NAME)
    assert not claim(ledger, make_row(), LATER)[1], "it is not paid for again while a person has to look"
    assert moved(ledger.adopt(kept.task, "second id", NOW + 60, "by hand")).state is S.SUBMITTED


def test_an_acceptance_is_kept_in_a_ledger_that_lost_its_claim(ledger: Ledger, engine: sa.Engine):
    """As after a copy of yesterday was put in its place: the id is the only proof of what was paid for."""
    task = claimed(ledger, make_row())
    with engine.begin() as connection:
        connection.execute(sa.delete(schema.tasks))
    for _ in range(2):
        kept = ledger.accept(task, Accepted("paid"), NOW + 3, NOW + 8)
        assert isinstance(kept, KeptApart)
        assert (kept.task.task_id, kept.task.state) == ("paid", S.UNKNOWN)
    (unknown,) = ledger.tasks.unresolved(NAME)
    assert "as task paid, but the ledger has no record of the submit. It was paid for" in (unknown.reason or "")


def test_one_id_that_two_submits_got_needs_a_person_for_both(ledger: Ledger):
    """Nobody knows whose clip it is."""
    first = submitted(ledger, make_row("a"))
    second = ledger.accept(claimed(ledger, make_row("b")), Accepted(first.task_id or ""), NOW, NOW)
    assert isinstance(second, KeptApart)
    assert {task.row for task in ledger.tasks.unresolved(NAME)} == {"a", "b"}
    for task in ledger.tasks.unresolved(NAME):
        assert "two submits, of row 'a' and of row 'b'" in (task.reason or "")
    # At another account the same id is another task.
    terms = ClaimTerms(RUN, NOW, LEASE, account="other")
    other, _ = ledger.claim(NAME, put_row(ledger, make_row("c")), terms)
    assert ledger.accept(other, Accepted(first.task_id or ""), NOW, NOW).task.state is S.SUBMITTED


@pytest.mark.parametrize("same", ["claim", "task_id", "attempt"])
def test_the_database_itself_takes_no_second_one(ledger: Ledger, engine: sa.Engine, same: str):
    """Of a claim, a task's id and an attempt: whoever looks first, and whatever a transaction cannot see."""
    one, other = submitted(ledger, make_row("one")), submitted(ledger, make_row("other"))
    alike = {"claim": one.claim, "task_id": one.task_id, "attempt": one.attempt}
    request = {"pipeline": one.pipeline, "row": one.row, "digest": one.digest}
    differs = {"claim": 7, "task_id": "t7", "attempt": 7} | {same: alike[same]}
    change = sa.update(schema.tasks).where(schema.tasks.c.id == other.id)
    with engine.begin() as connection:
        connection.execute(change.values(**request, claim=8, task_id="t8", attempt=8))
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(change.values(**request, **differs))


def test_who_knows_another_manifest_describes_nothing(ledger: Ledger):
    """Of two collectors that write a lost manifest again, one does, and the other sees which one counts."""
    task = REACH[TaskState.STORED](ledger, make_row())
    first = moved(ledger.describe(task, "a" * 64))
    assert ledger.describe(task, "b" * 64) == MoveRefused(first, Event.DESCRIBE)
    assert ledger.tasks.refresh(task).manifest_sha256 == "a" * 64


def test_one_more_attempt_is_allowed_in_place_of_the_newest_alone(ledger: Ledger):
    """Of an older one nothing changes: it is neither given up nor allows a payment."""
    row = make_row()
    old = moved(ledger.release(REACH[TaskState.FAILED](ledger, row), "by hand"))
    new = ledger.accept(claimed(ledger, row), Accepted("newer"), NOW, NOW).task
    late = moved(ledger.succeed(old, FINISHED, NOW + 9))
    assert isinstance(ledger.replace(late, "why", "by hand"), MoveRefused)
    assert ledger.tasks.refresh(late) == late
    assert moved(ledger.replace(new, "why", "by hand")).released


def test_the_id_of_another_task_is_not_adopted(ledger: Ledger):
    """Nothing changes; that the database takes no second one is for two that adopt at the same moment."""
    one, other = submitted(ledger, make_row("one")), REACH[TaskState.UNKNOWN](ledger, make_row("other"))
    assert ledger.adopt(other, one.task_id or "", NOW, "by hand") == MoveRefused(other, Event.ADOPT)


def test_an_error_of_the_database_quotes_nothing_that_was_written(ledger: Ledger):
    """Result URLs are permissions, and prompts are private."""
    put_row(ledger, make_row())
    entry = QueuedRow("kite", "digest", None, RUN, SECRET, NOW)  # pyright: ignore[reportArgumentType]
    with pytest.raises(IntegrityError) as caught:
        ledger.queue.add(NAME, [entry], NOW)
    told = "".join(traceback.format_exception(caught.value))
    assert "s3cr3t" not in told
    assert "null" in told.lower()


def test_the_same_acceptance_may_be_recorded_twice(ledger: Ledger):
    """The owner and a replay, or a try after a connection that broke at the commit: one task, one attempt."""
    task = claimed(ledger, make_row())
    first = ledger.accept(task, Accepted("t"), NOW, NOW)
    assert ledger.accept(task, Accepted("t"), NOW + 9, NOW + 9) == first
    assert len(ledger.tasks.claims(task)) == 1


def test_an_attempt_has_a_number_and_a_folder_of_its_own(ledger: Ledger):
    """Given with the acceptance, so that a refusal takes none."""
    row = make_row()
    first = moved(ledger.fail(submitted(ledger, row), ENDED, NOW))
    moved(ledger.release(first, "by hand"))
    moved(ledger.refuse(claimed(ledger, row), "slow down"))
    second = ledger.accept(claimed(ledger, row), Accepted("again"), NOW, NOW).task
    assert [(one.claim, one.attempt) for one in ledger.tasks.claims(second)] == [(1, 1), (2, None), (3, 2)]
    assert first.folder == str(clip_folder(NAME, row.id, row.digest, 1))
    assert second.folder == f"{first.folder}-a2"


def test_a_release_is_of_the_newest_claim_and_can_be_taken_back(ledger: Ledger):
    """What was allowed and then withdrawn is not paid for by the next submission."""
    row = make_row()
    first = moved(ledger.fail(submitted(ledger, row), ENDED, NOW))
    released = moved(ledger.release(first, "by hand"))
    withdrawn = moved(ledger.withdraw(released, "not after all"))
    assert not claim(ledger, row)[1]
    moved(ledger.release(withdrawn, "by hand"))
    assert claim(ledger, row)[1]
    assert isinstance(ledger.release(first, "by hand"), MoveRefused)


def test_a_stored_clip_wins_over_what_another_process_said(ledger: Ledger):
    """Bytes, manifest and event are there: an expiry or an abandonment that came between changes nothing."""
    for end in (Event.EXPIRE, Event.SUCCEED):
        task = succeeded(ledger, make_row(end))
        assert isinstance(CASES[end].call(ledger, task), Applied)
        stored = moved(ledger.store(task, NOW + 9, "ab" * 32))
        assert (stored.state, stored.kind, stored.reason) == (S.STORED, None, None)
        assert stored.manifest_sha256 == "ab" * 32


def test_adopting_takes_off_a_further_attempt_that_waits_and_keeps_one_that_is_under_way(ledger: Ledger):
    """Paid is paid: both are kept, and a row whose clip will come needs no other."""
    row = make_row()
    lost = moved(ledger.fail(submitted(ledger, row), Failed(FailureKind.LOST, "gone"), NOW))
    ledger.queue.add(NAME, [QueuedRow(row.id, row.digest, "runware", RUN, "its retry is due", NOW)], NOW)
    revived = moved(ledger.adopt(lost, lost.task_id or "", NOW, "by hand"))
    assert ledger.queue.find(NAME) == []
    assert (revived.state, revived.attempt, revived.folder) == (S.SUBMITTED, lost.attempt, lost.folder)
    lost = moved(ledger.fail(revived, Failed(FailureKind.LOST, "gone"), NOW))
    moved(ledger.release(lost, "by hand"))
    second = ledger.accept(claimed(ledger, row), Accepted("second"), NOW, NOW).task
    moved(ledger.adopt(lost, lost.task_id or "", NOW, "by hand"))
    assert {one.state for one in ledger.tasks.claims(second)} == {S.SUBMITTED}


# --- the order permit, claim, send, record


def test_a_claim_that_was_taken_for_dead_is_not_sent_again(ledger: Ledger):
    """The poller says unknown, a person says not accepted, another run claims: the first owner may not send."""
    row = make_row()
    task = claimed(ledger, row)
    renewed = moved(ledger.renew(task, NOW + 400))
    assert renewed.lease_until == NOW + 400
    assert isinstance(ledger.renew(task, NOW + 500), MoveRefused), "its lease is not the one that was given last"
    moved(ledger.mark_unknown(renewed, "no answer", None))
    assert isinstance(ledger.renew(renewed, NOW + 500), MoveRefused)
    moved(ledger.set_not_accepted(renewed, "not there", NOW + 500, "by hand"))
    assert claim(ledger, row)[1]
    assert isinstance(ledger.renew(renewed, NOW + 600), MoveRefused)


def test_a_claim_that_was_renewed_is_not_taken_for_dead_by_who_saw_its_earlier_lease(ledger: Ledger):
    """A poller that read the task just before its owner renewed it changes nothing."""
    seen = claimed(ledger, make_row())
    renewed = moved(ledger.renew(seen, NOW + 400))
    assert isinstance(ledger.mark_unknown(seen, "no answer", None), MoveRefused)
    assert ledger.tasks.due(NAME, NOW + 399, 10) == []
    assert moved(ledger.mark_unknown(renewed, "no answer", None)).state is S.UNKNOWN


def test_not_accepted_is_refused_while_a_replay_may_be_under_way(ledger: Ledger):
    """And of two replays one has the lease."""
    task = moved(ledger.mark_unknown(claimed(ledger, make_row()), "no answer", NOW + 5))
    assert isinstance(ledger.set_not_accepted(task, "why", LATER, "by hand"), MoveRefused), "it is still asked about"
    replayed = moved(ledger.renew(task, NOW + 100, now=NOW, replay=True))
    assert isinstance(ledger.renew(task, NOW + 100, now=NOW + 50, replay=True), MoveRefused)
    assert isinstance(ledger.set_not_accepted(replayed, "why", NOW + 50, "by hand"), MoveRefused)
    asked = moved(ledger.mark_unknown(replayed, "still no answer", None))
    assert moved(ledger.set_not_accepted(asked, "why", NOW + 51, "by hand")).state is S.REFUSED


def test_an_unknown_task_that_waits_for_a_person_is_not_taken_off_the_check(ledger: Ledger):
    """Neither by a poll that was under way nor by a second opinion of a poller."""
    task = REACH[S.UNKNOWN](ledger, make_row())
    assert isinstance(ledger.keep_polling(task, "eta 3 s", NOW + 8), MoveRefused)
    assert isinstance(ledger.mark_unknown(task, "why", NOW + 8), MoveRefused)
    assert ledger.tasks.unresolved(NAME) == [task]


@pytest.mark.parametrize("what", ["changed", "left"])
def test_a_row_that_changed_or_left_meanwhile_is_not_paid_for(ledger: Ledger, what: str):
    """The claim compares it with the table as it was last read; a renewal does so too."""
    row = put_row(ledger, make_row())
    task = claimed(ledger, row)
    ledger.rows.record(NAME, [make_row(prompt="corrected")] if what == "changed" else [], [], RUN, NOW)
    for pay in (
        lambda: ledger.renew(task, NOW + 400),
        lambda: ledger.claim(NAME, row, ClaimTerms(RUN, NOW, LEASE)),
    ):
        with pytest.raises(RowChanged, match=f"{what}.*while it waited.*nothing was spent"):
            pay()
    assert len(ledger.tasks.find(NAME)) == 1


@pytest.mark.parametrize(("scope", "name"), [("all", ""), ("pipeline", NAME), ("account", "runware/live")])
def test_a_pause_stops_claims_and_renewals_until_it_is_removed(ledger: Ledger, scope: Scope, name: str):
    """Of everything, of a pipeline or of an account; others go on."""
    put_row(ledger, make_row("first"))
    put_row(ledger, make_row("second"))
    terms = ClaimTerms(RUN, NOW, LEASE, account="runware/live")
    task, _ = ledger.claim(NAME, make_row("first"), terms)
    assert ledger.pauses.add(Pause(scope, name, "prices went up", NOW))
    assert not ledger.pauses.add(Pause(scope, name, "again", NOW))
    for pay in (
        lambda: ledger.renew(task, NOW + 400),
        lambda: ledger.claim(NAME, make_row("second"), terms),
    ):
        with pytest.raises(Paused, match=r"is paused \(prices went up\)\. Nothing was sent"):
            pay()
    if scope != "all":
        other = ClaimTerms(RUN, NOW, LEASE, account="runware/studio")
        assert ledger.claim("other", put_row(ledger, make_row(), "other"), other)[1]
    assert moved(ledger.keep_polling(ledger.accept(task, Accepted("t"), NOW, NOW).task, "", NOW)).task_id == "t"
    assert ledger.pauses.remove(scope, name)
    assert ledger.claim(NAME, make_row("second"), terms)[1]


def test_a_late_poll_gives_no_task_a_time_that_waits_for_a_person(ledger: Ledger):
    """Nor one that has ended since it was asked about."""
    for state in (TaskState.UNKNOWN, TaskState.STORED):
        task = REACH[state](ledger, make_row(f"is {state}"))
        ledger.polling.keep([Heard(task.id, "processing", NOW + 5)])
        assert ledger.tasks.refresh(task) == task


def test_withdrawing_takes_back_a_take_that_was_asked_for(ledger: Ledger):
    """The next submission finds the row as it was before."""
    row = put_row(ledger, make_row())
    ledger.rows.raise_take(NAME, row.id)
    assert ledger.rows.withdraw(NAME, row.id, NOW) == row
    assert ledger.rows.find(NAME)[row.id] == row
    assert ledger.rows.takes(NAME) == {row.id: 1}


def test_a_new_row_that_was_withdrawn_is_not_asked_for_again_by_itself(ledger: Ledger):
    """Until it changes, or a person asks for it."""
    row = put_row(ledger, make_row())
    assert ledger.rows.unsubmitted(NAME, 9) == [row.id]
    ledger.rows.withdraw(NAME, row.id, NOW)
    ledger.rows.withdraw(NAME, row.id, NOW)
    assert ledger.rows.unsubmitted(NAME, 9) == []
    put_row(ledger, make_row(prompt="corrected"))
    assert ledger.rows.unsubmitted(NAME, 9) == [row.id]


# --- money and history


def test_totals_are_kept_by_pipeline_account_run_and_day(ledger: Ledger):
    """Reserved, corrected by the provider's figure, given back by a refusal; a late acceptance counts again."""
    day = 86_400.0
    rows = [put_row(ledger, make_row(f"r{n}")) for n in range(4)]
    at = [NOW, NOW, NOW, NOW + day]
    tasks = [
        ledger.claim(NAME, row, ClaimTerms(f"run {n % 2}", at[n], LEASE, 1.0, account="runware/live"))[0]
        for n, row in enumerate(rows)
    ]
    assert ledger.spent(NAME, "run 0", NOW) == Spent(2.0, 3.0, 4.0)
    moved(ledger.refuse(tasks[0], "busy"))
    done = Succeeded((URL,), cost_usd=0.25)
    moved(ledger.succeed(ledger.accept(tasks[1], Accepted("t"), NOW, NOW).task, done, NOW))
    assert ledger.spent(NAME, "run 0", NOW) == Spent(1.0, 1.25, 2.25)
    assert ledger.spent(NAME, "run 1", NOW + day) == Spent(1.25, 1.0, 2.25)
    assert ledger.spent_at("runware/live", NOW) == Spent(0.0, 1.25, 2.25)
    assert ledger.spent_at("runware/studio", NOW) == Spent()
    moved(ledger.adopt(tasks[0], "t0", NOW, "by hand"))
    assert ledger.spent(NAME, "run 0", NOW).total_usd == 3.25


def test_an_account_has_a_budget_over_all_pipelines(ledger: Ledger):
    """And a claim that does not fit claims nothing."""
    limit = Budget(per_day_usd=1.5)
    terms = ClaimTerms(RUN, NOW, LEASE, 1.0, account_budget=limit, account="runware/live")
    assert ledger.claim("one", put_row(ledger, make_row(), "one"), terms)[1]
    with pytest.raises(OverBudget, match=r"0\.500 USD are left of the budget of account runware/live"):
        ledger.claim("two", put_row(ledger, make_row(), "two"), terms)
    tomorrow = dataclasses.replace(terms, now=NOW + 86_400)
    assert ledger.claim("two", make_row(), tomorrow)[1]


def test_the_history_has_every_event_once_and_no_gap(ledger: Ledger):
    """Positions count from 1, also when many write at once and some fail."""
    rows = make_rows(6)
    ledger.rows.record(NAME, rows, [], RUN, NOW)

    def live(row: Row) -> None:
        task, mine = claim(ledger, row)
        if mine:
            moved(ledger.keep_polling(ledger.accept(task, Accepted(row.id), NOW, NOW).task, "", NOW))
            ledger.refuse(task, "too late")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(live, rows * 3))
    entries = ledger.history.after(0, 100)
    assert [entry.position for entry in entries] == list(range(1, 13))
    assert ledger.history.after(10, 100) == entries[10:]
    for row in rows:
        assert [(entry.event, entry.state) for entry in ledger.history.of_row(NAME, row.id)] == [
            ("claim", "claimed"),
            ("accept", "submitted"),
        ]


def test_a_refusal_is_kept_in_the_rows_history(ledger: Ledger):
    """It is no attempt, but it happened."""
    moved(ledger.refuse(claimed(ledger, make_row()), "slow down"))
    assert [entry.detail for entry in ledger.history.of_row(NAME, "kite")] == ["", "slow down"]


def test_the_body_of_a_submit_is_kept_until_its_outcome_is_known(ledger: Ledger):
    """For a replay; no task that is read has it."""
    bodies = dict[str, str | None]()
    for state in ("accepted", "refused", "unknown", "abandoned"):
        terms = ClaimTerms(RUN, NOW, LEASE, body=lambda reference: f"sent under {reference}")
        task, _ = ledger.claim(NAME, put_row(ledger, make_row(state)), terms)
        assert ledger.tasks.body(task) == f"sent under {task.client_reference}"
        match state:
            case "accepted":
                ledger.accept(task, Accepted(state), NOW, NOW)
            case "refused":
                ledger.refuse(task, "why")
            case _:
                ledger.mark_unknown(task, "why", NOW)
        if state == "abandoned":
            ledger.abandon(task, "why", "by hand")
        bodies[state] = ledger.tasks.body(task)
    assert bodies == {"accepted": None, "refused": None, "abandoned": None, "unknown": bodies["unknown"]}
    assert bodies["unknown"] is not None


# --- late answers


def test_a_late_answer_wins_over_unknown(ledger: Ledger):
    """An acceptance that arrives after the outcome was called unknown is the truth."""
    task = REACH[TaskState.UNKNOWN](ledger, make_row())
    late = ledger.accept(task, Accepted("task-1"), NOW + 100, NOW + 105).task
    assert (late.state, late.task_id, late.reason) == (TaskState.SUBMITTED, "task-1", None)


def test_a_late_refusal_does_not_win_over_unknown(ledger: Ledger):
    """A submit of unknown outcome may have been replayed meanwhile, so a refusal of the first sending frees nothing."""
    task = claimed(ledger, make_row())
    ledger.mark_unknown(task, "no answer", None)
    assert latest(ledger.refuse(task, "busy")).state is TaskState.UNKNOWN
    assert not claim(ledger, make_row())[1]


def test_of_racing_moves_one_wins_and_all_see_the_same_task(ledger: Ledger):
    """A success and a failure at the same moment: a clip that is there wins, whoever was first."""
    task, together = submitted(ledger, make_row()), Barrier(8)

    def move(number: int) -> None:
        together.wait()
        _ = ledger.succeed(task, FINISHED, NOW + 20) if number % 2 else ledger.fail(task, ENDED, NOW + 20)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(move, range(8)))
    found = ledger.tasks.refresh(task)
    assert (found.state, found.kind, found.urls) == (TaskState.SUCCEEDED, None, FINISHED.urls)


def test_text_of_a_provider_that_a_database_cannot_hold_is_kept_as_far_as_it_can(ledger: Ledger):
    """A NUL or half a surrogate pair in a provider's message never keeps an outcome out of the ledger."""
    nasty = "no\x00thing \ud800 here"
    refused = moved(ledger.refuse(claimed(ledger, make_row("a")), nasty))
    failed = moved(ledger.fail(submitted(ledger, make_row("b")), Failed(FailureKind.PROVIDER_ERROR, nasty), NOW))
    running = moved(ledger.keep_polling(submitted(ledger, make_row("c")), nasty, NOW))
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
    unknown = moved(ledger.mark_unknown(claimed(ledger, make_row("asked again")), "no answer", NOW + 3))
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
    ledger.collecting.lease(tasks[:2], NOW + 900)
    assert [task.row for task in ledger.tasks.ready(NAME, NOW + 899, 10)] == ["r2"]
    assert len(ledger.tasks.ready(NAME, NOW + 900, 10)) == 3


def test_renewed_result_urls_do_not_take_a_task_out_of_the_queue(ledger: Ledger):
    """A collect run that renews an expired link and then dies leaves a task that is offered again."""
    task = succeeded(ledger, make_row())
    ledger.collecting.lease([task], NOW + 900)
    renewed = moved(ledger.succeed(task, Succeeded(("https://results.example.org/new.mp4",)), NOW + 50))
    assert renewed.urls == ("https://results.example.org/new.mp4",)
    assert ledger.tasks.ready(NAME, NOW + 899, 10) == []
    assert [one.id for one in ledger.tasks.ready(NAME, NOW + 900, 10)] == [task.id]


def test_a_failed_collect_is_offered_again_at_its_time(ledger: Ledger):
    """A collect that failed waits its turn and counts."""
    task = moved(ledger.retry_collect(succeeded(ledger, make_row()), "not stored yet: cut off", NOW + 60))
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
    first = moved(ledger.store(succeeded(ledger, make_row("a")), NOW + 20))
    second = moved(ledger.store(succeeded(ledger, make_row("a", take=2)), NOW + 30))
    submitted(ledger, make_row("a", take=3))
    succeeded(ledger, make_row("b"))
    assert ledger.tasks.newest_stored(NAME, ["a", "b"]) == {"a": second}
    assert {task.id for task in ledger.tasks.find(NAME, [TaskState.STORED])} == {first.id, second.id}


def test_find_narrows_by_pipeline_state_and_row_and_counts_agree(ledger: Ledger):
    """Each filter leaves what it says, the oldest claim first."""
    for number, state in enumerate(REACH):
        REACH[state](ledger, make_row(state))
        ledger.claim("posters", put_row(ledger, make_row(state), "posters"), ClaimTerms(RUN, NOW - number, LEASE))
    assert {task.state for task in ledger.tasks.find(NAME, UNDER_WAY)} == set(UNDER_WAY)
    assert [task.row for task in ledger.tasks.find(NAME, keys=["stored"])] == ["stored"]
    assert [task.claimed_at for task in ledger.tasks.find("posters")] == [NOW - n for n in reversed(range(len(REACH)))]
    assert ledger.tasks.counts(NAME) == dict.fromkeys(REACH, 1)
    assert ledger.tasks.counts(NAME, states=UNDER_WAY) == dict.fromkeys(UNDER_WAY, 1)
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


def kept_snapshots(engine: sa.Engine) -> list[tuple[str, int]]:
    """Of every kept snapshot, oldest first: its run, and how much its problems take."""
    query = sa.select(schema.snapshots.c.run_id, schema.snapshots.c.problems).where(schema.snapshots.c.pipeline == NAME)
    with engine.connect() as connection:
        return [
            (one.run_id, len(one.problems)) for one in connection.execute(query.order_by(schema.snapshots.c.created_at))
        ]


def test_the_last_twenty_snapshots_stay_with_their_problems_once_per_change(ledger: Ledger, engine: sa.Engine):
    """A table with a thousand bad rows that is read every five minutes takes no more room than one reading and some."""
    bad = [Problem(line, f"r{line}", "prompt", "is empty " + "x" * 500) for line in range(1000)]
    ledger.rows.record("posters", [], bad[:1], "other", NOW)
    for number in range(50):
        ledger.rows.record(NAME, [], bad, f"run-{number}", NOW + number)
        assert ledger.rows.problems(NAME) == bad
    kept = kept_snapshots(engine)
    assert [run for run, _ in kept] == [f"run-{number}" for number in range(30, 50)]
    one = kept[-1][1]
    assert sum(size for _, size in kept) < one + 100
    for number in range(50, 60):
        ledger.rows.record(NAME, [], bad[number % 2 :], f"run-{number}", NOW + number)
    sizes = [size for _, size in kept_snapshots(engine)]
    assert sizes[:10] == [0] * 10
    assert min(sizes[-10:]) > 0.9 * one, "what changed is kept each time"
    assert ledger.rows.problems("posters") == bad[:1]


def test_the_newest_snapshot_is_the_last_that_was_recorded(ledger: Ledger, engine: sa.Engine):
    """Whatever the clocks of the machines say that read the table."""
    for number, now in enumerate((NOW + 10_800, NOW, NOW, NOW + 1)):
        problems = [Problem(1, f"r{number}", "", "is empty")]
        ledger.rows.record(NAME, [], problems, f"run-{number}", now)
        assert ledger.rows.problems(NAME) == problems
    assert [run for run, _ in kept_snapshots(engine)] == [f"run-{number}" for number in range(4)]


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
    task = moved(ledger.keep_polling(task, "eta 3 s", NOW + 7.5))
    task = moved(
        ledger.succeed(task, Succeeded(("https://a/1", "https://a/2"), 0.25, (7, None), "2 of 3"), NOW + 9.125)
    )
    task = moved(ledger.retry_collect(task, "cut off", NOW + 60))
    found = ledger.tasks.refresh(task)
    assert found == dataclasses.replace(task, next_poll_at=None)
    expected = {
        "pipeline": NAME,
        "row": row.id,
        "digest": row.digest,
        "digest_version": 1,
        "address_digest": row.address_digest,
        "claim": 1,
        "attempt": 1,
        "folder": f"{clip_folder(NAME, row.id, row.digest, 3)}",
        "world": "live",
        "lease_until": None,
        "key": "",
        "found_at": None,
        "paid_by": None,
        "unread_since": None,
        "stalled_at": None,
        "failed_position": None,
        "manifest_sha256": None,
        "take": 3,
        "request": row.request,
        "images": row.images,
        "labels": {"campaign": '"; DROP TABLE', "language": "日本"},
        "differences": (),
        "state": TaskState.SUCCEEDED,
        "run_id": RUN,
        "claimed_at": NOW,
        "account": "",
        "released": False,
        "decision": None,
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
    tasks = [moved(ledger.succeed(task, Succeeded((f"{URL}&again=1", URL)), NOW + 10)) for task in tasks]
    assert SECRET.encode() in everything_in(engine)
    for task in tasks:
        over = moved(ledger.store(task, NOW + 20) if ends == "stored" else ledger.expire(task, ENDED, NOW + 20))
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


def test_what_is_committed_to_a_file_is_on_the_disk(tmp_path: Path):
    """On every connection: a power cut takes no claim back, and what is deleted leaves no bytes."""
    engine = open_engine(sqlite_url(tmp_path / "ledger.db"))
    with engine.connect() as one, engine.connect().execution_options(read_only=True) as other:
        for connection in (one, other):
            names = ("synchronous", "journal_mode", "secure_delete", "busy_timeout")
            found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names}
            assert found == {"synchronous": 2, "journal_mode": "wal", "secure_delete": 1, "busy_timeout": 60_000}
    engine.dispose()


def test_opening_a_ledger_twice_is_harmless(ledger: Ledger, database_url: str):
    """A second opening finds the same ledger, with its identity and its tasks."""
    task = claimed(ledger, make_row())
    again = open_engine(database_url)
    second = Ledger(again)
    assert (second.id, second.tasks.find(NAME)) == (ledger.id, [task])
    again.dispose()


def ledger_id(url: str) -> str:
    return open_ledger(url).id


def test_four_processes_may_open_a_new_ledger_at_once(empty_url: str):
    """The first opening makes the ledger, whoever is first; the others find it made."""
    ids = call_together(ledger_id, [empty_url] * 4)
    assert len(set(ids)) == 1
    engine = open_engine(empty_url)
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


@pytest.mark.parametrize("revision", sorted(schema.UNRELEASED))
def test_a_ledger_from_before_the_first_release_is_refused_and_left_alone(
    ledger: Ledger, engine: sa.Engine, database_url: str, revision: str
):
    """Nothing is read from it by halves, and nothing is paid for against it."""
    task = claimed(ledger, make_row())
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '{revision}'"))  # noqa: S608 - ours
    with pytest.raises(PixverseError, match="before the first release, which is not read: nothing was changed") as told:
        open_engine(database_url)
    assert "point PIXVERSE_LEDGER_URL or the ledger resource at another database" in str(told.value)
    assert ledger.tasks.refresh(task) == task


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


# --- which ledger it is


def test_a_ledger_goes_on_as_one_that_was_lost(ledger: Ledger, engine: sa.Engine):
    """With its id and at its epoch, and with the salt that it had; its own id counts as lost from then on."""
    own = ledger.id
    assert (ledger.salt, ledger.ledgers.epoch, ledger.ledgers.acknowledged) == (own, 0, {})
    assert [ledger.ledgers.raise_epoch() for _ in range(2)] == [1, 2]
    for _ in range(2):
        ledger.take_over("lost-one", 7, NAME, [NAME, "posters"])
        for one in (ledger, Ledger(engine)):
            assert (one.id, one.salt, one.ledgers.epoch, one.ledgers.unread) == ("lost-one", own, 7, {"posters"})
            assert one.ledgers.acknowledged == {"lost-one": "lost", own: "lost"}
    ledger.take_over("lost-one", 7, "posters", [NAME, "posters"])
    assert (ledger.ledgers.epoch, ledger.ledgers.unread) == (7, frozenset())
    ledger.take_over("lost-one", 8, NAME, ["posters"])
    assert ledger.ledgers.unread == {"posters"}
    ledger.take_over("lost-one", 8, "posters", [NAME])
    assert (ledger.ledgers.epoch, ledger.ledgers.unread) == (8, frozenset())
    ledger.take_over("older", 3, NAME)
    assert (ledger.ledgers.epoch, ledger.salt) == (8, own)
    ledger.ledgers.acknowledge("neighbour", "beside")
    assert ledger.ledgers.acknowledged["neighbour"] == "beside"


def test_a_reference_is_that_of_the_ledger_that_was_lost(ledger: Ledger):
    """So that the provider refuses, unpaid, to take a submit again that the lost one sent."""
    row = make_row()
    ledger.take_over("lost-one", 1, NAME)
    task = claimed(ledger, row)
    assert task.client_reference == client_reference("lost-one", NAME, row.id, row.digest, 1)


def test_takes_are_asked_for_at_least(ledger: Ledger):
    """Of rows in the table and of others; a higher take stays, and the row's request is that of its take."""
    kite, dog = put_row(ledger, make_row("kite")), put_row(ledger, make_row("dog", take=5))
    for _ in range(2):
        ledger.rows.ask_takes(NAME, {"kite": 3, "dog": 2, "gone": 4, "first": 1})
        assert ledger.rows.takes(NAME) == {"kite": 3, "dog": 2, "gone": 4}
        assert ledger.rows.find(NAME) == {"kite": retake(kite, 3), "dog": dog}
    ledger.rows.ask_takes(NAME, {"kite": 2})
    assert ledger.rows.takes(NAME)["kite"] == 3


def test_a_claim_has_a_number_that_no_other_has(ledger: Ledger):
    """Also where the first ones are not known: a refused one with the number 2 was taken in from elsewhere."""
    row = put_row(ledger, make_row())
    known = make_task(claim=2, state=TaskState.REFUSED, digest=row.digest, attempt=None, client_reference="r2")
    assert isinstance(ledger.restore(known), Applied)
    task, mine = claim(ledger, row)
    assert (task.claim, mine) == (3, True)


# --- accounts and worlds


def test_keys_that_are_of_one_account_stay_so(ledger: Ledger):
    """Each key is its own until two are joined; what is joined with one of them is joined with all. Repeatable."""
    accounts, account = ledger.accounts, "runware/live"
    for at, key in enumerate(("a", "b", "c", "d")):
        accounts.see_key(account, key, NOW + at)
        accounts.see_key(account, key, NOW + 100)
    assert accounts.identities(account) == {"a": "a", "b": "b", "c": "c", "d": "d"}
    for _ in range(2):
        accounts.confirm(account, "d", ["c"], NOW + 10)
        accounts.confirm(account, "b", ["a"], NOW + 11)
    assert accounts.identities(account) == {"a": "a", "b": "a", "c": "c", "d": "c"}
    accounts.confirm(account, "d", ["b"], NOW + 12)
    assert set(accounts.identities(account).values()) == {"a"}
    accounts.confirm(account, "new", ["a"], NOW + 13)
    found = {key.fingerprint: (key.first_seen_at, key.confirmed_at) for key in accounts.find_keys(account)}
    assert found["a"] == (NOW, NOW + 11)
    assert found["new"] == (NOW + 13, NOW + 13)
    assert accounts.identities("runware/studio") == {}


def test_a_task_whose_key_was_not_known_has_the_one_that_a_person_or_an_answer_names(ledger: Ledger):
    """Only of that account; a key that is known stays."""
    live = [put_row(ledger, make_row(f"r{n}")) for n in range(3)]
    terms = ClaimTerms(RUN, NOW, LEASE, account="runware/live")
    unkeyed = [ledger.claim(NAME, row, terms)[0].id for row in live[:2]]
    keyed = ledger.claim(NAME, live[2], dataclasses.replace(terms, key="a"))[0]
    ledger.accounts.confirm("runware/studio", "z", [""], NOW, unkeyed=unkeyed)
    assert sorted(ledger.accounts.unkeyed("runware/live")) == sorted(unkeyed)
    ledger.accounts.confirm("runware/live", "b", [""], NOW, unkeyed=[*unkeyed[:1], keyed.id])
    assert {task.row: task.key for task in ledger.tasks.find(NAME)} == {"r0": "b", "r1": "", "r2": "a"}
    holder = Holder("runware/live", "live", "a")
    assert ledger.accounts.open_by_key() == {holder._replace(key=key): 1 for key in ("", "a", "b")}
    moved(ledger.keep_polling(keyed, "aside", NOW + 1000))
    assert ledger.tasks.holders(NAME, "aside")["runware", holder] == ([keyed.id], [keyed.id])
    ledger.polling.soon([keyed.id], "another note", NOW)
    assert ledger.tasks.refresh(keyed).next_poll_at == NOW + 1000
    ledger.polling.soon([keyed.id], "aside", NOW)
    assert (ledger.tasks.refresh(keyed).next_poll_at, ledger.tasks.refresh(keyed).note) == (NOW, "")


def test_what_was_made_in_one_world_counts_in_no_question_of_the_other(ledger: Ledger):
    """Claims, answers, the queue, what was never sent, what needs a person; numbers and folders go on over both."""
    row = put_row(ledger, make_row())
    live = ClaimTerms(RUN, NOW, LEASE, 1.0, account="runware/live")
    simulated = dataclasses.replace(live, account="runware/simulator", world="simulator")
    ledger.worlds.set(NAME, {"runware": "simulator"})
    first, mine = ledger.claim(NAME, row, simulated)
    assert mine
    moved(ledger.succeed(ledger.accept(first, Accepted("t"), NOW, NOW).task, FINISHED, NOW))
    assert [task.id for task in ledger.tasks.ready(NAME, NOW, 9)] == [first.id]
    moved(ledger.store(first, NOW))
    assert ledger.tasks.newest_stored(NAME, [row.id])[row.id].id == ledger.tasks.current(NAME)[row.id].id == first.id
    ledger.worlds.set(NAME, {"runware": "live"})
    assert ledger.worlds.find(NAME) == {"runware": "live"}
    assert ledger.tasks.current(NAME) == ledger.tasks.newest_stored(NAME, [row.id]) == {}
    assert ledger.tasks.counts(NAME) == {}
    assert ledger.rows.unsubmitted(NAME, 9) == [row.id]
    ledger.queue.add(NAME, [QueuedRow(row.id, row.digest, "runware", RUN, "asked for", NOW)], NOW)
    assert [entry.row for entry in ledger.queue.due(NAME, NOW)] == [row.id]
    second, mine = ledger.claim(NAME, row, live)
    assert (mine, second.claim) == (True, 2)
    assert ledger.claim(NAME, row, live) == (second, False)
    assert ledger.claim(NAME, row, simulated)[1] is False
    second = ledger.accept(second, Accepted("t"), NOW, NOW).task
    assert (second.attempt, second.folder) == (2, f"{first.folder or ledger.tasks.refresh(first).folder}-a2")
    assert [task.id for task in ledger.tasks.claims(second)] == [second.id]
    assert [ledger.spent(NAME, RUN, NOW, world).total_usd for world in ("live", "simulator")] == [1.0, 0.11]
    ended = moved(ledger.fail(second, ENDED, NOW))
    assert ledger.claim(NAME, row, simulated) == (ledger.tasks.refresh(first), False)
    assert moved(ledger.release(ended, "by hand")).released, "a simulator's claim is no newer one"
    ledger.worlds.set(NAME, {"runware": "simulator"})
    assert ledger.tasks.current(NAME)[row.id].id == first.id
    assert ledger.tasks.current(NAME, worlds={"runware": "live"})[row.id].id == second.id
