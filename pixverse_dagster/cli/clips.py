"""`clips forget`: deletes one row's clips because a person asked for it."""

import time

import click
import dagster as dg

from pixverse_dagster.cli.output import dollars
from pixverse_dagster.cli.project import Project, ProjectChoice, project_options
from pixverse_dagster.cli.retake import retake_rejected
from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Task, task_cost
from pixverse_dagster.core.values import iso
from pixverse_dagster.orchestration.events.forgotten import (
    deleted_event,
    forgotten_events,
    forgotten_version,
    kept_events,
    remaining_event,
    wipe_partition,
)
from pixverse_dagster.orchestration.events.log import reported_version
from pixverse_dagster.recovery.forget import ForgetPlan, Forgotten, forget_row, plan_forget
from pixverse_dagster.stages.collect import Collected
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.reading import read_bytes, read_manifest

_RUNS_SHOWN = 10


@click.group()
def clips() -> None:
    """Look after stored clips."""


clips.add_command(retake_rejected)


@clips.command("forget")
@click.argument("row")
@click.option("--take", type=click.IntRange(min=1), metavar="N", help="Only this take; all of them if not given.")
@click.option("--words", is_flag=True, help="Also take prompt, labels and image addresses out of the ledger.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@project_options
def forget(row: str, choice: ProjectChoice, *, take: int | None, words: bool, yes: bool) -> None:
    """Delete one row's clips for good: videos, posters, manifests, and images that nothing else was made from.

    A tombstone without words stays in their place, so that the row is neither shown nor paid for again; what it cost
    stays spent. Asks first, and says what it cannot reach. Killed or failed half way, it goes on when it is run again.
    Exits with 2 if the row has nothing to delete, with 1 if something of it is left or still to come.
    """
    with choice.open() as project:
        store = project.store
        plan = plan_forget(project.ledger, store, project.name, row, take)
        _check(project, plan, words=words)
        if not yes:
            click.confirm(_question(plan, words=words), abort=True)
        now = time.time()
        done = forget_row(project.ledger, store, plan, f"by hand, {iso(now)}: forgotten", now)
        _tell_dagster(project, store, plan, done, now)
        click.echo(_describe(project, plan, done))
        if not done.failed and words:
            in_table = project.ledger.forget_words(project.name, row, take)
            click.echo(_describe_words(project, row, in_table=in_table))
        for line in _describe_rest(project, plan, done):
            click.echo(line)
    if done.failed:
        names = "; ".join(f"{store.uri(key)} ({why})" for key, why in done.failed.items())
        again = _again(project.commands, plan, words=words)
        raise click.ClickException(f"{len(done.failed)} files are still there: {names}. To go on: {again}")
    if plan.left:
        raise click.ClickException(f"not all of row {row!r} is this ledger's: {redact_text('; '.join(plan.left))}")


def _check(project: Project, plan: ForgetPlan, *, words: bool) -> None:
    """Raise where nothing can be deleted: nothing is there, or something is still to come."""
    commands, row = project.commands, plan.row
    if plan.pending:
        task = plan.pending[0]
        raise click.ClickException(f"row {row!r} is {task.state}: {_describe_pending(task, commands)}")
    waits = any(entry.row == row for entry in project.ledger.queue.find(project.name))
    if waits and plan.take is None:
        withdraw = commands.tasks("abandon", row)
        raise click.ClickException(
            f"row {row!r} waits to be submitted: a clip of it would be paid for after the others were deleted. Nothing "
            f"was deleted. Withdraw it first: {withdraw}"
        )
    known = plan.tasks or (words and project.ledger.rows.find(project.name, [row]))
    if plan.clips or plan.files or plan.images or any(task.state is TaskState.FORGOTTEN for task in plan.tasks):
        return
    if not (words and known):
        which = f"take {plan.take} of row {row!r}" if plan.take else f"row {row!r}"
        rest = f": {redact_text('; '.join(plan.left))}" if plan.left else ""
        raise click.UsageError(f"{which} of {project.name!r} has no clip that this ledger knows{rest}")


def _describe_pending(task: Task, commands: CommandLine) -> str:
    nothing = "Nothing was deleted"
    if task.state is TaskState.UNKNOWN:
        resolve = commands.tasks("resolve", task.row, "--abandon")
        return f"it may have been paid for, and its clip may still come. {nothing}. Give it up first: {resolve}"
    if task.state is TaskState.CLAIMED:
        return f"it is being sent at this moment. {nothing}; run this again when it is stored"
    abandon = commands.tasks("abandon", task.row)
    words = "it is paid for, and its clip is about to be stored"
    if task.state is TaskState.SUCCEEDED:
        return f"{words}. {nothing}; run this again when it is"
    return f"{words}. {nothing}; run this again when it is, or give it up first, what it cost stays spent: {abandon}"


def _question(plan: ForgetPlan, *, words: bool) -> str:
    takes = sorted({task.take for task in plan.tasks if _is_clip(task)})
    which = f"take{'s' * (len(takes) > 1)} {', '.join(map(str, takes))}" if takes else "no clip"
    images = f" and {len(plan.images)} input images" if plan.images else ""
    more = ", and its words in the ledger" if words else ""
    return (
        f"Delete {which} of row {plan.row!r} of {plan.pipeline!r} ({len(plan.files)} files{images}){more}? "
        "They cannot be had back but by paying again"
    )


def _is_clip(task: Task) -> bool:
    return task.state in {TaskState.STORED, TaskState.FORGOTTEN}


def _tell_dagster(project: Project, store: ClipStore, plan: ForgetPlan, done: Forgotten, now: float) -> None:
    """Tell Dagster, unless it knows already: from an earlier run of the same command."""
    forgotten = [task for task in done.tasks if task.state is TaskState.FORGOTTEN]
    if not forgotten:
        return
    instance, name, row = project.instance, project.name, plan.row
    newest = project.ledger.tasks.newest_stored(name, [row]).get(row)
    manifest = read_manifest(store, task_folder(newest).manifest) if newest else None
    shown = manifest.outputs[0].sha256 if manifest else forgotten_version(forgotten[-1])
    if not plan.clips and reported_version(instance, dg.AssetKey([name, "clips"]), row) == shown:
        return
    wiped = wipe_partition(instance, name, row)
    for event in forgotten_events(forgotten):
        instance.report_runless_asset_event(event)
    if newest and manifest:
        poster = read_bytes(store, manifest.outputs[0].poster_key)
        options, clip = project.spec.pipeline.options, Collected(newest, manifest, poster)
        if event := remaining_event(instance, store, clip, now, options):
            instance.report_runless_asset_event(event)
    elif not wiped:
        instance.report_runless_asset_event(deleted_event(instance, forgotten[-1]))


def _describe(project: Project, plan: ForgetPlan, done: Forgotten) -> str:
    forgotten = [task for task in done.tasks if task.state is TaskState.FORGOTTEN]
    if not forgotten:
        return f"row {plan.row!r}: it has no clip; {len(done.deleted)} files of it were deleted."
    takes = ", ".join(map(str, sorted({task.take for task in forgotten})))
    costs = [task_cost(task).usd for task in forgotten]
    cost = dollars(None if None in costs else sum(filter(None, costs)))
    another = project.commands.tasks("retry", plan.row, "--take")
    return (
        f"row {plan.row!r}, take {takes}: forgotten, {len(done.deleted)} files deleted. It is not shown and not paid "
        f"for again; what it cost ({cost} USD) stays spent. For another clip of it: {another}"
    )


def _describe_words(project: Project, row: str, *, in_table: bool) -> str:
    said = (
        "Its words are out of the ledger; digests, which tell nothing, stay. Copies of the ledger (`ledger backup`) "
        "and what the provider keeps are as they were."
    )
    if not in_table:
        return said
    return (
        f"{said} Row {row!r} was in the prompt table as it was last read: the next reading brings its words back. Take "
        f"it out of {project.spec.pipeline.table.describe()} first, and then run this again"
    )


def _describe_rest(project: Project, plan: ForgetPlan, done: Forgotten) -> list[str]:
    lines: list[str] = []
    if done.keeps_versions:
        lines.append(
            "The bucket has versions, and keeps the earlier ones of what was deleted, until they are deleted as well "
            "or its lifecycle rule does it."
        )
    kept = kept_events(project.instance, project.name, plan.row)
    if kept.events:
        more = len(kept.runs) - _RUNS_SHOWN
        runs = ", ".join(kept.runs[:_RUNS_SHOWN]) + (f" and {more} more" if more > 0 else "")
        lines.append(
            f"Dagster keeps {kept.events} earlier events of partition {plan.row!r}, with its prompt, its labels, its "
            "manifest and a small poster: its event log deletes only whole runs, with all that they say of other rows. "
            f"To do that, `dagster run delete` for each of: {runs}."
        )
    return lines


def _again(commands: CommandLine, plan: ForgetPlan, *, words: bool) -> str:
    take = ["--take", str(plan.take)] if plan.take else []
    return commands.render("clips", "forget", *take, *(["--words"] if words else []), row=plan.row)
