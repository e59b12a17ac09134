"""Taking into the ledger what the store holds of a row's request: it was paid for earlier, and never is again."""

from __future__ import annotations

from pixverse_dagster.core.provenance import Found, restore_tasks
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.tombstone import forgotten_task
from pixverse_dagster.stages.find import Forgotten, ImageChanged, InStore, StoreAnswer, StoredClip, Unclear
from pixverse_dagster.stages.session import Session


def take_in(session: Session, row: Row, answer: StoreAnswer) -> tuple[Task | None, str]:
    """Take in what the store holds of the row's request. The task that answers for the row now, and what is in the way.

    Every attempt with its cost, which counts for its own day; no run and no budget of today. Safe when several runs do
    it at once: each gets the same task. Of an image that changed under its address, the clip of the earlier one is
    taken in, and the row keeps that request. Without a task, nothing may be paid for either: the words say why.
    """
    if isinstance(answer, Unclear):
        return None, answer.problem
    name, ledger = session.pipeline.name, session.ledger
    try:
        found = _tasks(session, row, answer)
    except (ValueError, LookupError, StopIteration) as error:
        return None, f"what the store has of it cannot be taken in ({type(error).__name__}: {error}); see `verify`"
    for of_manifest in found:
        ledger.take_in(of_manifest)
    if isinstance(answer, ImageChanged):
        ledger.rows.keep_request(name, row.digest, answer.row)
    task = ledger.tasks.current(name, [row.id], session.worlds).get(row.id)
    if task is not None:
        return task, ""
    owner = ledger.tasks.with_task_id(found[-1][-1].account, found[-1][-1].task_id or "")
    whose = f"row {owner.row!r} of {owner.pipeline!r}" if owner else "another request"
    return None, f"the store has a clip of it, of a task that the ledger knows as that of {whose}"


def _tasks(session: Session, row: Row, answer: InStore | ImageChanged | Forgotten) -> list[list[Task]]:
    """The tasks of each manifest, as this ledger has them."""
    if isinstance(answer, Forgotten):
        found = Found(session.ledger.id, str(answer.folder), "", session.clock(), session.pipeline.name, row.id)
        return [[forgotten_task(answer.tombstone, row.request, row.images, found)]]
    if isinstance(answer, ImageChanged):
        return [_of_clip(session, answer.row, answer.clip)]
    return [_of_clip(session, row, clip) for clip in answer.clips]


def _of_clip(session: Session, row: Row, clip: StoredClip) -> list[Task]:
    name, now = session.pipeline.name, session.clock()
    found = Found(session.ledger.id, str(clip.folder), clip.manifest_sha256, now, name, row.id)
    return restore_tasks(clip.manifest, row.request, row.images, found)
