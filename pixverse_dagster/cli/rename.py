"""`ledger rename`: a row or a pipeline gets another name, and nothing is paid for again."""

import re
import time
from dataclasses import replace

import click
import dagster as dg

from pixverse_dagster.cli.project import Project, ProjectChoice, project_options
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.renaming import Renaming
from pixverse_dagster.orchestration.events.found import report_found
from pixverse_dagster.orchestration.spec import PIPELINE_NAME
from pixverse_dagster.recovery.rename import rename
from pixverse_dagster.storage.reading import read_manifest
from pixverse_dagster.tables.ids import final_id
from pixverse_dagster.tables.keys import id_complaint


@click.command("rename")
@click.argument("new")
@click.option("--row", metavar="OLD", help="The row that gets the name NEW; else the pipeline of --pipeline does.")
@project_options
def rename_ledger(new: str, choice: ProjectChoice, *, row: str | None) -> None:
    """Give a pipeline (--pipeline OLD NEW) or one of its rows (--row OLD NEW) another name.

    Clips stay where they are: the ledger and the store's index of names say what they are called now, and nothing is
    paid for again. Works before and after the table, or the definitions, have the new name. Killed half way, it goes on
    when it is run again. Exits with 2 where it cannot be made.
    """
    if row is None and not choice.pipeline:
        raise click.UsageError("give --pipeline OLD and NEW to rename a pipeline, or --row OLD and NEW to rename a row")
    _check_name(new, is_row=row is not None)
    with choice.open() if row is not None else choice.open_either(choice.pipeline, new) as project:
        name = project.name if row is not None else choice.pipeline
        renaming = Renaming(name, new, row or "")
        tasks = rename(project.ledger, project.store, renaming, time.time())
        reported = _tell_dagster(project, renaming, tasks)
        partitions = f"{renaming.new_names['pipeline']}_rows"
    stored = sum(task.state is TaskState.STORED for task in tasks)
    where = f"the id in the table {row!r} → {new!r}" if row is not None else f"the pipeline's name {name!r} → {new!r}"
    click.echo(
        f"{renaming}: {stored} stored clips, {len(tasks)} tasks in all, are called so in the ledger and in the store. "
        f"Nothing was sent, and nothing is paid for again. Dagster was told of {reported} clips in {partitions}. If "
        f"that is not done yet, change {where} before it is read again: under the old name it would be new"
    )


def _check_name(new: str, *, is_row: bool) -> None:
    if not is_row:
        if not re.fullmatch(PIPELINE_NAME, new):
            raise click.UsageError(f"{new!r} is no name of a pipeline: use letters, digits and '_', at most 100")
        return
    complaint = id_complaint(new) or ("" if final_id(new) == new else f"would be read as {final_id(new)!r}")
    if complaint:
        raise click.UsageError(f"{new!r} is no row id: it {complaint}")


def _tell_dagster(project: Project, renaming: Renaming, tasks: list[Task]) -> int:
    """Report the clips under their new name; the old partitions go where the options remove partitions."""
    instance, store, pipeline = project.instance, project.store, renaming.new_names["pipeline"]
    clips = [
        (task, read_manifest(store, task_folder(task).manifest)) for task in tasks if task.state is TaskState.STORED
    ]
    with project.open() as session:
        named = replace(session, pipeline=replace(session.pipeline, name=pipeline))
        reported = report_found(instance, f"{pipeline}_rows", named, store, clips)
        keep = session.options.keep_removed_partitions
    old = [renaming.row] if renaming.row else sorted({task.row for task in tasks})
    partitions = f"{renaming.pipeline}_rows"
    known = set(instance.get_dynamic_partitions(partitions))
    for row in old if not keep else ():
        if row in known:
            instance.delete_dynamic_partition(partitions, row)
    if renaming.row and reported:
        words = f"renamed to {renaming.new!r}: its clips are there"
        event = dg.AssetObservation([renaming.pipeline, "clips"], partition=renaming.row, description=words)
        instance.report_runless_asset_event(event)
    return reported
