"""What the demo says in the end: a table, or a document."""

from pathlib import Path
from typing import Any, Literal

import click

from pixverse_dagster.cli.documents import Document, print_json
from pixverse_dagster.cli.output import print_table
from pixverse_dagster.cli.project import Project
from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.layout import gallery_prefix, task_folder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.task import Task
from pixverse_dagster.reports.gallery.app import PAGE
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.reading import read_manifest


class DemoClip(Document):
    """A row, and its first clip if it has one; `where` is the clip's place, or why there is none."""

    row: str
    model: str
    state: TaskState | Literal["not submitted"]
    seconds: float | None
    bytes: int | None
    where: str


class DemoDocument(Document):
    """What became of the rows, and what the simulator charged for them in all."""

    clips: list[DemoClip]
    charged_tasks: int
    charged_usd: float
    dagster_runs: int
    gallery: str


def find_gallery(project: Project) -> str:
    """The path of the page of the clips; empty if it could not be written."""
    store, name = project.store, project.name
    return store.uri(f"{gallery_prefix(name)}{PAGE}") if store.pages(name).read(PAGE) else ""


def report(project: Project, charged: list[dict[str, Any]], runs: int, *, as_json: bool) -> int:
    """Print what became of the rows; returns how many have no clip."""
    gallery = find_gallery(project)
    store = project.store
    tasks = project.ledger.tasks.current(project.name)
    rows = project.ledger.rows.find(project.name)
    records = [_clip_record(store, row, rows[row].request.MODEL, tasks.get(row)) for row in rows]
    stored = sum(record.state == TaskState.STORED for record in records)
    usd = sum(task["charged_usd"] for task in charged)
    if as_json:
        print_json(
            DemoDocument(
                clips=records,
                charged_tasks=len(charged),
                charged_usd=round(usd, 3),
                dagster_runs=runs,
                gallery=gallery,
            )
        )
    else:
        columns = ["row", "model", "state", "seconds", "size", "where"]
        print_table(
            f"{project.name}: {stored} of {len(records)} rows stored",
            columns,
            [
                [one.row, one.model, str(one.state), str(one.seconds or ""), _size(one.bytes), _short(one.where)]
                for one in records
            ],
        )
        money = (
            f"the simulator charged {len(charged)} tasks, {usd:.2f} make-believe USD"
            if charged
            else "nothing was charged"
        )
        click.echo(f"{runs} Dagster runs; {money}.")
        commands = project.commands
        only_home = CommandLine(home=commands.home, program=commands.program)
        if gallery:
            click.echo(f"Look at the clips:      {gallery}  (opens by a double click)")
        click.echo(f"Look at it in Dagster:  {only_home.render('dev')}")
        click.echo(f"Check it:               {commands.render('verify')}")
    return len(records) - stored


def _size(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes / 1000:,.0f} kB"


def _short(text: str) -> str:
    """A path below this folder without the folder."""
    return text.removeprefix(f"{Path.cwd()}/")


def _clip_record(store: ClipStore, row: str, model: str, task: Task | None) -> DemoClip:
    state = task.state if task else "not submitted"
    if task is None or task.state is not TaskState.STORED:
        where = f"{task.kind or ''} {task.reason or task.note}".strip() if task else ""
        return DemoClip(row=row, model=model, state=state, seconds=None, bytes=None, where=where)
    manifest = read_manifest(store, task_folder(task).manifest)
    first = manifest.outputs[0]
    more = f" (+{len(manifest.outputs) - 1})" if len(manifest.outputs) > 1 else ""
    return DemoClip(
        row=row,
        model=model,
        state=state,
        seconds=first.duration_seconds,
        bytes=sum(output.size_bytes for output in manifest.outputs),
        where=store.uri(first.key) + more,
    )
