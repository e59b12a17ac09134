"""What is due for a retry follows from the ledger's state, on SQLite and on PostgreSQL, and no policy buys the past."""

import itertools
from collections.abc import Sequence

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.outcomes import Accepted, Failed, Succeeded
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import QueuedRow, Task
from pixverse_dagster.ledger import schema
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.codec import task_values
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.policy.retry import Retries, RetryPolicy, may_attempt
from pixverse_dagster_tests.harness.factories import NAME, NOW, RUN, make_row, make_rows, make_task, moved, record_rows

NO = RetryPolicy()
ONE = RetryPolicy(moderated=1, provider_error=1, expired=1, lost=1)
TWO = RetryPolicy(moderated=2, provider_error=2, expired=2, lost=2)
MANY = RetryPolicy(moderated=9, provider_error=9, expired=9, lost=9)
_number = itertools.count()


def claim(ledger: Ledger, row: Row, policy: RetryPolicy = MANY) -> tuple[Task, bool]:
    return ledger.claim(NAME, row, ClaimTerms(RUN, NOW, 180, retry=policy))


def fail(ledger: Ledger, row: Row, kind: FailureKind = FailureKind.LOST, policy: RetryPolicy = MANY) -> Task:
    """One more attempt, which fails so."""
    task, mine = claim(ledger, row, policy)
    assert mine
    task = ledger.accept(task, Accepted(f"task-{next(_number)}"), NOW, NOW).task
    if kind is FailureKind.EXPIRED:
        task = moved(ledger.succeed(task, Succeeded(("https://r.example.org/1",)), NOW))
        return moved(ledger.expire(task, Failed(kind, "gone"), NOW))
    return moved(ledger.fail(task, Failed(kind, "no"), NOW))


def due(ledger: Ledger, policy: RetryPolicy) -> list[str]:
    return [task.row for task in ledger.tasks.to_retry(NAME, ledger.policies.see_retries(NAME, policy, NOW), 9)]


def test_a_policy_answers_every_kind_of_failure_that_comes_after_it_and_none_before(ledger: Ledger):
    """First seen, changed, or turned off and on: what failed before is not bought; not by a claim either."""
    old = {kind: make_row(f"old-{kind}") for kind in FailureKind}
    new = {kind: make_row(f"new-{kind}") for kind in FailureKind}
    record_rows(ledger, [*old.values(), *new.values()])
    ledger.policies.see_retries(NAME, MANY, NOW)
    for kind, row in old.items():
        fail(ledger, row, kind)
    assert due(ledger, ONE) == [], "changed since"
    assert not any(claim(ledger, row, ONE)[1] for row in old.values())
    failed = [fail(ledger, row, kind) for kind, row in new.items()]
    assert set(due(ledger, ONE)) == {row.id for row in new.values()}
    assert due(ledger, NO) == due(ledger, ONE) == [], "turned off, and on again"
    assert not any(claim(ledger, row, ONE)[1] for row in new.values())
    ledger.release(failed[0], "by hand")
    assert claim(ledger, new[FailureKind.MODERATED], ONE)[1], "a person's word needs no policy"


def test_a_claim_goes_by_the_policy_that_the_ledger_has_seen(ledger: Ledger):
    """A process with another policy than was seen pays for nothing that failed."""
    (row,) = make_rows(1)
    record_rows(ledger, [row])
    ledger.policies.see_retries(NAME, ONE, NOW)
    fail(ledger, row)
    assert not claim(ledger, row, TWO)[1]
    assert not claim(ledger, row, NO)[1]
    assert claim(ledger, row, ONE)[1]


def histories() -> list[Sequence[str]]:
    """Every way in which up to three claims of a request can have ended."""
    ends = ["lost", "moderated", "refused"]
    others = ["claimed", "submitted", "succeeded", "stored", "abandoned", "unknown", "forgotten"]
    before = [ways for count in range(3) for ways in itertools.product([*ends, "stored"], repeat=count)]
    return [[*ways, last] for ways in before for last in (*ends, *others)]


