"""Commands that look: `plan`, `tasks`, `verify`. They send nothing to a provider."""

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from pixverse_dagster.cli.project import enter_home, open_project, project_options
from pixverse_dagster.cli.settle import abandon_task, resolve_task, retry_task
from pixverse_dagster.clip import TaskState
from pixverse_dagster.intake import read_table
from pixverse_dagster.ledger import Task
from pixverse_dagster.lineage import iso, manifest_key, task_cost, task_folder
from pixverse_dagster.plan import Plan, Verdict
from pixverse_dagster.redaction import redact_text
from pixverse_dagster.settlement import describe_trouble
from pixverse_dagster.submission import plan_rows
from pixverse_dagster.tables import AssetTable
from pixverse_dagster.verification import verify as verify_store

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def print_json(document: Any) -> None:
    """Print a document for machines."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_table(title: str, columns: list[str], records: list[list[str]]) -> None:
    """Print a table for people; cells are data and are never read as markup."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in {"usd", "seconds", "size"} else "left")
    for record in records:
        table.add_row(*(escape(cell) for cell in record))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def dollars(usd: float | None) -> str:
    """A price for a person."""
    return "?" if usd is None else f"{usd:.3f}"


@click.command()
@project_options
@_json_option
def plan(home: Path | None, module: str, pipeline: str | None, *, as_json: bool) -> None:
    """What a submission would do, per row and in sum, and what it would cost. Sends nothing.

    Exits with 1 if some rows are invalid.
    """
    enter_home(home)
    with open_project(module, pipeline) as project, project.open() as shop:
        if isinstance(shop.pipeline.table, AssetTable):
            # Only a run is handed the asset's value: the plan is for the rows as they were last read.
            made = plan_rows(shop, shop.ledger.rows(project.name).values(), shop.ledger.problems(project.name))
        else:
            reading = read_table(shop)
            made = plan_rows(shop, reading.rows, reading.problems)
    if as_json:
        lines = [
            {"row": p.row, "model": p.model, "verdict": str(p.verdict), "cost_usd": p.cost_usd, "note": p.note}
            for p in made.lines
        ]
        print_json({"rows": lines, "totals": _totals(made)})
    else:
        records = [[p.row, p.model, str(p.verdict), dollars(p.cost_usd), p.note] for p in made.lines]
        print_table(f"Plan for {project.name}", ["row", "model", "verdict", "usd", "note"], records)
        click.echo(describe_plan(made))
    sys.exit(1 if made.counts[Verdict.INVALID] else 0)


def describe_plan(made: Plan) -> str:
    """A plan's sums in one line."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(made.counts.items())) or "no rows"
    unpriced = f" plus {made.unpriced} rows whose price is not public" if made.unpriced else ""
    return f"{counts}. Submitting now would cost about {made.cost_usd:.3f} USD{unpriced}."


def _totals(made: Plan) -> dict[str, Any]:
    counts = {str(verdict): made.counts[verdict] for verdict in Verdict}
    return {**counts, "cost_usd": made.cost_usd, "unpriced_rows": made.unpriced}


@click.group()
def tasks() -> None:
    """Look at tasks: what was submitted, what became of it, what a person can do."""


@tasks.command("list")
@project_options
@click.option(
    "--state", type=click.Choice([str(state) for state in TaskState]), multiple=True, help="Only these states."
)
@_json_option
def list_tasks(home: Path | None, module: str, pipeline: str | None, state: tuple[str, ...], *, as_json: bool) -> None:
    """Every task of the pipeline, the oldest first."""
    enter_home(home)
    with open_project(module, pipeline) as project:
        found = project.ledger.find(project.name, [TaskState(word) for word in state])
    if as_json:
        print_json([export(task) for task in found])
        return
    records = [
        [t.row, t.request.MODEL, str(t.attempt), str(t.state), t.task_id or "", dollars(task_cost(t).usd), _why(t)]
        for t in found
    ]
    print_table(f"Tasks of {project.name}", ["row", "model", "attempt", "state", "task id", "usd", "note"], records)


@tasks.command("show")
@click.argument("row")
@project_options
@_json_option
def show_task(row: str, home: Path | None, module: str, pipeline: str | None, *, as_json: bool) -> None:
    """Everything the ledger knows about a row's tasks. Exits with 1 if it has none."""
    enter_home(home)
    with open_project(module, pipeline) as project:
        found = project.ledger.find(project.name, keys=[row])
    if as_json:
        print_json([export(task) for task in found])
    elif not found:
        click.echo(f"row {row!r} of {project.name!r} has no task: it was never submitted", err=True)
    for task in () if as_json else found:
        records = [[name, json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)]
                   for name, value in export(task).items() if value not in (None, "", [], {})]  # fmt: skip
        print_table(f"{row}, take {task.take}, attempt {task.attempt}", ["field", "value"], records)
        if trouble := describe_trouble(task):
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
        "attempt": task.attempt,
        "model": task.request.MODEL,
        "state": str(task.state),
        "kind": str(task.kind) if task.kind else None,
        "reason": redact_text(task.reason) if task.reason else None,
        "note": redact_text(task.note),
        "settled": task.settled,
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
        "manifest": manifest_key(task_folder(task)) if task.state is TaskState.STORED else None,
        **moments,
    }


def _why(task: Task) -> str:
    return redact_text(task.reason or task.note)[:120]


@click.command()
@project_options
@click.option("--quick", is_flag=True, help="Compare sizes only; do not read the clips.")
@_json_option
def verify(home: Path | None, module: str, pipeline: str | None, *, quick: bool, as_json: bool) -> None:
    """Read the store, the ledger and the manifests, and name every disagreement. Exits with 1 if there is one."""
    enter_home(home)
    with open_project(module, pipeline) as project, Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("clips compared", total=None)
        result = verify_store(
            project.ledger,
            project.store,
            project.name,
            hash_bytes=not quick,
            progress=lambda done, total: bars.update(bar, completed=done, total=total),
        )
    if as_json:
        found = [{"row": d.row, "where": d.where, "message": d.message} for d in result.disagreements]
        print_json({"clips": result.clips, "files": result.files, "disagreements": found})
    else:
        if result.disagreements:
            records = [[d.row, d.where, d.message] for d in result.disagreements]
            print_table("Disagreements", ["row", "where", "what"], records)
        click.echo(f"{result.clips} stored clips, {result.files} files: {len(result.disagreements)} disagreements.")
    sys.exit(1 if result.disagreements else 0)
