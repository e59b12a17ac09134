"""Running totals of money: kept with every claim and every outcome, so that a claim sums up nothing.

A pipeline and a run have one of each world: what a simulator charged is nobody's money.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import World
from pixverse_dagster.core.task import Task, task_cost
from pixverse_dagster.ledger.schema import spending
from pixverse_dagster.policy.budget import Spent

_DAY_SECONDS = 86_400
_IN_ALL = -1
_MILLIONTHS = 1_000_000
Total = tuple[str, str, int]
"""Scope, name and day of a running total."""


def _read_several(count: int) -> sa.Select[Any]:
    """The statement that reads so many totals."""
    same = (sa.and_(*(spending.c[column] == sa.bindparam(f"{column}_{n}") for column in _KEY)) for n in range(count))
    return sa.select(spending).where(sa.or_(*same))


_KEY = ("scope", "name", "day")
_READ = {count: _read_several(count) for count in (2, 3)}
# The same words in SQLite and PostgreSQL; SQLAlchemy's own would import both dialects into every process.
_ADD = sa.text(
    f"INSERT INTO {spending.name} (scope, name, day, usd_millionths) "  # noqa: S608 - our constant
    "VALUES (:scope, :name, :day, :usd_millionths) "
    "ON CONFLICT (scope, name, day) "
    f"DO UPDATE SET usd_millionths = {spending.name}.usd_millionths + excluded.usd_millionths"
)


def spent_on(task: Task | None) -> int:
    """What a task counts for, in millionths of a US dollar: nothing if it was refused, else its cost or estimate."""
    if task is None or task.state is TaskState.REFUSED:
        return 0
    return round((task_cost(task).usd or 0.0) * _MILLIONTHS)


def count_spent(connection: sa.Connection, task: Task, before: Task | None = None) -> None:
    """Bring the totals up to date after a transition. A task counts for the day (UTC) of its claim."""
    change = spent_on(task) - spent_on(before)
    if change == 0:
        return
    # In one order, so that two transactions never wait for each other.
    totals = sorted({*_pipeline_totals(task.pipeline, task.run_id, task.claimed_at, task.world),
                     *_account_totals(task.account, task.claimed_at)})  # fmt: skip
    values = [{"scope": s, "name": n, "day": d, "usd_millionths": change} for s, n, d in totals]
    connection.execute(_ADD, values)


def sum_spent(connection: sa.Connection, pipeline: str, run_id: str, now: float, world: World) -> Spent:
    """What the pipeline has spent or reserved in a world: in this run, today (UTC), and ever."""
    day, in_all, run = totals = tuple(_pipeline_totals(pipeline, run_id, now, world))
    found = _read(connection, totals)
    return Spent(run_usd=found.get(run, 0.0), day_usd=found.get(day, 0.0), total_usd=found.get(in_all, 0.0))


def sum_account(connection: sa.Connection, account: str, now: float) -> Spent:
    """What was spent or reserved at the account, by all pipelines: today (UTC), and ever."""
    day, in_all = totals = tuple(_account_totals(account, now))
    found = _read(connection, totals)
    return Spent(day_usd=found.get(day, 0.0), total_usd=found.get(in_all, 0.0))


def _pipeline_totals(pipeline: str, run_id: str, at: float, world: World) -> Iterator[Total]:
    whole, part = ("pipeline", "run") if world == "live" else ("simulator", "simulator run")
    yield whole, pipeline, int(at // _DAY_SECONDS)
    yield whole, pipeline, _IN_ALL
    yield part, f"{pipeline}/{run_id}", _IN_ALL


def _account_totals(account: str, at: float) -> Iterator[Total]:
    yield "account", account, int(at // _DAY_SECONDS)
    yield "account", account, _IN_ALL


def _read(connection: sa.Connection, totals: Sequence[Total]) -> dict[Total, float]:
    wanted = {
        f"{column}_{n}": value for n, total in enumerate(totals) for column, value in zip(_KEY, total, strict=True)
    }
    found = connection.execute(_READ[len(totals)], wanted)
    return {(r.scope, r.name, r.day): max(0.0, r.usd_millionths / _MILLIONTHS) for r in found}