def record_histories(engine: sa.Engine, rows: Sequence[Row], ways: Sequence[Sequence[str]]) -> list[list[Task]]:
    """The claims of rows that went these ways, as the ledger would have them."""
    kinds, number = set(FailureKind), itertools.count(1)
    claims = [
        [
            make_task(
                id=f"{row.id}-{n}",
                row=row.id,
                digest=row.digest,
                claim=n,
                attempt=None if end == "refused" else n,
                state=TaskState.FAILED if end in kinds else TaskState(end),
                kind=FailureKind(end) if end in kinds else None,
                failed_position=next(number) if end in kinds else None,
            )
            for n, end in enumerate(ends, start=1)
        ]
        for row, ends in zip(rows, ways, strict=True)
    ]
    with engine.begin() as connection:
        connection.execute(sa.insert(schema.tasks), [task_values(task, None) for of_row in claims for task in of_row])
    return claims


def test_what_is_found_due_is_what_may_be_attempted(ledger_url: str):
    """Over every history of a request. A further attempt that was refused is the queue's, and not found again.

    What is settled changes nothing about what may be attempted, now or after any claim that follows.
    """
    engine = open_engine(ledger_url)
    ledger, ways = Ledger(engine), histories()
    rows = make_rows(len(ways))
    record_rows(ledger, rows)
    claims = record_histories(engine, rows, ways)
    for policy in (TWO, ONE):
        retries = Retries(policy, dict.fromkeys(FailureKind, 0))
        payable = {of_row[0].row for of_row in claims if may_attempt(of_row, retries)}
        expected = {one[0].row for one in claims if one[0].row in payable and one[-1].state is TaskState.FAILED}
        assert {task.row for task in ledger.tasks.to_retry(NAME, retries, 1000)} == expected != set()
    ledger.policies.settle(NAME, retries, 1000)
    assert {task.row for task in ledger.tasks.to_retry(NAME, retries, 1000)} == expected
    settled: dict[str, list[Task]] = {}
    for task in sorted(ledger.tasks.find(NAME), key=lambda task: task.claim):
        settled.setdefault(task.row, []).append(task)
    assert {row for row, of_row in settled.items() if may_attempt(of_row, retries)} == payable
    assert sum(task.failed_position is None for of_row in settled.values() for task in of_row if task.kind) > 50
    engine.dispose()


def test_only_the_current_request_is_retried_and_only_if_nobody_asked_or_withdrew(ledger: Ledger):
    """A changed row's failure waits with the earlier words; one that came back is due again."""
    kite, boat, dragon = (make_row(name) for name in ("kite", "boat", "dragon"))
    record_rows(ledger, [kite, boat, dragon])
    ledger.policies.see_retries(NAME, ONE, NOW)
    for row in (kite, boat, dragon):
        fail(ledger, row)
    assert due(ledger, ONE) == ["kite", "boat", "dragon"]
    record_rows(ledger, [make_row("kite", prompt="another"), boat, dragon])
    ledger.queue.add(NAME, [QueuedRow("boat", boat.digest, "runware", RUN, "due", NOW)], NOW)
    ledger.rows.withdraw(NAME, "dragon", NOW)
    assert due(ledger, ONE) == []
    record_rows(ledger, [kite, boat, dragon])
    assert due(ledger, ONE) == ["kite"]
    ledger.queue.drop(NAME, ["boat"])
    assert due(ledger, ONE) == ["kite", "boat"]


def test_what_a_person_stopped_is_not_asked_for_by_a_policy(ledger: Ledger):
    """The retries that a cancelled run had waiting are withdrawn with it; new rows of it may be asked for again."""
    kite, boat = make_row("kite"), make_row("boat")
    record_rows(ledger, [kite, boat])
    ledger.policies.see_retries(NAME, ONE, NOW)
    fail(ledger, kite)
    ledger.queue.add(NAME, [QueuedRow(row.id, row.digest, "runware", RUN, "due", NOW) for row in (kite, boat)], NOW)
    assert ledger.queue.drop_run(RUN, NOW) == 2
    assert due(ledger, ONE) == []
    assert ledger.rows.unsubmitted(NAME, 9) == ["boat"]
    assert claim(ledger, kite, ONE)[1], "any run that a person starts may"
