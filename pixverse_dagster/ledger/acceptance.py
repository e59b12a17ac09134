"""Recording that a provider has a task: on the claim that was sent, or, where that cannot be, beside it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from pixverse_dagster.core.layout import clip_folder
from pixverse_dagster.core.lifecycle import Event, TaskState
from pixverse_dagster.core.outcomes import Accepted
from pixverse_dagster.core.task import Acceptance, Applied, KeptApart, Move, MoveRefused, Task
from pixverse_dagster.ledger.codec import changed, task_values
from pixverse_dagster.ledger.history import remember
from pixverse_dagster.ledger.moves import lock_task, write_move
from pixverse_dagster.ledger.queries import find_claims_of, find_task_id
from pixverse_dagster.ledger.schema import tasks, waiting
from pixverse_dagster.ledger.spending import count_spent


def record_acceptance(
    connection: sa.Connection, task: Task, accepted: Accepted, now: float, next_poll_at: float
) -> Acceptance:
    """Record an acceptance, on its task if it is the first one there, else as a task of its own. Repeatable.

    IntegrityError if another transaction gave the same number or id at the same moment: to be made again.
    """
    claims = find_claims_of(connection, task, lock=True)
    before = next((one for one in claims if one.id == task.id), None)
    if before is not None and before.task_id == accepted.task_id:
        return Applied(before)
    owner = find_task_id(connection, task.account, accepted.task_id)
    if owner is not None and (before is None or _request(owner) == _request(before)):
        known = f"task {accepted.task_id} is recorded as claim {owner.claim} of row {owner.row!r}"
        return KeptApart(owner, owner.reason or known)
    if before is None:
        # The ledger was put back to an earlier state, or rewritten: the claim is not there, and was paid for.
        return _keep_apart(connection, task, claims, accepted.task_id, now)
    if owner is not None:
        return _dispute(connection, before, owner, accepted.task_id)
    if not before.allows(Event.ACCEPT):
        return _keep_apart(connection, before, claims, accepted.task_id, now)
    values = {"submitted_at": now, "next_poll_at": next_poll_at, "reason": None, "note": ""}
    return Applied(write_move(connection, before, Event.ACCEPT, values | _attempt(before, claims, accepted.task_id)))


def adopt_task(connection: sa.Connection, task: Task, task_id: str, now: float, decision: str) -> Move:
    """A person says under which id the provider has the task. It keeps the attempt and the folder that it had.

    A further attempt that waits in the queue is taken off: this one is paid for.
    """
    claims = find_claims_of(connection, task, lock=True)
    before = next(one for one in claims if one.id == task.id)
    owner = find_task_id(connection, task.account, task_id)
    if not before.allows(Event.ADOPT) or (owner is not None and owner.id != task.id):
        return MoveRefused(before, Event.ADOPT)
    values: dict[str, Any] = {
        "submitted_at": before.submitted_at or now,
        "next_poll_at": now,
        "kind": None,
        "reason": None,
        "note": "",
        "finished_at": None,
        "released": False,
        "decision": decision,
    }
    pipeline, row, digest = _request(before)
    same = (waiting.c.pipeline == pipeline, waiting.c.row == row, waiting.c.digest == digest)
    connection.execute(sa.delete(waiting).where(*same))
    return Applied(write_move(connection, before, Event.ADOPT, values | _attempt(before, claims, task_id)))


def _request(task: Task) -> tuple[str, str, str]:
    return task.pipeline, task.row, task.digest


def _attempt(task: Task, claims: Sequence[Task], task_id: str) -> dict[str, Any]:
    """The columns that an acceptance gives a task: its id, and, if it has none, the attempt's number and folder."""
    number = task.attempt or 1 + max((one.attempt or 0 for one in claims), default=0)
    folder = str(clip_folder(task.pipeline, task.row, task.digest, task.take, number))
    given = {"attempt": number, "folder": task.folder or folder}
    return given | {"task_id": task_id, "lease_until": None, "body": None}


def _keep_apart(connection: sa.Connection, task: Task, claims: Sequence[Task], task_id: str, now: float) -> KeptApart:
    """Insert a task for an acceptance that its own cannot take; it waits for a person, and counts as spent."""
    recorded = f"the submit is recorded as {task.state}{f' with task {task.task_id}' if task.task_id else ''}"
    if all(one.id != task.id for one in claims):
        recorded = "the ledger has no record of the submit"
    reason = f"the provider accepted a submit of this row as task {task_id}, but {recorded}. It was paid for"
    # What was sent and for whom; all that happened to its own task since is not said of this one.
    apart = Task(
        id=uuid.uuid4().hex,
        pipeline=task.pipeline,
        row=task.row,
        digest=task.digest,
        digest_version=task.digest_version,
        address_digest=task.address_digest,
        claim=1 + max((one.claim for one in claims), default=0),
        take=task.take,
        request=task.request,
        images=task.images,
        labels=task.labels,
        differences=task.differences,
        client_reference=task.client_reference,
        account=task.account,
        world=task.world,
        key=task.key,
        state=TaskState.UNKNOWN,
        reason=reason,
        run_id=task.run_id,
        claimed_at=task.claimed_at,
        submitted_at=now,
        estimate_usd=task.estimate_usd,
    )
    apart = changed(apart, _attempt(apart, claims, task_id))
    connection.execute(sa.insert(tasks).values(task_values(apart, None)))
    count_spent(connection, apart)
    remember(connection, Event.ACCEPT, apart)
    return KeptApart(apart, reason)


def _dispute(connection: sa.Connection, task: Task, owner: Task, task_id: str) -> Acceptance:
    """The id is another task's: nobody knows whose clip it is, so that a person looks at both."""
    words = "the provider gave task {} to two submits, of row {!r} and of row {!r}"
    reason = words.format(task_id, owner.row, task.row)
    if (owner := lock_task(connection, owner)).allows(Event.DISPUTE):
        write_move(connection, owner, Event.DISPUTE, {"reason": reason, "next_poll_at": None})
    if task.allows(Event.MARK_UNKNOWN):
        values = {"reason": reason, "next_poll_at": None, "lease_until": None}
        task = write_move(connection, task, Event.MARK_UNKNOWN, values)
    return KeptApart(task, reason)
