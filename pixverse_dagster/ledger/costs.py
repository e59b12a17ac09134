"""What tasks cost, summed up by the database: one record for all tasks that are alike, however many these are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import World
from pixverse_dagster.ledger.engine import reading
from pixverse_dagster.ledger.schema import tasks

SumColumn = Literal["", "labels", "day", "model", "account"]
"""What tasks may be summed up by: their labels as JSON, the day of their claim, or a column as it is."""
_DAY_SECONDS = 86_400
_MILLIONTHS = 1_000_000


@dataclass(frozen=True)
class CostSum:
    """The tasks of one value of a column that are in the same state and whose cost is known from the same source.

    `value` is the column's; a day is the number of days since the epoch, in UTC, and everything is "" where nothing
    was asked for. `by_others` says that another ledger paid, `presumed` that nobody knows of a charge at all.
    """

    value: str
    world: World
    state: TaskState
    source: Literal["provider", "estimate", "unknown"]
    presumed: bool
    by_others: bool
    tasks: int
    usd_millionths: int


class Costs:
    """Sums up what tasks cost. Safe to use from many threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def sums(self, pipeline: str | None, column: SumColumn = "", since: float = 0.0) -> list[CostSum]:
        """The sums of a pipeline's tasks, or of those of all pipelines, that were claimed at or after a time.

        A task counts for the day (UTC) of its claim, as it does for a budget. In no particular order.
        """
        presumed = sa.and_(tasks.c.state == TaskState.UNKNOWN, tasks.c.found_at.is_not(None), tasks.c.task_id.is_(None))
        # As `core.task.task_cost` has it of one task.
        source = sa.case(
            (tasks.c.cost_usd.is_not(None), "provider"),
            (presumed | tasks.c.estimate_usd.is_(None), "unknown"),
            else_="estimate",
        )
        usd = sa.case((source == "provider", tasks.c.cost_usd), (source == "estimate", tasks.c.estimate_usd), else_=0.0)
        keys = [
            _expression(column, self._engine.dialect.name).label("value"),
            tasks.c.world,
            tasks.c.state,
            source.label("source"),
            sa.case((presumed, 1), else_=0).label("presumed"),
            sa.case((tasks.c.paid_by.is_not(None), 1), else_=0).label("by_others"),
        ]
        # Whole numbers of every task: the same sum in whichever order, and by whichever column.
        millionths = sa.cast(sa.func.round(usd * _MILLIONTHS), sa.BigInteger)
        query = sa.select(*keys, sa.func.count().label("tasks"), sa.func.sum(millionths).label("usd_millionths"))
        query = query.where(tasks.c.claimed_at >= since).group_by(*(sa.literal_column(key.name) for key in keys))
        query = query if pipeline is None else query.where(tasks.c.pipeline == pipeline)
        with reading(self._engine) as connection:
            return [_read(record) for record in connection.execute(query)]


def _expression(column: SumColumn, dialect: str) -> sa.ColumnElement[Any]:
    if column == "":
        return sa.literal("")
    if column != "day":
        return tasks.c[column]
    days = tasks.c.claimed_at / _DAY_SECONDS
    # SQLite cuts off what is behind the point, and has no floor everywhere; PostgreSQL rounds.
    return sa.cast(days if dialect == "sqlite" else sa.func.floor(days), sa.Integer)


def _read(record: Any) -> CostSum:
    return CostSum(
        value=str(record.value),
        world=record.world,
        state=TaskState(record.state),
        source=record.source,
        presumed=bool(record.presumed),
        by_others=bool(record.by_others),
        tasks=record.tasks,
        usd_millionths=int(record.usd_millionths),
    )
