"""A task as JSON, for the commands that print tasks."""

from typing import Any

from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Task, task_cost
from pixverse_dagster.core.values import iso
from pixverse_dagster.policy.endings import condition


def export(task: Task) -> dict[str, Any]:
    """A task as JSON, without result URLs and query strings."""
    cost = task_cost(task)
    moments = {
        name: iso(value) if (value := getattr(task, name)) else None
        for name in ("claimed_at", "submitted_at", "finished_at", "stored_at", "unread_since", "stalled_at")
    }
    return {
        "pipeline": task.pipeline,
        "row": task.row,
        "take": task.take,
        "claim": task.claim,
        "attempt": task.attempt,
        "account": task.account,
        "world": task.world,
        "model": task.request.MODEL,
        "state": str(task.state),
        "condition": condition(task),
        "kind": str(task.kind) if task.kind else None,
        "reason": redact_text(task.reason) if task.reason else None,
        "note": redact_text(task.note),
        "decision": task.decision,
        "task_id": task.task_id,
        "client_reference": task.client_reference,
        "digest": task.digest,
        "request": task.request.public(),
        "images": [image.model_dump(exclude_none=True) for image in task.images.values()],
        "labels": dict(task.labels),
        "cost_usd": cost.usd,
        "cost_source": cost.source,
        "polls": task.polls,
        "run_id": task.run_id,
        "manifest": task_folder(task).manifest if task.state is TaskState.STORED else None,
        **moments,
    }
