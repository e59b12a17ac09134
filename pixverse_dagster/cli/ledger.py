"""`ledger backup` and `ledger rebuild`: the record of what was paid for, copied, and made again."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import click

from pixverse_dagster.cli.documents import Document, json_option, print_json
from pixverse_dagster.cli.output import dollars, print_table
from pixverse_dagster.cli.project import Project, ProjectChoice, project_options
from pixverse_dagster.cli.rename import rename_ledger
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.backup import backup, dump_command, is_file
from pixverse_dagster.ledger.ledgers import Fate
from pixverse_dagster.orchestration.events.found import report_found
from pixverse_dagster.orchestration.events.tasks import judge_outcomes
from pixverse_dagster.policy.advice import describe_trouble
from pixverse_dagster.recovery.ledgers import Wish
from pixverse_dagster.recovery.rebuild import Outcome, Rebuilding, RebuildLine, rebuild


@click.group()
def ledger() -> None:
    """Look after the ledger, the record of what was paid for."""


ledger.add_command(rename_ledger)


@ledger.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@project_options
def backup_ledger(choice: ProjectChoice, file: Path) -> None:
    """Copy the ledger to a new FILE, while it is in use.

    Never overwrites. A ledger on PostgreSQL is not copied: the command that does it is printed, and the exit code is 2.
    """
    with choice.open() as project:
        url = project.ledger_url  # not opened: a ledger that is not there would be made, and copied empty
    if is_file(url):
        ledger_id = backup(url, file)
        click.echo(f"ledger {ledger_id} is in {file}, {file.stat().st_size} bytes")
        return
    click.echo(dump_command(url, file))
    click.echo(
        "Nothing was copied: this ledger is on PostgreSQL, and the command above copies it. It takes the password from "
        "~/.pgpass or PGPASSWORD",
        err=True,
    )
    sys.exit(2)


class RebuiltRow(Document):
    """What the rebuilding did, or would do, with a clip of the store or a row of the table."""

    row: str
    take: int | None
    attempt: int | None
    outcome: Outcome
    cost_usd: float | None
    note: str


class OtherLedger(Document):
    """The ledger that kept the store before, and what became of it."""

    id: str
    fate: Fate
    pipelines: list[str]


class RebuildDocument(Document):
    """What was made again, or would be: `totals` has a number for each outcome that there is."""

    dry_run: bool
    ledger: str
    other: OtherLedger | None
    rows: list[RebuiltRow]
    totals: dict[Outcome | Literal["cost_usd", "reported", "invalid_rows"], int | float]


@ledger.command("rebuild")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and write nothing.")
@click.option("--ledger", "ledger_id", metavar="ID", default="", help="Which ledger is meant, where there are several.")
@click.option("--beside", is_flag=True, help="The other ledger is in use elsewhere, and not lost.")
@click.option("--nothing-pending", is_flag=True, help="You looked: the lost ledger has nothing pending at a provider.")
@project_options
@json_option(RebuildDocument)
def rebuild_ledger(
    choice: ProjectChoice, *, dry_run: bool, ledger_id: str, beside: bool, nothing_pending: bool, as_json: bool
) -> None:
    """Make a lost ledger again from what the store holds. Pays for nothing, and is safe to repeat.

    Takes in every attempt with its cost, its take and its day, and what was deleted on demand, goes on under the lost
    ledger's id, and tells Dagster of clips that it has no event of. Rows without a clip may have been pending: they are
    asked about where the provider can tell, else they need a person, and until then nothing is sent for them. The same
    for a ledger that was restored from an older copy.
    Exits with 1 if something in the store could not be taken in.
    """
    if beside and nothing_pending:
        raise click.UsageError("give one of --beside (the other ledger is in use) and --nothing-pending (it is lost)")
    with choice.open() as project, project.open() as session:
        store = project.store
        done = rebuild(session, store, Wish(ledger_id, beside, nothing_pending), dry_run=dry_run)
        reported = 0
        if not dry_run:
            partitions = project.spec.partitions.name or ""
            reported = report_found(project.instance, partitions, session, store, done.clips)
            judged = judge_outcomes(session.ledger, project.name, project.commands)
            project.instance.report_runless_asset_event(judged)
        if as_json:
            print_json(_document(project, done, reported, dry_run=dry_run))
        else:
            _print(project, done, reported, dry_run=dry_run)
    sys.exit(1 if done.counts[Outcome.SKIPPED] else 0)


def _document(project: Project, done: Rebuilding, reported: int, *, dry_run: bool) -> RebuildDocument:
    other = done.other
    rows = [
        RebuiltRow(
            row=line.row,
            take=line.task.take if line.task else None,
            attempt=line.task.attempt if line.task else None,
            outcome=line.outcome,
            cost_usd=line.cost_usd,
            note=line.note,
        )
        for line in done.lines
    ]
    return RebuildDocument(
        dry_run=dry_run,
        ledger=project.ledger.id,
        other=OtherLedger(id=other.id, fate=other.fate, pipelines=list(other.others)) if other else None,
        rows=rows,
        totals={
            **dict(sorted(done.counts.items())),
            "cost_usd": _cost_usd(done.lines),
            "reported": reported,
            "invalid_rows": len({problem.place for problem in done.problems}),
        },
    )


def _print(project: Project, done: Rebuilding, reported: int, *, dry_run: bool) -> None:
    title = f"Rebuilding of {project.name}" + " (nothing is written)" * dry_run
    columns = ["row", "take", "attempt", "what", "usd", "note"]
    print_table(title, columns, [_cells(line) for line in done.lines])
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(done.counts.items())) or "nothing in the store"
    unpriced = sum(line.cost_usd is None for line in done.lines)
    more = f", and {unpriced} clips at prices that nobody publishes" if unpriced else ""
    click.echo(f"{counts}. What the store holds was paid for earlier: about {_cost_usd(done.lines):.3f} USD{more}.")
    if reported:
        click.echo(f"Dagster was told of {reported} clips.")
    for sentence in _advise(project, done, dry_run=dry_run):
        click.echo(redact_text(sentence))


def _cells(line: RebuildLine) -> list[str]:
    task = line.task
    numbers = [str(task.take), str(task.attempt or "")] if task else ["", ""]
    return [line.row, *numbers, str(line.outcome), dollars(line.cost_usd) if line.cost_usd != 0.0 else "", line.note]


def _cost_usd(lines: Iterable[RebuildLine]) -> float:
    return round(sum(line.cost_usd or 0.0 for line in lines), 6)


def _advise(project: Project, done: Rebuilding, *, dry_run: bool) -> Iterator[str]:
    """What became of the other ledger, and what a person has to do."""
    other, commands = done.other, project.commands
    will = "would" if dry_run else "will"
    if other and other.fate == "beside":
        yield f"Ledger {other.id} counts as one in use beside this one. What it has under way, this one cannot know."
    elif other:
        yield f"This ledger {'would go' if dry_run else 'goes'} on as ledger {other.id}."
        if other.others:
            yield (
                f"It kept other pipelines too: {', '.join(other.others)}. Nothing is paid for these until the same "
                "command was run with --pipeline for each."
            )
    unclear = [line.task for line in done.lines if line.outcome is Outcome.MAY_BE_PENDING and line.task]
    asked = sum(task.resolves_itself for task in unclear)
    if asked:
        yield f"{asked} rows may have been pending, and {will} be asked about by the poll sensor, which is free."
    if by_hand := [task for task in unclear if not task.resolves_itself]:
        yield f"{len(by_hand)} rows may have been pending at {_providers(by_hand)}, and need a person. The first: " + (
            describe_trouble(by_hand[0], commands)
        )
    if (bad := len({problem.place for problem in done.problems})) and unclear:
        yield (
            f"{bad} rows of the table are invalid now, and may have been pending as well: look for them "
            "in the console, too, before you mend them."
        )


def _providers(tasks: Iterable[Task]) -> str:
    return ", ".join(sorted({task.provider for task in tasks}))
