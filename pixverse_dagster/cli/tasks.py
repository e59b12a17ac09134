"""`tasks list`: what was submitted, what became of it, and what waits."""

import time
from collections import Counter
from collections.abc import Sequence

import click

from pixverse_dagster.cli.documents import json_option, print_json
from pixverse_dagster.cli.everywhere import LedgerTaskDocument, list_everywhere
from pixverse_dagster.cli.export import TaskDocument, export
from pixverse_dagster.cli.lines import Line, RowDocument, export_row, read_lines
from pixverse_dagster.cli.output import dollars, print_table
from pixverse_dagster.cli.project import Project, ProjectChoice, project_options
from pixverse_dagster.cli.resolve import abandon_tasks, resolve_tasks, retry_tasks
from pixverse_dagster.cli.selection import Selection, selection_options
from pixverse_dagster.cli.story import show_task
from pixverse_dagster.cli.watch import watch
from pixverse_dagster.core.ages import describe_age
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.row_state import RowState
from pixverse_dagster.core.task import task_cost
from pixverse_dagster.policy.advice import OTHERWISE

_COLUMNS = ["row", "state", "age", "verdict"]
_WIDE = ["row", "state", "age", "model", "account", "take", "attempt", "usd", "task id", "labels", "verdict"]


@click.group()
def tasks() -> None:
    """Look at tasks: what was submitted, what became of it, what a person can do."""


@tasks.command("list")
@selection_options
@click.option("--wide", is_flag=True, help="Also models, accounts, attempts, prices, labels and the providers' ids.")
@click.option(
    "--watch",
    "watched",
    is_flag=True,
    help="How many rows stand how, and since when; slots in use, the next poll and what was spent today: shown anew "
    "until Ctrl-C, and once where the output is no terminal.",
)
@click.option(
    "--all",
    "everywhere",
    is_flag=True,
    help="What is open or of unknown outcome, of every pipeline in the ledger, also of those that the project has not.",
)
@project_options
@json_option(list[LedgerTaskDocument] | list[TaskDocument | RowDocument])
def list_tasks(
    choice: ProjectChoice, *, selection: Selection, wide: bool, watched: bool, everywhere: bool, as_json: bool
) -> None:
    """Every task of the pipeline, the oldest first, then the rows that wait for their turn.

    How each stands, since when, and what that means for the money. Rows that nobody asked for yet are listed with
    --state new, rows that cannot be generated with --state invalid. With --json, tasks only, unless --state asks for
    rows without one.
    """
    if everywhere:
        states = [TaskState(word) for word in selection.states if word in {*TaskState}]
        list_everywhere(choice, states, as_json=as_json)
        return
    if watched and (selection or wide or as_json):
        raise click.UsageError("--watch is about the whole pipeline: give it without the options that choose rows")
    with choice.open_kept() as project:
        if watched:
            watch(project)
            return
        lines = read_lines(project, selection)
        advice = _advise(project, lines)
    if as_json:
        shown = lines if selection.states else [line for line in lines if line.task]
        print_json([export(line.task) if line.task else export_row(line) for line in shown])
        return
    _print(project.name, lines, wide=wide)
    for words in advice:
        click.echo(words)


def _print(name: str, lines: Sequence[Line], *, wide: bool) -> None:
    now = time.time()
    records = [
        [
            line.row,
            line.state,
            describe_age(now - line.since) if line.since else "",
            *(_details(line) if wide else []),
            line.verdict,
        ]
        for line in lines
    ]
    print_table(f"Tasks of {name}", _WIDE if wide else _COLUMNS, records)


def _details(line: Line) -> list[str]:
    labels = ", ".join(f"{key}={value}" for key, value in line.labels.items())
    if (task := line.task) is None:
        return [line.model, "", "", "", "", "", labels]
    usd = dollars(task_cost(task).usd)
    return [line.model, task.account, str(task.take), str(task.attempt or ""), usd, task.task_id or "", labels]


def _advise(project: Project, lines: Sequence[Line]) -> list[str]:
    """How many there are of each, and the commands for what needs a person."""
    present = [line for line in lines if not line.past]
    counts = Counter(line.state for line in present)
    said = ", ".join(f"{counts[state]} {state}" for state in [*map(str, RowState), "invalid"] if counts[state])
    earlier = len(lines) - len(present)
    found = [f"{said or 'Nothing'}" + (f"; and {earlier} of earlier attempts and requests" if earlier else "") + "."]
    commands = project.commands
    if count := counts[RowState.FAILED]:
        retry = commands.render("tasks", "retry", "--state", "failed")
        found.append(f"{count} failed. To pay for another attempt of all, with the price and a question first: {retry}")
    if count := counts[RowState.UNKNOWN]:
        resolve = commands.tasks("resolve", "ROW", "--adopt", "TASK_ID")
        found.append(
            f"{count} were perhaps paid for, and nobody knows. They are never sent again: look for each in its "
            f"provider's console, then: {resolve} {OTHERWISE}"
        )
    if lines:
        found.append(f"The story of one row, and what to do with it: {commands.render('tasks', 'show', 'ROW')}")
    return found


tasks.add_command(show_task)
tasks.add_command(resolve_tasks)
tasks.add_command(abandon_tasks)
tasks.add_command(retry_tasks)
