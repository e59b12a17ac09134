"""Making a transition: the only code that changes the state of a task."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import TRANSITIONS, Event, Guard, TaskState
from pixverse_dagster.core.task import Applied, Move, MoveRefused, Task
from pixverse_dagster.ledger.codec import TASK_COLUMNS, changed, plain, read_task
from pixverse_dagster.ledger.history import remember
from pixverse_dagster.ledger.queries import find_claims
from pixverse_dagster.ledger.schema import tasks
from pixverse_dagster.ledger.spending import count_spent
from pixverse_dagster.policy.timing import MAX_LEASE_SECONDS, is_over


@dataclass(frozen=True)
class Unless:
    """A value for a column that has none yet; one that has keeps it."""

    value: Any


_OF_STATE = ("unread_since", "stalled_at")

# Statements are made once: putting one together takes longer than its execution.
_FAILED = sa.update(tasks).where(tasks.c.id == sa.bindparam("of_id")).values(failed_position=sa.bindparam("at"))
_LOCK = sa.select(*TASK_COLUMNS).where(tasks.c.id == sa.bindparam("of_id")).with_for_update()


@cache
def _update(names: tuple[tuple[str, bool], ...]) -> sa.Executable:
    """The statement that sets these columns of a task, those with True only where they have no value."""
    new = {name: sa.bindparam(f"new_{name}", type_=tasks.c[name].type) for name, _ in names}
    values = {name: sa.func.coalesce(tasks.c[name], new[name]) if kept else new[name] for name, kept in names}
    return sa.update(tasks).where(tasks.c.id == sa.bindparam("of_id")).values(values)


def make_move(
    connection: sa.Connection,
    task: Task,
    event: Event,
    values: Mapping[str, Any],
    *,
    now: float | None = None,
    replay: bool = False,
) -> Move:
    """Change the task if the event allows it for the task as it is now; whoever came first wins.

    The totals of money and the history are part of the same transaction.
    """
    before = lock_task(connection, task)
    moment = time.time() if now is None else now
    if not (before.allows(event) and _allowed(connection, task, before, event, moment, replay)):
        return MoveRefused(before, event)
    return Applied(write_move(connection, before, event, values))


def lock_task(connection: sa.Connection, task: Task) -> Task:
    """The task as it is now; nobody else changes it until the transaction ends."""
    return read_task(connection.execute(_LOCK, {"of_id": task.id}).one())


def write_move(connection: sa.Connection, before: Task, event: Event, values: Mapping[str, Any]) -> Task:
    """Write a transition that is allowed."""
    columns = dict(values)
    if (to := TRANSITIONS[event].to) is not None:
        columns["state"] = to
    if to not in {None, before.state}:
        # What kept it from coming on was of the state that it leaves.
        columns |= {name: None for name in _OF_STATE if getattr(before, name) is not None and name not in columns}
    names = tuple((name, isinstance(value, Unless)) for name, value in columns.items())
    new = {f"new_{n}": plain(n, v.value if isinstance(v, Unless) else v) for n, v in columns.items()}
    connection.execute(_update(names), {"of_id": before.id} | new)
    after = changed(before, columns)
    count_spent(connection, after, before)
    position = remember(connection, event, after, before)
    if after.state is TaskState.FAILED is not before.state:
        # No clock is needed to tell which failures came after a retry policy.
        connection.execute(_FAILED, {"of_id": before.id, "at": position})
        after = replace(after, failed_position=position)
    return after


def _allowed(
    connection: sa.Connection,
    known: Task,
    task: Task,
    event: Event,
    now: float,
    replay: bool,  # noqa: FBT001 - passed on
) -> bool:
    """Whether the event's guard lets it through. `known` is the task as the caller knows it, `task` as it is."""
    guard = TRANSITIONS[event].guard
    asked_again, idle = task.next_poll_at is not None, is_over(task.lease_until, now, MAX_LEASE_SECONDS)
    claimed = task.state is TaskState.CLAIMED
    if guard is Guard.OWN_LEASE and replay:
        return not claimed and asked_again and idle
    same_lease = task.lease_until == known.lease_until
    holds = {
        None: True,
        Guard.OWN_LEASE: claimed and same_lease,
        Guard.STALE_LEASE: asked_again and (same_lease or not claimed),
        Guard.POLLED: asked_again,
        Guard.NOBODY_SENDS: idle and not asked_again,
        Guard.SAME_FOLDER: task.folder == known.folder,
        Guard.SAME_MANIFEST: task.manifest_sha256 == known.manifest_sha256,
    }
    if guard is Guard.NEWEST:
        claims = find_claims(connection, task.pipeline, task.row, task.digest)
        return [claim for claim in claims if claim.world == task.world][-1].id == task.id
    return holds[guard]
