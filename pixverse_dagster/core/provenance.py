"""Builds the manifest of stored clips from their task."""

from __future__ import annotations

from collections.abc import Sequence

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import Attempt, ClipManifest, ClipOutput, Cost
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Task, task_cost
from pixverse_dagster.core.values import iso


def build_manifest(
    task: Task, attempts: Sequence[Task], outputs: Sequence[ClipOutput], run_id: str, now: float
) -> ClipManifest:
    """The manifest of a task whose outputs are in the store.

    `attempts` are all attempts at the same request, this task included. `now` is in seconds since the epoch.
    """
    return ClipManifest(
        name=task.pipeline,
        row=task.row,
        take=task.take,
        labels=dict(task.labels),
        model=task.request.MODEL,
        provider=task.provider,
        request=task.request.public(),
        request_digest=task.digest,
        images=tuple(task.images.values()),
        task_id=task.task_id or "",
        client_reference=task.client_reference,
        attempts=tuple(_attempt(attempt) for attempt in attempts),
        submitted_at=iso(task.submitted_at or task.claimed_at),
        finished_at=iso(task.finished_at or now),
        stored_at=iso(now),
        cost=task_cost(task),
        outputs_asked=task.request.outputs_asked(),
        outputs=tuple(outputs),
        note=redact_text(task.note),
        dagster_run_id=run_id,
        dagster_asset_key=(task.pipeline, "clips"),
        dagster_partition=task.row,
        code_version=task.request.CODE_VERSION,
    )


def _attempt(task: Task) -> Attempt:
    return Attempt(
        attempt=task.attempt,
        state=task.state,
        kind=task.kind,
        reason=redact_text(task.reason) if task.reason else None,
        task_id=task.task_id,
        client_reference=task.client_reference,
        claimed_at=iso(task.claimed_at),
        submitted_at=iso(task.submitted_at) if task.submitted_at else None,
        cost=Cost(usd=0.0, source="provider") if task.state is TaskState.REFUSED else task_cost(task),
        settled=task.settled,
    )
