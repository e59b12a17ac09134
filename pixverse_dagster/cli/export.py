"""A task as JSON, for the commands that print tasks."""

from typing import Any, Literal

from pixverse_dagster.cli.documents import Document
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.manifest import World
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Task, task_cost
from pixverse_dagster.core.values import iso
from pixverse_dagster.policy.endings import condition


class TaskDocument(Document):
    """Everything that the ledger knows of a task, without result URLs and query strings; times are UTC."""

    pipeline: str
    row: str
    take: int
    claim: int
    attempt: int | None
    account: str
    world: World
    model: str
    state: TaskState
    condition: str
    kind: FailureKind | None
    reason: str | None
    note: str
    decision: str | None
    task_id: str | None
    client_reference: str
    digest: str
    request: dict[str, Any]
    images: list[dict[str, Any]]
    labels: dict[str, str]
    cost_usd: float | None
    cost_source: Literal["provider", "estimate", "unknown"]
    polls: int
    run_id: str
    manifest: str | None
    claimed_at: str | None
    submitted_at: str | None
    finished_at: str | None
    stored_at: str | None
    unread_since: str | None
    stalled_at: str | None


def export(task: Task) -> TaskDocument:
    """A task as JSON, without result URLs and query strings."""
    cost = task_cost(task)
    moments = {
        name: iso(value) if (value := getattr(task, name)) else None
        for name in ("claimed_at", "submitted_at", "finished_at", "stored_at", "unread_since", "stalled_at")
    }
    if task.is_presumed:
        moments["claimed_at"] = None  # whoever looks for it at the provider would look from then on only
    return TaskDocument(
        pipeline=task.pipeline,
        row=task.row,
        take=task.take,
        claim=task.claim,
        attempt=task.attempt,
        account=task.account,
        world=task.world,
        model=task.request.MODEL,
        state=task.state,
        condition=condition(task),
        kind=task.kind,
        reason=redact_text(task.reason) if task.reason else None,
        note=redact_text(task.note),
        decision=task.decision,
        task_id=task.task_id,
        client_reference=task.client_reference,
        digest=task.digest,
        request=task.request.public(),
        images=[image.model_dump(exclude_none=True) for image in task.images.values()],
        labels=dict(task.labels),
        cost_usd=cost.usd,
        cost_source=cost.source,
        polls=task.polls,
        run_id=task.run_id,
        manifest=task_folder(task).manifest if task.state is TaskState.STORED else None,
        **moments,
    )
