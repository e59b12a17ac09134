"""`tasks list` and `tasks show`: what was submitted and what became of it."""

import json
import sys
from typing import Any

import click

from pixverse_dagster.cli.output import dollars, json_option, print_json, print_table
from pixverse_dagster.cli.project import ProjectChoice, project_options
from pixverse_dagster.cli.resolve import abandon_task, resolve_task, retry_task
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Task, task_cost
from pixverse_dagster.core.values import iso
from pixverse_dagster.policy.advice import describe_trouble


@click.group()
def tasks() -> None:
    """Look at tasks: what was submitted, what became of it, what a person can do."""


@tasks.command("list")
@project_options
@click.option(
    "--state", type=click.Choice([str(state) for state in TaskState]), multiple=True, help="Only these states."
)
@json_option
def list_tasks(choice: ProjectChoice, state: tuple[str, ...], *, as_json: bool) -> None:
    """Every task of the pipeline, the oldest first."""
    with choice.open() as project:
        found = project.ledger.tasks.find(project.name, [TaskState(word) for word in state])
    if as_json:
        print_json([export(task) for task in found])
        return
    records = [
        [
            t.row,
            t.request.MODEL,
            str(t.attempt or ""),
            str(t.state),
            t.task_id or "",
            dollars(task_cost(t).usd),
            _why(t),
        ]
        for t in found
    ]
    print_table(f"Tasks of {project.name}", ["row", "model", "attempt", "state", "task id", "usd", "note"], records)


@tasks.command("show")
@click.argument("row")
@project_options
@json_option
def show_task(row: str, choice: ProjectChoice, *, as_json: bool) -> None:
    """Everything the ledger knows about a row's tasks. Exits with 1 if it has none."""
    with choice.open() as project:
        found = project.ledger.tasks.find(project.name, keys=[row])
    if as_json:
        print_json([export(task) for task in found])
    elif not found:
        click.echo(f"row {row!r} of {project.name!r} has no task: it was never submitted", err=True)
    for task in () if as_json else found:
        records = [[name, json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)]
                   for name, value in export(task).items() if value not in (None, "", [], {})]  # fmt: skip
        print_table(f"{row}, take {task.take}, claim {task.claim}", ["field", "value"], records)
        if trouble := describe_trouble(task, project.commands):
            click.echo(redact_text(trouble))
    sys.exit(0 if found else 1)


tasks.add_command(resolve_task)


tasks.add_command(abandon_task)


tasks.add_command(retry_task)


def export(task: Task) -> dict[str, Any]:
    """A task as JSON, without result URLs and query strings."""
    cost = task_cost(task)
    moments = {
        name: iso(value) if (value := getattr(task, name)) else None
        for name in ("claimed_at", "submitted_at", "finished_at", "stored_at")
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


def _why(task: Task) -> str:
    return redact_text(task.reason or task.note)
