"""`read`: what a table would be read as. No project, no ledger, no Dagster: the command that one tries first."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click

from pixverse_dagster.cli.documents import Document, json_option, print_json
from pixverse_dagster.cli.output import dollars, print_table
from pixverse_dagster.core.errors import redacted_errors
from pixverse_dagster.core.manifest import Difference
from pixverse_dagster.policy.differences import describe_differences, seen
from pixverse_dagster.policy.prices import estimate_usd
from pixverse_dagster.stages.drafts import ReadDrafts, read_drafts
from pixverse_dagster.tables import FileTable
from pixverse_dagster.tables.notes import FileSettings
from pixverse_dagster.tables.parse import Draft
from pixverse_dagster.tables.rules import RESERVED, TableRules, parameter_names

_SHOWN = 20


class ReadRow(Document):
    """A row that can be generated, as it would be asked for."""

    id: str
    line: int
    take: int
    labels: dict[str, str]
    model: str
    differences: list[Difference]
    request: dict[str, Any]
    cost_usd: float | None


class ReadProblem(Document):
    """What is wrong with a cell, a row or the table."""

    line: int
    row: str
    column: str
    message: str


class ReadTotals(Document):
    """How many rows can be generated, and how many cannot."""

    rows: int
    invalid_rows: int
    models: dict[str, int]


class ReadDocument(Document):
    """What a table would be read as."""

    rows: list[ReadRow]
    problems: list[ReadProblem]
    columns: dict[str, str]
    facts: dict[str, str]
    remarks: list[str]
    totals: ReadTotals


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("file")
@click.option(
    "--columns", multiple=True, metavar="NAME=COLUMN", help="Your own column names: `--columns prompt=Description`."
)
@click.option("--labels", multiple=True, metavar="COLUMN", help='Columns that describe only; "*" for all others.')
@click.option("--model", default="runware/pixverse-v4.5", show_default=True, help="For rows that name none.")
@click.option("--format", "kind", help="csv, json, xlsx …, where the name of the file does not say it.")
@click.option("--sheet", help="Sheet of a workbook, by name or number.")
@click.option("--range", "box", help="Where the table is on its sheet: B3:F40.")
@click.option("--on-unsupported", type=click.Choice(["refuse", "drop"]), default="refuse", show_default=True,
              help="What becomes of what a row's model does not take.")  # fmt: skip
@click.option("--rounding", type=click.Choice(["refuse", "nearest"]), default="refuse", show_default=True,
              help="What becomes of a duration or resolution that a model does not have.")  # fmt: skip
@json_option(ReadDocument)
def read(
    file: str,
    columns: Sequence[str],
    labels: Sequence[str],
    model: str,
    *,
    as_json: bool,
    **found: Any,
) -> None:
    """What FILE, a path or URL, would be read as: rows, columns, problems, cost. Sends and keeps nothing.

    Images are not looked at. Exits with 1 if some rows cannot be generated.
    """
    with redacted_errors():
        mapping = _mapping(columns)
        wanted = frozenset({"id", "prompt", *mapping.values()})
        table = FileTable(file, settings=FileSettings(found["kind"], found["sheet"], found["box"], wanted))
        named = [part for given in labels for part in _split(given)]
        rules = TableRules({"model": model}, named, mapping, found["on_unsupported"], found["rounding"])
        done = read_drafts(table, rules)
        if as_json:
            print_json(_as_json(done))
        else:
            _print(table.describe(), done)
    sys.exit(1 if done.problems else 0)


def _split(given: str) -> list[str]:
    return [part.strip() for part in given.split(",") if part.strip()]


def _mapping(given: Sequence[str]) -> dict[str, str]:
    """`prompt=Description`, once for each or with commas between them."""
    found: dict[str, str] = {}
    for text in given:
        parts = text.split(",") if all("=" in part for part in text.split(",")) else [text]
        for part in parts:
            name, equals, column = part.partition("=")
            if not equals or not name.strip() or not column.strip():
                raise click.BadParameter(
                    f"{part!r}: write NAME=COLUMN, such as prompt=Description", param_hint="--columns"
                )
            found[name.strip()] = column.strip()
    return found


def _meanings(done: ReadDrafts) -> Mapping[str, str]:
    """What each column of the table is here."""
    labels, known = set(done.arranged.rules.labels), {*RESERVED, *parameter_names()}
    meanings: dict[str, str] = {}
    for column, names in done.arranged.names.items():
        said = ["label" if name in labels else name if name in known else "" for name in names]
        meanings[column] = ", ".join(filter(None, said)) or ("left out" if not names else "not known")
    return meanings


def _bad_rows(done: ReadDrafts) -> int:
    return len({problem.place for problem in done.problems})


def _print(name: str, done: ReadDrafts) -> None:
    facts = ", ".join(f"{what} {fact}" for what, fact in done.notes.facts.items())
    click.echo(f"{name}{f' ({facts})' if facts else ''}")
    print_table("Columns", ["column", "is"], [list(pair) for pair in _meanings(done).items()])
    if done.problems:
        shown = [[str(p.line), p.row, p.column, p.message] for p in done.problems[:_SHOWN]]
        print_table("Problems", ["line", "row", "column", "what is wrong"], shown)
    if len(done.problems) > _SHOWN:
        click.echo(f"… and {len(done.problems) - _SHOWN} more; --json has all of them.")
    changed = [[d.id, d.request.MODEL, said] for d in done.drafts if (said := describe_differences(d.differences))]
    if changed:
        print_table("Not as the table has it", ["row", "model", "what"], changed[:_SHOWN])
    if len(changed) > _SHOWN:
        click.echo(f"… and {len(changed) - _SHOWN} more; --json has all of them.")
    for remark in done.remarks:
        click.echo(f"Note: {remark}.")
    bad = _bad_rows(done)
    cost = f" {_cost(done.drafts)}" if done.drafts else ""
    click.echo(f"{_rows(len(done.drafts))} can be generated, {_rows(bad)} cannot.{cost}")


def _rows(count: int) -> str:
    return f"{count} {'row' if count == 1 else 'rows'}"


def _cost(drafts: Sequence[Draft]) -> str:
    """What all rows would cost, by the prices that providers publish."""
    prices = [estimate_usd(draft.request) for draft in drafts]
    known = [price for price in prices if price is not None]
    unknown = len(prices) - len(known)
    parts = [f"about {sum(known):.3f} USD"] * bool(known or not unknown)
    parts += [f"{_rows(unknown)} whose price is not public"] * bool(unknown)
    dearest = max(
        zip(known, (d.id for d, p in zip(drafts, prices, strict=True) if p is not None), strict=True), default=None
    )
    more = f" The dearest: {dearest[1]!r}, {dollars(dearest[0])} USD." if dearest and dearest[0] > min(known) else ""
    return f"Submitting all of them would cost {' plus '.join(parts)}.{more}"


def _as_json(done: ReadDrafts) -> ReadDocument:
    models = Counter(draft.request.MODEL for draft in done.drafts)
    rows = [
        ReadRow(
            id=draft.id,
            line=draft.raw.line,
            take=draft.take,
            labels=dict(draft.labels),
            model=draft.request.MODEL,
            differences=list(seen(draft.differences)),
            request=draft.request.model_dump(mode="json", exclude_none=True),
            cost_usd=estimate_usd(draft.request),
        )
        for draft in done.drafts
    ]
    return ReadDocument(
        rows=rows,
        problems=[
            ReadProblem(line=one.line, row=one.row, column=one.column, message=one.message) for one in done.problems
        ],
        columns=dict(_meanings(done)),
        facts=dict(done.notes.facts),
        remarks=list(done.remarks),
        totals=ReadTotals(rows=len(done.drafts), invalid_rows=_bad_rows(done), models=dict(models)),
    )
