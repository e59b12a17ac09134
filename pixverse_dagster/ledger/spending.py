"""Sums of money."""

from __future__ import annotations

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.ledger.schema import tasks
from pixverse_dagster.policy.budget import Spent

_DAY_SECONDS = 86_400


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
