"""Recording that a provider has the clips of a task, and what it charged for them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import Event
from pixverse_dagster.core.outcomes import Succeeded
from pixverse_dagster.core.task import Move, Task
from pixverse_dagster.ledger.moves import Unless, make_move
from pixverse_dagster.ledger.prices import see_charge, see_dearer


def succeed(engine: sa.Engine, task: Task, fact: Succeeded, now: float) -> Move:
    """Record the clips and the charge. One that is higher than what was reserved counts for all that is under way.

    One transaction: whoever claims after it finds what is really left.
    """
    charged = fact.cost_usd / max(len(fact.urls), 1) if fact.cost_usd else None
    with engine.begin() as connection:
        if charged is not None and charged * task.request.outputs_asked() > (task.estimate_usd or 0.0):
            see_dearer(connection, task, charged)
        move = make_move(connection, task, Event.SUCCEED, _values(task, fact, now))
        if charged is not None:
            see_charge(connection, task, charged, now)
        return move


def _values(task: Task, fact: Succeeded, now: float) -> dict[str, Any]:
    return {
        "urls": fact.urls,
        "seeds": fact.seeds,
        "note": fact.note,
        "kind": None,
        "reason": None,
        "cost_usd": task.cost_usd if fact.cost_usd is None else fact.cost_usd,
        "finished_at": task.finished_at or now,
        "next_poll_at": None,
        # Renewed URLs leave the lease of whoever collects the task as it is.
        "next_collect_at": Unless(now),
        "polls": task.polls + 1,
    }
