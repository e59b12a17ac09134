"""The one transaction that decides who may pay: attempts so far, the budget, the account's slots."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass

import sqlalchemy as sa

from pixverse_dagster.core.errors import NoSlot, OverBudget
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.accounts import count_open
from pixverse_dagster.ledger.codec import task_values
from pixverse_dagster.ledger.engine import one_at_a_time
from pixverse_dagster.ledger.queries import find_attempts
from pixverse_dagster.ledger.schema import tasks, waiting
from pixverse_dagster.ledger.spending import sum_spent
from pixverse_dagster.policy.budget import NO_LIMIT, Budget, fits
from pixverse_dagster.policy.prices import missing_line
from pixverse_dagster.policy.retry import NO_RETRIES, RetryPolicy, may_attempt


@dataclass(frozen=True)
class ClaimTerms:
    """Who claims a request, when, on which account, and under which limits.

    With a budget, `estimate_usd` is reserved by the claim; with `max_open_tasks`, a slot of the account is.
    """

    run_id: str
    now: float
    lease_seconds: float
    estimate_usd: float | None = None
    budget: Budget = NO_LIMIT
    retry: RetryPolicy = NO_RETRIES
    account: str = ""
    max_open_tasks: int | None = None


def claim(connection: sa.Connection, ledger_id: str, pipeline: str, row: Row, terms: ClaimTerms) -> tuple[Task, bool]:
    """The newest attempt at the row's request, and whether this transaction made it.

    Raises OverBudget or NoSlot, and then claims nothing. A racing claim of the same attempt ends in IntegrityError.
    """
    if terms.budget.limits or terms.max_open_tasks is not None:
        one_at_a_time(connection)
    attempts = find_attempts(connection, pipeline, row.id, row.digest)
    if not may_attempt(attempts, terms.retry):
        return attempts[-1], False
    if terms.budget.limits:
        _check_budget(connection, pipeline, row, terms)
    if terms.max_open_tasks is not None:
        _check_slot(connection, row, terms, terms.max_open_tasks)
    task = _new_task(ledger_id, pipeline, row, len(attempts) + 1, terms)
    connection.execute(sa.insert(tasks).values(task_values(task)))
    connection.execute(sa.delete(waiting).where(waiting.c.pipeline == pipeline, waiting.c.row == row.id))
    return task, True


def _check_budget(connection: sa.Connection, pipeline: str, row: Row, terms: ClaimTerms) -> None:
    room = sum_spent(connection, pipeline, terms.run_id, terms.now).room_usd(terms.budget)
    if terms.estimate_usd is None:
        raise OverBudget(
            "it has no known price, and a budget is set. Nothing was sent; "
            f"add a line to the price book: {missing_line(row.request)}"
        )
    if not fits(terms.estimate_usd, room):
        raise OverBudget(
            f"it costs about {terms.estimate_usd:.3f} USD and {room:.3f} USD are left of the budget. "
            "Nothing was sent; raise the budget, or leave the row for another day"
        )


def _check_slot(connection: sa.Connection, row: Row, terms: ClaimTerms, max_open_tasks: int) -> None:
    taken = count_open(connection, [terms.account], terms.now).get(terms.account, 0)
    if taken >= max_open_tasks:
        raise NoSlot(f"{taken} of {max_open_tasks} slots at {row.request.provider()} are taken")


def _new_task(ledger_id: str, pipeline: str, row: Row, attempt: int, terms: ClaimTerms) -> Task:
    return Task(
        id=uuid.uuid4().hex,
        pipeline=pipeline,
        row=row.id,
        digest=row.digest,
        attempt=attempt,
        take=row.take,
        request=row.request,
        images=row.images,
        labels=row.labels,
        client_reference=_client_reference(ledger_id, pipeline, row, attempt),
        account=terms.account,
        state=TaskState.CLAIMED,
        run_id=terms.run_id,
        claimed_at=terms.now,
        next_poll_at=terms.now + terms.lease_seconds,
        estimate_usd=terms.estimate_usd,
    )


def _client_reference(ledger_id: str, pipeline: str, row: Row, attempt: int) -> str:
    # Derived, so that a replay has the same one; from the ledger's own id, so that two deployments never meet.
    seed = json.dumps([ledger_id, pipeline, row.id, row.digest, attempt])
    return str(uuid.UUID(bytes=hashlib.sha256(seed.encode()).digest()[:16], version=4))
