"""Taking into the ledger what the store knows: tasks that this ledger never saw, or saw no end of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import Event, TaskState
from pixverse_dagster.core.task import Applied, Move, MoveRefused, Task
from pixverse_dagster.ledger.codec import task_values
from pixverse_dagster.ledger.history import remember
from pixverse_dagster.ledger.moves import lock_task, write_move
from pixverse_dagster.ledger.queries import find_claims, find_claims_of, find_task_id
from pixverse_dagster.ledger.schema import tasks, waiting
from pixverse_dagster.ledger.spending import count_spent


def restore_task(connection: sa.Connection, task: Task) -> Move:
    """Insert a task as it is given, and count its cost for the day of its claim. Refused if the ledger knows it.

    A task is known by its account and id, and by its client reference. Its claim and its attempt keep their numbers
    where these are free, else they get the next ones; its folder is the one that it has. IntegrityError if another
    transaction gave the same number at the same moment: to be made again.
    """
    claims = find_claims(connection, task.pipeline, task.row, task.digest, lock=True)
    known = next((one for one in claims if one.client_reference == task.client_reference), None)
    if known is None and task.task_id:
        known = find_task_id(connection, task.account, task.task_id)
    if known is not None:
        return MoveRefused(known, Event.RESTORE)
    return Applied(_insert(connection, task, claims))


def _insert(connection: sa.Connection, task: Task, claims: Sequence[Task]) -> Task:
    task = _with_free_numbers(task, claims)
    connection.execute(sa.insert(tasks).values(task_values(task, None)))
    same = (waiting.c.pipeline == task.pipeline, waiting.c.row == task.row, waiting.c.digest == task.digest)
    connection.execute(sa.delete(waiting).where(*same))
    count_spent(connection, task)
    remember(connection, Event.RESTORE, task)
    return task


def take_in(connection: sa.Connection, found: Sequence[Task]) -> list[Move]:
    """Take in tasks that a manifest of the store tells of, its own last; what happened to each.

    A task that the ledger has, by the same account and id or by an open claim's reference, is that task: it is stored
    now, whatever was last heard of it. Where the same reference has another id, there are two tasks, and both are kept.
    """
    return [_take_in_one(connection, task) for task in found]


def _take_in_one(connection: sa.Connection, task: Task) -> Move:
    claims = find_claims(connection, task.pipeline, task.row, task.digest, lock=True)
    known = find_task_id(connection, task.account, task.task_id) if task.task_id else None
    same = (one for one in claims if (one.account, one.client_reference) == (task.account, task.client_reference))
    known = known or next((one for one in same if None in {one.task_id, task.task_id}), None)
    if known is None:
        return Applied(_insert(connection, task, claims))
    if task.state is TaskState.STORED and any(one.id == known.id for one in claims):
        return find_clip(connection, known, task)
    return MoveRefused(known, Event.RESTORE)


def find_clip(connection: sa.Connection, task: Task, found: Task) -> Move:
    """The task's own manifest is in the store: it is stored, whatever the ledger last heard. `found` is as there."""
    before = lock_task(connection, task)
    owner = find_task_id(connection, before.account, found.task_id or "")
    if not before.allows(Event.FIND) or (owner is not None and owner.id != before.id):
        return MoveRefused(before, Event.FIND)
    claims = find_claims_of(connection, before)
    numbered = _with_free_numbers(found, [one for one in claims if one.id != task.id])
    values = {
        "task_id": found.task_id,
        "attempt": before.attempt or numbered.attempt,
        "folder": found.folder,
        "manifest_sha256": found.manifest_sha256,
        "submitted_at": before.submitted_at or found.submitted_at,
        "finished_at": found.finished_at,
        "stored_at": found.stored_at,
        "cost_usd": found.cost_usd if found.cost_usd is not None else before.cost_usd,
        "kind": None,
        "reason": None,
        "released": False,
        "lease_until": None,
        "next_poll_at": None,
        "next_collect_at": None,
        "urls": (),
        "body": None,
        "found_at": found.found_at,
    }
    return Applied(write_move(connection, before, Event.FIND, values))


def _with_free_numbers(task: Task, claims: Sequence[Task]) -> Task:
    """The task with a claim and an attempt number that none of these has."""
    taken_claims = {one.claim for one in claims}
    taken_attempts = {one.attempt or 0 for one in claims}
    claim = task.claim if task.claim not in taken_claims else 1 + max(taken_claims)
    attempt = task.attempt
    if attempt in taken_attempts:
        attempt = 1 + max(taken_attempts)
    return replace(task, claim=claim, attempt=attempt)
