"""`costs`: what was charged, what is at stake, and what was paid without a clip."""

import csv
import sys
from collections.abc import Iterator, Sequence

import click

from pixverse_dagster.cli.documents import Document, json_option, print_json
from pixverse_dagster.cli.output import dollars, print_table
from pixverse_dagster.cli.project import Project, ProjectChoice, project_options
from pixverse_dagster.cli.selection import since_option
from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.manifest import World
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.values import iso
from pixverse_dagster.reports.costs import BY, CostLine, check_by, read_costs, sum_lines
from pixverse_dagster.stages.balance import read_balances

_COLUMNS = ("world", "tasks", "charged_usd", "estimated_usd", "at_stake_usd", "spent_usd", "without_result_usd")
_MORE_COLUMNS = (
    "by_others_usd", "unpriced", "at_stake_unpriced", "without_result_unpriced", "presumed", "forgotten",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet program takes for the beginning of a formula, also behind white space."""


class CostLineDocument(Document):
    """What tasks cost that have the value `name` in common, in one world; of totals, all tasks of the world."""

    name: str
    world: World
    tasks: int
    charged_usd: float
    estimated_usd: float
    at_stake_usd: float
    spent_usd: float
    without_result_usd: float
    by_others_usd: float
    unpriced: int
    at_stake_unpriced: int
    without_result_unpriced: int
    presumed: int
    forgotten: int


class BalanceDocument(Document):
    """What a provider says is left at an account, and what this ledger counts as spent there, by all its pipelines.

    `amount` is null where it is not known, and then `problem` says why.
    """

    provider: str
    account: str
    amount: float | None
    unit: str
    read_at: str | None
    problem: str
    spent_usd: float


class CostsDocument(Document):
    """What was spent: `lines` are empty where nothing was asked for with --by, `pipeline` is null with --all.

    `balances` are empty but with --balance.
    """

    pipeline: str | None
    by: str | None
    since: str | None
    lines: list[CostLineDocument]
    totals: list[CostLineDocument]
    balances: list[BalanceDocument]


@click.command()
@click.option("--by", metavar="|".join(BY), default="", help="One line for each value. By label: label:campaign.")
@since_option
@click.option("--all", "everywhere", is_flag=True, help="Of every pipeline in the ledger, not only of this one.")
@click.option(
    "--balance", is_flag=True, help="Also what the providers that tell it say is left: asked now, by a free call."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: sums in full, one line for each value, no total.")
@project_options
@json_option(CostsDocument)
def costs(  # noqa: PLR0913 - one for each option
    choice: ProjectChoice,
    *,
    by: str,
    since: float | None,
    everywhere: bool,
    balance: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """What was spent: charged by the provider's figure, estimated, at stake; and paid without a clip.

    From the ledger alone; without --balance nothing is asked of a provider. A task counts for the day of its claim, in
    UTC, as it does for a budget. At stake is what submits of unknown outcome may have cost. What a simulator charged is
    nobody's money, and in lines of its own.
    """
    try:
        check_by(by)
    except PixverseError as error:
        raise click.UsageError(str(error)) from None
    if as_csv and (as_json or balance):
        raise click.UsageError("give one of --csv and --json, and --balance without --csv")
    with choice.open_kept() as project:
        lines = read_costs(project.ledger, None if everywhere else project.name, by, since or 0.0)
        name = "all pipelines" if everywhere else project.name
        balances = _find_balances(project) if balance else []
    totals = sum_lines(lines)
    if as_json:
        print_json(
            CostsDocument(
                pipeline=None if everywhere else name,
                by=by or None,
                since=None if since is None else iso(since),
                lines=[export_line(line) for line in lines] if by else [],
                totals=[export_line(line) for line in totals],
                balances=balances,
            )
        )
    elif as_csv:
        _print_csv(lines, by)
    else:
        _print(lines, totals, by, name, since)
        for words in _describe_balances(balances) if balance else ():
            click.echo(words)


def _find_balances(project: Project) -> list[BalanceDocument]:
    """What is left at the accounts, as far as their providers tell it now."""
    spent = {line.name: line.spent_usd for line in read_costs(project.ledger, None, "account")}
    with project.open() as session:
        found = read_balances(session, fresh=True)
    return [
        BalanceDocument(
            provider=one.provider,
            account=one.account,
            amount=one.amount,
            unit=one.unit,
            read_at=None if one.read_at is None else iso(one.read_at),
            problem=redact_text(one.problem),
            spent_usd=spent.get(one.account, 0.0),
        )
        for one in found
    ]


def _describe_balances(balances: Sequence[BalanceDocument]) -> Iterator[str]:
    """Balances in words. They are no part of the sums: others may use the account, and the ledger saw only its own."""
    for one in balances:
        unit = "USD" if one.unit == "usd" else one.unit
        left = "" if one.amount is None else f"{one.amount:,.10g} {unit} left, said {one.provider} at {one.read_at}"
        trouble = f"what is left is not known now: {one.problem}" if one.problem else ""
        said = "; ".join(filter(None, (left, trouble)))
        yield f"{one.account}: {said}. This ledger counts {dollars(one.spent_usd)} USD spent there; others may use it."
    if not balances:
        yield "No balance is known: none of the accounts is at a provider that tells it."


def export_line(line: CostLine) -> CostLineDocument:
    """A line for machines."""
    return CostLineDocument(**{name: getattr(line, name) for name in CostLineDocument.model_fields})


def describe_total(line: CostLine) -> str:
    """A total in words: what counts as spent comes first, and nothing that is not known counts as nothing."""
    whose = " at the simulator (nobody's money)" if line.world == "simulator" else ""
    priceless = line.unpriced - line.presumed
    more = f", and {_tasks(priceless)} whose price is not public and in no sum" if priceless else ""
    stake = f"{dollars(line.at_stake_usd)} at stake"
    if line.at_stake_unpriced:
        stake += f" plus {_tasks(line.at_stake_unpriced)} whose price is not public"
    if line.at_stake_usd or line.at_stake_unpriced:
        stake += ": nobody knows whether that was charged"
    charged = f"{dollars(line.charged_usd)} charged by the providers' own figures"
    said = f"{charged}, {dollars(line.estimated_usd)} estimated, {stake}."
    return f"{dollars(line.spent_usd)} USD spent{whose}{more}: {said}" + "".join(_remarks(line))


def _remarks(line: CostLine) -> Iterator[str]:
    if line.without_result_usd or line.without_result_unpriced:
        more = f" and {_tasks(line.without_result_unpriced)} at unknown prices" if line.without_result_unpriced else ""
        yield (
            f" Of it, {dollars(line.without_result_usd)} USD{more} were paid, or perhaps paid, for tasks that brought "
            "no clip."
        )
    if line.by_others_usd:
        yield f" {dollars(line.by_others_usd)} USD of it were paid by another ledger, which counts them as well."
    if line.unpriced > line.presumed:
        yield " A line in the price book has later tasks counted."
    if line.presumed:
        yield f" Not in it: {_rows(line.presumed)} that a lost ledger may have paid for; nobody knows."
    if line.forgotten:
        yield (
            f" In it: {_tasks(line.forgotten)} whose clip was deleted on demand; with their words they may have lost "
            "their labels."
        )


def _tasks(count: int) -> str:
    return f"{count} {'task' if count == 1 else 'tasks'}"


def _rows(count: int) -> str:
    return f"{count} {'row' if count == 1 else 'rows'}"


def _print(lines: Sequence[CostLine], totals: Sequence[CostLine], by: str, name: str, since: float | None) -> None:
    if not totals:
        click.echo(f"Nothing was spent by {name}" + (f" since {iso(since)}." if since is not None else "."))
    for total in totals:
        mine = [line for line in lines if line.world == total.world]
        if by:
            title = f"Costs of {name} by {by}" + " (simulator)" * (total.world == "simulator")
            records = [_record(line.name or "(none)", line) for line in mine] + [_record("in all", total)]
            print_table(title, [by, "tasks", "charged", "estimated", "at stake", "spent", "no clip"], records)
        click.echo(describe_total(total))
    if since is not None and totals:
        click.echo(f"Of tasks that were claimed since {iso(since)}.")


def _record(name: str, line: CostLine) -> list[str]:
    """A line's cells. What nobody knows is never nothing: `+?` stands for tasks whose price is not public."""
    priceless = line.unpriced - line.presumed
    sums = (
        (line.charged_usd, 0),
        (line.estimated_usd, priceless - line.at_stake_unpriced),
        (line.at_stake_usd, line.at_stake_unpriced),
        (line.spent_usd, priceless),
        (line.without_result_usd, line.without_result_unpriced),
    )
    return [name, str(line.tasks), *(_cell(usd, unpriced) for usd, unpriced in sums)]


def _cell(usd: float, unpriced: int) -> str:
    known = dollars(usd) if usd or not unpriced else ""
    return f"{known}+?" if known and unpriced else known or "?"


def _print_csv(lines: Sequence[CostLine], by: str) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([by or "total", *_COLUMNS, *_MORE_COLUMNS])
    for line in lines:
        sums = (getattr(line, name) for name in (*_COLUMNS, *_MORE_COLUMNS))
        writer.writerow([cell(line.name), *(f"{one:.6f}" if isinstance(one, float) else str(one) for one in sums)])


def cell(text: str) -> str:
    """A text as a cell of a CSV file that no spreadsheet program takes for a formula."""
    text = redact_text(text)
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text
