"""A person gives a task up, with or without another attempt in its place."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import Event
from pixverse_dagster.core.task import Move, MoveRefused, Task
from pixverse_dagster.ledger.moves import lock_task, make_move
from pixverse_dagster.ledger.queries import find_claims_of


def give_up(connection: sa.Connection, task: Task, reason: str, decision: str) -> Move:
    """The task is not polled, collected or submitted again. What it cost stays spent."""
    values: dict[str, Any] = {
        "reason": reason,
        "next_poll_at": None,
        "next_collect_at": None,
        "body": None,
        "urls": (),
        "decision": decision,
    }
    return make_move(connection, task, Event.ABANDON, values)


def give_up_for_another(connection: sa.Connection, task: Task, reason: str, decision: str) -> Move:
    """The same, and one more paid attempt is allowed. Where there is a newer one, refused, and nothing is given up."""
    claims = find_claims_of(connection, task, lock=True)
    if [claim for claim in claims if claim.world == task.world][-1].id != task.id:
        return MoveRefused(lock_task(connection, task), Event.RELEASE)
    move = give_up(connection, task, reason, decision)
    if isinstance(move, MoveRefused):
        return move
    return make_move(connection, move.task, Event.RELEASE, {"released": True, "decision": decision})
