"""Where a clip is kept and what is written about it. Pure: keys, and facts into the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pixverse_dagster.clip import Attempt, ClipManifest, ClipOutput, Cost, TaskState
from pixverse_dagster.ledger.records import Task
from pixverse_dagster.prompts import encode_row
from pixverse_dagster.redaction import redact_text

DIGEST_DIGITS = 12


def clip_folder(pipeline: str, row: str, digest: str, take: int) -> str:
    """`<name>/clips/<row>/<digest12>-t<take>`: the folder of one request's clips, below the store's root."""
    return f"{encode_row(pipeline)}/clips/{encode_row(row)}/{digest[:DIGEST_DIGITS]}-t{take}"


def task_folder(task: Task) -> str:
    """The folder of a task's clips."""
    return clip_folder(task.pipeline, task.row, task.digest, task.take)


def manifest_key(folder: str) -> str:
    """The manifest in a clip folder: its presence is the commit mark."""
    return f"{folder}/manifest.json"


def iso(seconds: float) -> str:
    """Seconds since the epoch as UTC, ISO 8601, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def task_cost(task: Task) -> Cost:
    """What the task cost: the provider's figure, else the estimate made when it was submitted, else unknown."""
    if task.cost_usd is not None:
        return Cost(usd=task.cost_usd, source="provider")
    return Cost(usd=task.estimate_usd, source="unknown" if task.estimate_usd is None else "estimate")


def build_manifest(
    task: Task, attempts: Sequence[Task], outputs: Sequence[ClipOutput], run_id: str, now: float
) -> ClipManifest:
    """The manifest of a task whose outputs are in the store."""
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
