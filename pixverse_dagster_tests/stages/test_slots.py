"""Slots, retries, takes and stops: who may submit when, over every process, and what a person can decide."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.outcomes import Failed
from pixverse_dagster.core.row import changed_columns
from pixverse_dagster.ledger.accounts import occupies_slot
from pixverse_dagster.ledger.ledger import Ledger, open_ledger
from pixverse_dagster.policy.plan import Verdict
from pixverse_dagster.policy.retry import RetryPolicy
from pixverse_dagster.stages.plan import plan_rows
from pixverse_dagster.stages.poll import poll_due
from pixverse_dagster.stages.queue import find_room
from pixverse_dagster.stages.retries import queue_retries
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.transport.sender import Limits
from pixverse_dagster_tests.harness.factories import (
    HIGHWAY,
    NAME,
    QUICK,
    Clock,
    Setup,
    deliver,
    make_row,
    make_rows,
    make_session,
    poll_until,
    record_rows,
    submit_all,
    succeeded_tasks,
)
from pixverse_dagster_tests.harness.forked import call_together
from pixverse_dagster_tests.harness.servers import Simulator, StartSimulator

ONE_BY_ONE = Limits(max_concurrency=1)


@contextmanager
def session_of(
    ledger: Ledger,
    server: Simulator,
    clock: Clock | None = None,
    stopped: Callable[[], bool] = bool,
    **setup: object,
) -> Generator[Session]:
    """A session with a setup of its own."""
    with make_session(ledger, server.url, Setup(**setup), clock or Clock(), stopped) as session:  # pyright: ignore[reportArgumentType]
        yield session


def rows_waiting(ledger: Ledger) -> list[str]:
    return [entry.row for entry in ledger.queue.find(NAME)]


def rejected(server: Simulator) -> int:
    """How many submits the simulator answered with HTTP 429."""
    return sum(statuses.get("429", 0) for calls in server.requests().values() for statuses in calls.values())


# --- slots


def test_no_more_tasks_are_open_than_there_are_slots_and_the_rest_waits_in_order(
    ledger: Ledger, simulator: StartSimulator
):
    """Rows beyond the slots are no failure: they wait, and are submitted as tasks finish, each once."""
    server, rows = simulator(generation_seconds=0.3), make_rows(10)
    with session_of(ledger, server, limits=ONE_BY_ONE, max_open_tasks=4) as session:
        first = submit_all(session, rows)
        assert [key for key, one in first.items() if one.sent] == [f"r{n:03}" for n in range(4)]
        assert not any(one.problem for one in first.values())
        assert "4 of 4 slots at runware are taken" in first["r009"].waits
        assert rows_waiting(ledger) == [f"r{n:03}" for n in range(4, 10)]
        assert {line.note for line in plan_rows(session, rows[4:]).lines} == {first["r009"].waits}
        assert list(find_room(session).values()) == [4, 0, 4]
        most = 0
        while waiting := rows_waiting(ledger):
            list(submit_rows(session, waiting))
            most = max(
                most, sum(ledger.accounts.open_tasks([session.clients["runware"].account], session.clock()).values())
            )
            poll_due(session, 5)
        poll_until(session, lambda tasks: all(task.state is TaskState.SUCCEEDED for task in tasks))
    assert most == 4
    assert len(server.tasks()) == 10
    assert server.tasks()[0]["client_reference"] != server.tasks()[1]["client_reference"]


@dataclass(frozen=True)
class Rush:
    """A process that submits every row."""

    database: str
    url: str


def rush(job: Rush) -> int:
    with make_session(open_ledger(job.database), job.url, Setup(max_open_tasks=7)) as session:
        return sum(one.sent for one in submit_rows(session, [f"r{n:03}" for n in range(20)]))


def test_slots_are_of_the_account_not_of_the_process(ledger: Ledger, ledger_url: str, simulator: StartSimulator):
    """Four processes at once have seven slots together."""
    server = simulator(generation_seconds=60)
    record_rows(ledger, make_rows(20))
    assert sum(call_together(rush, [Rush(ledger_url, server.url)] * 4)) == 7
    assert len(server.tasks()) == 7
    assert len(rows_waiting(ledger)) == 13


def test_a_direct_delivery_goes_on_as_slots_become_free(ledger: Ledger, simulator: StartSimulator, tmp_path: Path):
    """Materialising clips in person stores every row, however few slots there are."""
    server, rows = simulator(generation_seconds=0.1), make_rows(6)
    with session_of(ledger, server, max_open_tasks=2) as session:
        stored, problems = deliver(session, LocalStore(tmp_path / "clips"), record_rows(ledger, rows), 60)
    assert problems == []
    assert sorted(one.task.row for one in stored) == [row.id for row in rows]
    assert len(server.tasks()) == 6
    assert rows_waiting(ledger) == []


def test_what_waits_past_the_deadline_of_a_delivery_keeps_its_place(
    ledger: Ledger, simulator: StartSimulator, tmp_path: Path
):
    """It is named, nothing was sent for it, and the sensor goes on with it."""
    server = simulator(generation_seconds=60)
    with session_of(ledger, server, limits=ONE_BY_ONE, max_open_tasks=1) as session:
        stored, problems = deliver(session, LocalStore(tmp_path / "clips"), record_rows(ledger, make_rows(2)), 0.3)
    assert not stored
    assert len(problems) == 2
    assert "Nothing was sent; it keeps its place" in problems[1]
    assert rows_waiting(ledger) == ["r001"]


def test_an_unknown_outcome_holds_its_slot_for_a_while(ledger: Ledger, simulator: StartSimulator):
    """It may be under way; after ten minutes it certainly no longer is."""
    server, clock = simulator(faults={"submit.lost_response": 1.0}), Clock()
    with session_of(ledger, server, clock, max_open_tasks=1) as session:
        submit_all(session, [make_row("a", HIGHWAY)])
        assert find_room(session)["highway"] == 0
        clock.ahead_seconds = 601
        assert find_room(session)["highway"] == 1


def test_slots_that_a_removed_pipeline_holds_are_named_and_come_free(ledger: Ledger, simulator: StartSimulator):
    """Nobody asks about its tasks: who waits is told of them, and after two days they hold nothing."""
    server, clock = simulator(generation_seconds=6000), Clock()
    with session_of(ledger, server, clock, max_open_tasks=1) as session:
        old = replace(session, pipeline=replace(session.pipeline, name="old"))
        ledger.rows.record("old", [make_row("gone")], [], "run", clock())
        assert [one.sent for one in submit_rows(old, ["gone"])] == [True]
        (task,) = ledger.tasks.find("old")
        assert "'old'" not in submit_all(session, [make_row("a")])["a"].waits, "somebody may still ask about it"
        for hours, occupied in ((3, True), (49, False)):
            clock.ahead_seconds = hours * 3600
            held = ledger.accounts.neglected(NAME, clock())
            assert [(one.pipeline, one.account, one.count) for one in held] == [("old", task.account, 1)] * occupied
            assert not ledger.accounts.neglected("old", clock()), "its own check does not warn of itself"
            assert occupies_slot(task, clock()) is occupied
            assert sum(ledger.accounts.open_tasks([task.account], clock()).values()) == occupied
            if occupied:
                waits = submit_all(session, [make_row("a")])["a"].waits
                assert "1 of 1 slots at runware are taken: 1 at runware/simulator by tasks of pipeline 'old'" in waits
                assert "`tasks list --all` names them" in waits
        assert [one.sent for one in submit_rows(session, ["a"])] == [True]


def test_who_changes_a_waiting_row_is_not_taken_at_the_word_of_before(ledger: Ledger, simulator: StartSimulator):
    """Nobody asked to pay for the new request: it waits no longer."""
    server = simulator(generation_seconds=60)
    with session_of(ledger, server, limits=ONE_BY_ONE, max_open_tasks=1) as session:
        submit_all(session, make_rows(3))
        assert rows_waiting(ledger) == ["r001", "r002"]
        record_rows(ledger, [*make_rows(2), make_row("r002", prompt="something else")])
        assert rows_waiting(ledger) == ["r001"]


def test_an_account_that_asks_to_slow_down_is_left_alone_by_every_process(ledger: Ledger, simulator: StartSimulator):
    """After a 429 that patience did not cure, its rows wait; the rest doubles, and ends with success."""
    server, clock = simulator(faults={"submit.rate_limited": 1.0}), Clock()
    limits = Limits(max_attempts=1, max_concurrency=1, backoff_seconds=0)
    with session_of(
        ledger, server, clock, limits=limits, pace=QUICK.model_copy(update={"hold_seconds": 60})
    ) as session:
        submitted = submit_all(session, make_rows(5))
        assert all("asked to slow down: left alone for" in one.waits for one in submitted.values())
        assert rejected(server) == 1
        assert len(rows_waiting(ledger)) == 5
        name = session.clients["runware"].account
        assert find_room(session)["runware"] == 0
        clock.ahead_seconds = 100
        assert find_room(session)["runware"] == 1, "one goes ahead"
        list(submit_rows(session, ["r000", "r001"]))
        assert rejected(server) == 2
        hold = ledger.accounts.held(name, time.time())
        assert hold.refusals == 2
        assert hold.until > clock() + 100
    calm = simulator(generation_seconds=60)
    clock.ahead_seconds = 400
    with session_of(ledger, calm, clock) as session:
        assert all(one.sent for one in submit_rows(session, rows_waiting(ledger)))
    assert ledger.accounts.held(name, time.time()).refusals == 0
    assert len(calm.tasks()) == 5


# --- retries and takes


def test_a_retry_policy_pays_again_as_often_as_it_says_and_no_more(ledger: Ledger, simulator: StartSimulator):
    """Every attempt is recorded with its price. What failed without a policy, or before it, is never paid for again."""
    server, rows = simulator(generation_seconds=0, faults={"task.failed": 1.0}), [make_row("old"), make_row("kite")]
    record_rows(ledger, rows)
    with session_of(ledger, server) as session:
        list(submit_rows(session, ["old"]))
        poll_until(session, lambda tasks: tasks[-1].state is TaskState.FAILED)
        (again,) = submit_rows(session, ["old"])
        assert "tasks retry old" in again.problem
        assert len(server.tasks()) == 1
    with session_of(ledger, server, retry=RetryPolicy(provider_error=2)) as session:
        for turn in range(4):
            list(submit_rows(session, ["old", "kite"]))
            poll_until(session, lambda tasks: tasks[-1].state is TaskState.FAILED)
            then = Verdict.RETRY if turn < 2 else Verdict.FAILED
            assert [line.verdict for line in plan_rows(session, rows).lines] == [Verdict.FAILED, then]
        assert len(server.tasks()) == 4
    attempts = ledger.tasks.find(NAME, keys=["kite"])
    assert [(task.attempt, task.state, task.estimate_usd) for task in attempts] == [
        (n, TaskState.FAILED, 0.1121) for n in (1, 2, 3)
    ]
    assert len({task.client_reference for task in attempts}) == 3


def test_a_poll_puts_a_row_whose_retry_is_due_on_the_waiting_list(ledger: Ledger, simulator: StartSimulator):
    """The sensor goes on with it; the last failure is final."""
    server = simulator(generation_seconds=0, faults={"task.moderated": 1.0})
    with session_of(ledger, server, retry=RetryPolicy(moderated=1)) as session:
        submit_all(session, [make_row("kite")])
        poll_until(session, lambda tasks: tasks[-1].state is TaskState.FAILED)
        assert rows_waiting(ledger) == ["kite"]
        assert "attempt 1 failed (moderated)" in ledger.queue.find(NAME)[0].reason
        list(submit_rows(session, ["kite"]))
        poll_until(session, lambda tasks: tasks[-1].state is TaskState.FAILED)
        assert rows_waiting(ledger) == []
    assert len(server.tasks()) == 2


def test_a_retry_is_due_whoever_recorded_the_failure_and_whatever_was_killed_since(ledger: Ledger, server: Simulator):
    """Also of a result that the collector found gone: a later poll or tick finds it in the ledger."""
    policy = RetryPolicy(expired=1)
    with session_of(ledger, server) as session:
        old, kite = succeeded_tasks(session, [make_row("old"), make_row("kite")])
        ledger.expire(old, Failed(FailureKind.EXPIRED, "gone"), session.clock())
    with session_of(ledger, server, retry=policy) as session:
        poll_due(session, 5)
        ledger.expire(kite, Failed(FailureKind.EXPIRED, "gone"), session.clock())
        assert rows_waiting(ledger) == []
        poll_due(session, 5)
        assert rows_waiting(ledger) == ["kite"], "the other failed before this policy"
        ledger.queue.drop(NAME, ["kite"])
        assert queue_retries(session) == ["kite"], "nobody had to be there when it failed"
        assert queue_retries(session) == []


def test_a_direct_delivery_retries_in_the_same_run(ledger: Ledger, simulator: StartSimulator, tmp_path: Path):
    """With a policy, rows whose first task failed are stored all the same; their manifests show every attempt."""
    server = simulator(generation_seconds=0, seed=4, faults={"task.failed": 0.5})
    with session_of(ledger, server, retry=RetryPolicy(provider_error=8)) as session:
        found, problems = deliver(session, LocalStore(tmp_path / "clips"), record_rows(ledger, make_rows(8)), 60)
    assert problems == []
    manifests = [one.manifest for one in found if one.manifest]
    assert len(manifests) == 8
    assert sum(len(manifest.attempts) for manifest in manifests) == len(server.tasks()) > 8
    several = next(manifest for manifest in manifests if len(manifest.attempts) > 1)
    assert several.attempts[0].state is TaskState.FAILED
    assert several.attempts[0].cost is not None
    assert several.attempts[0].cost.usd == 0.1121


def test_a_person_may_allow_one_more_attempt_of_what_failed_or_was_abandoned(ledger: Ledger, simulator: StartSimulator):
    """Once: the attempt after that is as final as any."""
    server = simulator(generation_seconds=0, faults={"task.failed": 1.0})
    with session_of(ledger, server) as session:
        submit_all(session, [make_row("kite")])
        (task,) = poll_until(session, lambda tasks: tasks[-1].state is TaskState.FAILED)
        ledger.release(task, "by hand")
        list(submit_rows(session, ["kite"]))
        poll_until(session, lambda tasks: tasks[-1].state is TaskState.FAILED)
        list(submit_rows(session, ["kite"]))
    assert len(server.tasks()) == 2


def test_another_take_is_another_clip_and_outlives_the_next_reading(ledger: Ledger, simulator: StartSimulator):
    """The row's own record gets the take at once; a table that still says 1 does not undo it."""
    row = make_row("kite")
    record_rows(ledger, [row])
    second = ledger.rows.raise_take(NAME, "kite")
    assert (second.take, ledger.rows.find(NAME)["kite"]) == (2, second)
    assert second.digest == make_row("kite", take=2).digest
    assert ledger.rows.takes(NAME) == {"kite": 2}
    assert changed_columns(row, second) == ("take",)
    assert ledger.rows.raise_take(NAME, "kite").take == 3


