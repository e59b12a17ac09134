"""The one transaction that decides who may pay: attempts so far, the budget, the account's slots."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence

import sqlalchemy as sa

from pixverse_dagster.budget import Spent, fits
from pixverse_dagster.clip import TaskState
from pixverse_dagster.errors import NoSlot, OverBudget
from pixverse_dagster.ledger.records import Intent, Task, read_task, task_values
from pixverse_dagster.ledger.schema import meta, tasks, waiting
from pixverse_dagster.prices import missing_line
from pixverse_dagster.prompts import Row
from pixverse_dagster.retry import may_attempt

_DAY_SECONDS = 86_400
_DOUBT_HOLDS_SLOT_SECONDS = 600
"""How long a submit of unknown outcome is taken to occupy the provider; its slots were seen to free in ten minutes."""


def claim(connection: sa.Connection, ledger_id: str, pipeline: str, row: Row, intent: Intent) -> tuple[Task, bool]:
    """The newest attempt at the row's request, and whether this transaction made it.

    Raises OverBudget or NoSlot, and then claims nothing. A racing claim of the same attempt ends in IntegrityError.
    """
    if intent.budget.limits or intent.max_open_tasks is not None:
        one_at_a_time(connection)
    attempts = find_attempts(connection, pipeline, row.id, row.digest)
    if not may_attempt(attempts, intent.retry):
        return attempts[-1], False
    if intent.budget.limits:
        _check_budget(connection, pipeline, row, intent)
    if intent.max_open_tasks is not None:
        _check_slot(connection, row, intent, intent.max_open_tasks)
    task = _new_task(ledger_id, pipeline, row, len(attempts) + 1, intent)
    connection.execute(sa.insert(tasks).values(task_values(task)))
    connection.execute(sa.delete(waiting).where(waiting.c.pipeline == pipeline, waiting.c.row == row.id))
    return task, True


def find_attempts(connection: sa.Connection, pipeline: str, row: str, digest: str) -> list[Task]:
    """Every attempt at a request, the first one first."""
    same = (tasks.c.pipeline == pipeline, tasks.c.row == row, tasks.c.digest == digest)
    return [read_task(r) for r in connection.execute(sa.select(tasks).where(*same).order_by(tasks.c.attempt))]


def one_at_a_time(connection: sa.Connection) -> None:
    """Let no other such transaction in until this one ends; SQLite's writers wait for each other by themselves."""
    connection.execute(sa.select(meta.c.key).where(meta.c.key == "ledger_id").with_for_update())


def sum_spent(connection: sa.Connection, pipeline: str, run_id: str, now: float) -> Spent:
    """What the pipeline has spent or reserved."""
    price = sa.func.coalesce(tasks.c.cost_usd, tasks.c.estimate_usd, 0.0)
    midnight = now - now % _DAY_SECONDS
    sums = (
        sa.func.sum(sa.case((tasks.c.run_id == run_id, price), else_=0.0)),
        sa.func.sum(sa.case((tasks.c.claimed_at >= midnight, price), else_=0.0)),
        sa.func.sum(price),
    )
    query = sa.select(*sums).where(tasks.c.pipeline == pipeline, tasks.c.state != TaskState.REFUSED)
    return Spent(*(float(value or 0) for value in connection.execute(query).one()))


def count_open(connection: sa.Connection, accounts: Sequence[str], now: float) -> dict[str, int]:
    """How many tasks occupy each account: under way, or perhaps so because their submit is of unknown outcome."""
    doubtful = sa.and_(tasks.c.state == TaskState.UNKNOWN, tasks.c.claimed_at > now - _DOUBT_HOLDS_SLOT_SECONDS)
    under_way = tasks.c.state.in_((TaskState.CLAIMED, TaskState.SUBMITTED))
    query = sa.select(tasks.c.account, sa.func.count()).where(
        tasks.c.account.in_(accounts), sa.or_(under_way, doubtful)
    )
    return {record[0]: record[1] for record in connection.execute(query.group_by(tasks.c.account))}


def _check_budget(connection: sa.Connection, pipeline: str, row: Row, intent: Intent) -> None:
    room = sum_spent(connection, pipeline, intent.run_id, intent.now).room_usd(intent.budget)
    if intent.estimate_usd is None:
        raise OverBudget(
            "it has no known price, and a budget is set. Nothing was sent; "
            f"add a line to the price book: {missing_line(row.request)}"
        )
    if not fits(intent.estimate_usd, room):
        raise OverBudget(
            f"it costs about {intent.estimate_usd:.3f} USD and {room:.3f} USD are left of the budget. "
            "Nothing was sent; raise the budget, or leave the row for another day"
        )


def _check_slot(connection: sa.Connection, row: Row, intent: Intent, max_open_tasks: int) -> None:
    taken = count_open(connection, [intent.account], intent.now).get(intent.account, 0)
    if taken >= max_open_tasks:
        raise NoSlot(f"{taken} of {max_open_tasks} slots at {row.request.provider()} are taken")


def _new_task(ledger_id: str, pipeline: str, row: Row, attempt: int, intent: Intent) -> Task:
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
        account=intent.account,
        state=TaskState.CLAIMED,
        run_id=intent.run_id,
        claimed_at=intent.now,
        next_poll_at=intent.now + intent.lease_seconds,
        estimate_usd=intent.estimate_usd,
    )


def _client_reference(ledger_id: str, pipeline: str, row: Row, attempt: int) -> str:
    # Derived, so that a replay has the same one; from the ledger's own id, so that two deployments never meet.
    seed = json.dumps([ledger_id, pipeline, row.id, row.digest, attempt])
    return str(uuid.UUID(bytes=hashlib.sha256(seed.encode()).digest()[:16], version=4))
