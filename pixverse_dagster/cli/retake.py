"""`clips retake`: another take of every row whose clip was rejected in the gallery."""

import sys

import click

from pixverse_dagster.cli.documents import Document, json_option, print_json
from pixverse_dagster.cli.output import dollars, print_table
from pixverse_dagster.cli.plan import open_store, say_not_asked
from pixverse_dagster.cli.project import Project, ProjectChoice, project_options
from pixverse_dagster.core.mark import Choice
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.orchestration.events.prompts import report_changes
from pixverse_dagster.policy.plan import Plan
from pixverse_dagster.stages.marks import MarksReading, read_marks
from pixverse_dagster.stages.retake import RetakePlan, ask_for_retakes, plan_retakes
from pixverse_dagster.stages.session import Session

_REASON = "its clip was rejected, and another take was asked for by hand"
_SHOWN = 20


class RetakenRow(Document):
    """A row that gets, or would get, another take."""

    row: str
    model: str
    take: int
    cost_usd: float | None
    note: str


class LeftOut(Document):
    """A rejected row that gets none, and why."""

    row: str
    why: str


class NotJoined(Document):
    """A line of the marks that is of no clip."""

    line: int
    row: str
    why: str


class RetakeDocument(Document):
    """What another take of every rejected row would cost, and the rows for which it was asked."""

    rows: list[RetakenRow]
    left_out: list[LeftOut]
    not_joined: list[NotJoined]
    cost_usd: float | None
    unpriced_rows: int
    asked: list[str]


@click.command("retake")
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--yes", is_flag=True, help="Do not ask.")
@project_options
@json_option(RetakeDocument)
def retake_rejected(file: str | None, choice: ProjectChoice, *, yes: bool, as_json: bool) -> None:
    """Ask for one more take of every row whose clip is rejected. Says what it costs, and asks first.

    FILE is the table of marks that the gallery exports, or what a spreadsheet program made of it; without it, the one
    that the pipeline is configured with. The rows are queued: a sensor submits them, and the budget holds. A row is
    left out if another of its clips is picked, or if it asks for something newer already: run again, the same marks ask
    for nothing. With --json nothing is asked for unless --yes is given as well.
    Exits with 1 if a rejected row cannot have another take now.
    """
    with choice.open() as project, project.open() as session:
        source = file or session.options.marks
        if source is None:
            raise click.UsageError("give the table of marks that the gallery exports: clips retake picks.csv")
        reading = read_marks(session, source)
        made = plan_retakes(session, open_store(project), reading.marks)
        if made.problem:
            say_not_asked(made.problem)
        if not as_json:
            _show(project, reading, made)
        asked: list[str] = []
        if made.rows and (yes or not (as_json or not _confirm(made))):
            asked = _ask(project, session, made)
        if as_json:
            print_json(_document(reading, made, asked))
        elif asked:
            click.echo(_describe(project, session, made, asked))
    sys.exit(1 if any(line.row in made.left for line in made.plan.lines) else 0)


def _confirm(made: RetakePlan) -> bool:
    count = len(made.rows)
    what = "1 more take" if count == 1 else f"one more take of {count} rows"
    return click.confirm(f"Ask for {what}, for {made.plan.cost_text}? What was paid before stays spent", abort=True)


def _ask(project: Project, session: Session, made: RetakePlan) -> list[str]:
    asked = ask_for_retakes(session, made, _REASON)
    instance = project.instance
    report_changes(session, dict.fromkeys(asked, ("take",)), (), instance, instance.report_runless_asset_event)
    return asked


def _show(project: Project, reading: MarksReading, made: RetakePlan) -> None:
    takes = {row.id: row.take + 1 for row in made.rows}
    records = [
        [line.row, line.model, str(takes[line.row]), dollars(line.cost_usd), line.note]
        for line in made.plan.lines
        if line.row in takes
    ]
    counts = reading.counts
    click.echo(f"{counts[Choice.PICK]} clips are picked, {counts[Choice.REJECT]} rejected.")
    if records:
        print_table(f"Another take for {project.name}", ["row", "model", "take", "usd", "note"], records)
    else:
        click.echo("No row gets another take: nothing is asked for, and nothing is spent.")
    lines = [f"left out: row {row!r}: {why}" for row, why in made.left.items()]
    lines += [f"not joined: {problem}" for problem in reading.problems]
    for line in lines[:_SHOWN]:
        click.echo(redact_text(line), err=True)
    if len(lines) > _SHOWN:
        click.echo(f"… and {len(lines) - _SHOWN} more; --json has all of them", err=True)


def _describe(project: Project, session: Session, made: RetakePlan, asked: list[str]) -> str:
    name = project.name
    cost = Plan(tuple(line for line in made.plan.lines if line.row in asked)).cost_text
    rest = len(made.rows) - len(asked)
    changed = f" {rest} were changed by somebody else at the same moment, and are as they were." if rest else ""
    stopped = session.ledger.pauses.applying(name, [client.account for client in session.clients.values()])
    paused = "".join(f" {one}: nothing is submitted until it is resumed." for one in dict.fromkeys(stopped.values()))
    return (
        f"{len(asked)} rows were asked for, for {cost}.{changed} The {name}_continue sensor submits them "
        f"at its next tick, or a run of {name}_submit. To take one back: {project.commands.tasks('abandon', asked[0])}"
        + paused
    )


def _document(reading: MarksReading, made: RetakePlan, asked: list[str]) -> RetakeDocument:
    takes = {row.id: row.take + 1 for row in made.rows}
    lines = [line for line in made.plan.lines if line.row in takes]
    return RetakeDocument(
        rows=[
            RetakenRow(row=one.row, model=one.model, take=takes[one.row], cost_usd=one.cost_usd, note=one.note)
            for one in lines
        ],
        left_out=[LeftOut(row=row, why=why) for row, why in made.left.items()],
        not_joined=[NotJoined(line=one.line, row=one.row, why=one.message) for one in reading.problems],
        cost_usd=made.plan.known_cost_usd,
        unpriced_rows=made.plan.unpriced,
        asked=asked,
    )
