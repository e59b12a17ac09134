"""`tasks list` and `tasks show`: what was submitted and what became of it."""

import json
import sys

import click

from pixverse_dagster.cli.everywhere import list_everywhere
from pixverse_dagster.cli.export import export
from pixverse_dagster.cli.output import dollars, json_option, print_json, print_table
from pixverse_dagster.cli.project import ProjectChoice, project_options
from pixverse_dagster.cli.resolve import abandon_task, resolve_task, retry_task
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import QueuedRow, Task, task_cost
from pixverse_dagster.policy.advice import describe_stall, describe_trouble
from pixverse_dagster.policy.endings import TASKS, condition, describe_ending


@click.group()
def tasks() -> None:
    """Look at tasks: what was submitted, what became of it, what a person can do."""


@tasks.command("list")
@project_options
@click.option(
    "--state", type=click.Choice([str(state) for state in TaskState]), multiple=True, help="Only these states."
)
@click.option(
    "--all",
    "everywhere",
    is_flag=True,
    help="What is open or of unknown outcome, of every pipeline in the ledger, also of those that the project has not.",
)
@json_option
def list_tasks(choice: ProjectChoice, state: tuple[str, ...], *, everywhere: bool, as_json: bool) -> None:
    """Every task of the pipeline, the oldest first."""
    if everywhere:
        list_everywhere(choice, [TaskState(word) for word in state], as_json=as_json)
        return
    with choice.open_kept() as project:
        found = project.ledger.tasks.find(project.name, [TaskState(word) for word in state])
        waits = {(entry.row, entry.digest): entry for entry in project.ledger.queue.find(project.name)}
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
            _why(t, waits.get((t.row, t.digest))),
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
    with choice.open_kept() as project:
        found = project.ledger.tasks.find(project.name, keys=[row])
        waits = next((entry for entry in project.ledger.queue.find(project.name) if entry.row == row), None)
    if as_json:
        print_json([export(task) for task in found])
    elif not found:
        click.echo(f"row {row!r} of {project.name!r} has no task: it was never submitted", err=True)
    if waits and not as_json:
        withdraw = project.commands.tasks("abandon", row)
        click.echo(redact_text(f"row {row!r} waits to be submitted: {waits.reason} To withdraw it: {withdraw}"))
    for task in () if as_json else found:
        records = [[name, json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)]
                   for name, value in export(task).items() if value not in (None, "", [], {})]  # fmt: skip
        print_table(f"{row}, take {task.take}, claim {task.claim}", ["field", "value"], records)
        # What is said of a refused submit is that it can be run again, which a row in the queue is by itself.
        is_queued = waits is not None and waits.digest == task.digest and task.state is TaskState.REFUSED
        if not is_queued and (trouble := describe_trouble(task, project.commands)):
            click.echo(redact_text(trouble))
        click.echo(describe_ending(TASKS[condition(task)]))
    sys.exit(0 if found else 1)


tasks.add_command(resolve_task)


tasks.add_command(abandon_task)


tasks.add_command(retry_task)


def _why(task: Task, waits: QueuedRow | None) -> str:
    if waits is not None and task.state is TaskState.REFUSED:
        return redact_text(f"its row waits to be submitted: {waits.reason}")
    return describe_stall(task) or redact_text(task.reason or task.note)
