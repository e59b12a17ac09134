"""What Dagster is told of clips that were deleted on demand, and what it keeps of them all the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dagster as dg

from pixverse_dagster.core.layout import DIGEST_DIGITS
from pixverse_dagster.core.task import Task
from pixverse_dagster.orchestration.events.clips import clip_event
from pixverse_dagster.orchestration.events.log import TaskEvents, materializations_of, withheld_rows
from pixverse_dagster.orchestration.events.metadata import task_metadata, version_tags
from pixverse_dagster.stages.collect import Collected
from pixverse_dagster.stages.options import PipelineOptions
from pixverse_dagster.storage.base import ClipStore


@dataclass(frozen=True)
class Kept:
    """What Dagster still has of a row: how many events, and the runs that they are part of."""

    events: int = 0
    runs: tuple[str, ...] = ()


def wipe_partition(instance: Any, pipeline: str, row: str) -> bool:
    """Have Dagster forget a row's events of `tasks` and `clips`. False where its event log cannot wipe partitions.

    Dagster+ can; the event logs of the open-source release have no way to.
    """
    try:
        for asset in ("tasks", "clips"):
            instance.wipe_asset_partitions(dg.AssetKey([pipeline, asset]), [row])
    except (AttributeError, NotImplementedError):
        return False
    return True


def forgotten_events(tasks: list[Task]) -> list[dg.AssetObservation]:
    """For each forgotten task, that its clip was deleted, who wanted it, and what it had cost."""
    return [
        dg.AssetObservation(
            asset_key=[task.pipeline, "clips"],
            partition=task.row,
            description=f"row {task.row!r} was deleted on demand, take {task.take}: {task.decision}",
            metadata=task_metadata(task),
        )
        for task in tasks
    ]


def forgotten_version(task: Task) -> str:
    """The data version of a row's clips where they were deleted."""
    return f"forgotten {task.digest[:DIGEST_DIGITS]}"


def deleted_event(instance: dg.DagsterInstance, task: Task) -> dg.AssetMaterialization:
    """Takes the place of the clip's own event on the partition's page; what was made from the clip is out of date."""
    event_id = TaskEvents(instance, task.pipeline).find(task)
    return dg.AssetMaterialization(
        asset_key=[task.pipeline, "clips"],
        partition=task.row,
        description=f"row {task.row!r} was deleted on demand: it has no clip, and is not paid for again",
        metadata=task_metadata(task),
        tags=version_tags(task, forgotten_version(task), "tasks", task.id, event_id),
    )


def remaining_event(
    instance: dg.DagsterInstance, store: ClipStore, clip: Collected, now: float, options: PipelineOptions
) -> dg.AssetMaterialization | None:
    """The event of another clip of the row, which is the row's now; None if a check withholds it."""
    if withheld_rows(instance, clip.task.pipeline, {clip.task.row: clip.task}):
        return None
    return clip_event(clip, store, now, options, TaskEvents(instance, clip.task.pipeline).find(clip.task))


def kept_events(instance: dg.DagsterInstance, pipeline: str, row: str) -> Kept:
    """The materialisations of a row's clips that Dagster has: with prompt, labels, manifest and a small poster."""
    found = materializations_of(instance, dg.AssetKey([pipeline, "clips"]), row)
    shown = [event for event in found if "pixverse/manifest" in _metadata(event)]
    return Kept(len(shown), tuple(dict.fromkeys(event.run_id for event in shown)))


def _metadata(record: dg.EventLogRecord) -> dict[str, Any]:
    event = record.asset_materialization
    return dict(event.metadata) if event else {}
