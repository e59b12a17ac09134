"""`plan`: what a submission would do and cost."""

import sys
from collections.abc import Sequence
from typing import Literal

import click

from pixverse_dagster.cli.documents import Document, json_option, print_json
from pixverse_dagster.cli.output import dollars, print_table
from pixverse_dagster.cli.project import Project, ProjectChoice, project_options
from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.manifest import Difference
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.text import shorten
from pixverse_dagster.policy.plan import Plan, Verdict
from pixverse_dagster.stages.plan import plan_with_store
from pixverse_dagster.stages.read import read_table
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.tables import AssetTable


class PlannedRow(Document):
    """What a submission would do with a row; `cost_usd` is null where no price is known."""

    row: str
    model: str
    verdict: Verdict
    cost_usd: float | None
    pixels: str
    pixels_note: str
    note: str
    differences: list[Difference]


class PlanDocument(Document):
    """What a submission would do and cost."""

    rows: list[PlannedRow]
    totals: dict[Verdict | Literal["cost_usd", "unpriced_rows"], int | float | None]


@click.command()
@project_options
@json_option(PlanDocument)
def plan(choice: ProjectChoice, *, as_json: bool) -> None:
    """What a submission would do, per row and in sum, and what it would cost. Sends nothing.

    Exits with 1 if some rows are invalid.
    """
    with choice.open() as project, project.open() as session:
        store = open_store(project)
        if isinstance(session.pipeline.table, AssetTable):
            # Only a run is handed the asset's value: the plan is for the rows as they were last read.
            rows, problems = session.ledger.rows.find(project.name).values(), session.ledger.rows.problems(project.name)
            remarks: Sequence[str] = ()
        else:
            reading = read_table(session)
            rows, problems, remarks = reading.rows, reading.problems, reading.remarks
        made, view = plan_with_store(session, store, rows, problems)
        if view.problem:
            say_not_asked(view.problem)
        accounts = [client.account for client in session.clients.values()]
        stopped = session.ledger.pauses.applying(project.name, accounts).values()
        paused = [f"{one}: nothing is submitted until it is resumed." for one in dict.fromkeys(stopped)]
    if as_json:
        print_json(_document(made))
    else:
        records = [[p.row, p.model, str(p.verdict), dollars(p.cost_usd), str(p.size or ""), p.note] for p in made.lines]
        print_table(f"Plan for {project.name}", ["row", "model", "verdict", "usd", "pixels", "note"], records)
        for why in dict.fromkeys(p.size.note for p in made.lines if p.size and p.size.note):
            click.echo(f"Pixels that are not certain: {why}.")
        click.echo(describe_plan(made))
        for line in (*(f"Note: {remark}." for remark in remarks), *paused):
            click.echo(line)
    sys.exit(1 if made.counts[Verdict.INVALID] else 0)


def open_store(project: Project) -> ClipStore | None:
    """The store; None if it cannot be opened now, which is said."""
    try:
        return project.store
    except PixverseError:
        raise
    except Exception as error:  # noqa: BLE001 - a store's own errors have no common base
        why = shorten(redact_text(f"{type(error).__name__}: {error}"), 300)
        say_not_asked(f"the store could not be opened ({why})")
        return None


def say_not_asked(why: str) -> None:
    """Say that the store could not be asked."""
    click.echo(f"{why}. The plan is made without it: what it may hold is shown as new.", err=True)


def describe_plan(made: Plan) -> str:
    """A plan's sums in one line."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(made.counts.items())) or "no rows"
    return f"{counts}. Submitting now would cost {made.cost_text}."


def _document(made: Plan) -> PlanDocument:
    rows = [
        PlannedRow(
            row=line.row,
            model=line.model,
            verdict=line.verdict,
            cost_usd=line.cost_usd,
            pixels=str(line.size or ""),
            pixels_note=line.size.note if line.size else "",
            note=line.note,
            differences=list(line.differences),
        )
        for line in made.lines
    ]
    counts = {verdict: made.counts[verdict] for verdict in Verdict}
    return PlanDocument(rows=rows, totals={**counts, "cost_usd": made.known_cost_usd, "unpriced_rows": made.unpriced})
