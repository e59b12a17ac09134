"""Rows that came to an end without a clip, so that a person sees which and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import World
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.ledger import Ledger

ENDS_WITHOUT_CLIP = frozenset({TaskState.FAILED, TaskState.UNKNOWN, TaskState.REFUSED})


def find_without_clip(
    ledger: Ledger, pipeline: str, rows: Sequence[str], worlds: Mapping[str, World] | None = None
) -> dict[str, Task]:
    """Of these rows, those that have no clip and get none by themselves, each with the task that says why.

    Failed, not accepted, or of unknown outcome that only a person can find out about. Left out is a row that waits in
    the queue, and one that has a clip already, of an earlier take or of earlier words: it is not without.
    """
    if not rows:
        return {}
    answers = ledger.tasks.current(pipeline, rows, worlds)
    has_clip = ledger.tasks.newest_stored(pipeline, rows).keys()
    waits = {(entry.row, entry.digest) for entry in ledger.queue.find(pipeline, worlds)}
    return {
        row: task
        for row, task in answers.items()
        if task.state in ENDS_WITHOUT_CLIP
        and not task.resolves_itself
        and row not in has_clip
        and (row, task.digest) not in waits
    }