# --- stops


def test_a_stop_sends_nothing_further_and_keeps_what_was_accepted(ledger: Ledger, server: Simulator):
    """Rows not yet sent are free to be submitted by another run; the accepted ones are adopted."""

    def stopped() -> bool:
        return len(server.tasks()) >= 3

    with session_of(ledger, server, stopped=stopped, limits=Limits(max_concurrency=1)) as session:
        found = submit_all(session, make_rows(6))
    assert sum(one.sent for one in found.values()) == len(server.tasks()) == 3
    assert "was not sent: the run was stopped" in found["r005"].problem
    with session_of(ledger, server) as session:
        assert sum(one.sent for one in submit_all(session, make_rows(6)).values()) == 3
    assert len(server.tasks()) == 6


def test_whoever_turns_away_from_a_submission_stops_it(ledger: Ledger, server: Simulator):
    """Closing the iterator waits for what has left and begins nothing more."""
    limits = Limits(max_concurrency=1, submits_per_minute=120)
    with session_of(ledger, server, limits=limits) as session:
        submissions = submit_rows(session, record_rows(ledger, make_rows(30)))
        next(submissions)
        submissions.close()
        assert len(server.tasks()) <= 3
        assert {task.state for task in ledger.tasks.find(NAME)} <= {TaskState.SUBMITTED, TaskState.REFUSED}
        assert len(ledger.tasks.find(NAME, [TaskState.SUBMITTED])) == len(server.tasks())
