"""One decision about many rows: what it would do and cost, a question, and then each row by itself."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click

from pixverse_dagster.cli.output import dollars, print_table
from pixverse_dagster.core.redaction import redact_text

_SHOWN = 20
yes_option = click.option("--yes", is_flag=True, help="Of many rows: do not ask. Needed where nobody can answer.")


@dataclass(frozen=True)
class Target:
    """A row that the decision is about: how it stands, what money it is about, and what does it and says what it did.

    `usd` is None where nobody knows the price.
    """

    row: str
    state: str
    usd: float | None
    note: str
    act: Callable[[], str]


@dataclass(frozen=True)
class Decision:
    """What is to be done with rows: the title of the table, the question, and the rows that are left out, and why."""

    title: str
    question: str
    targets: Sequence[Target]
    left_out: Sequence[str] = ()


def carry_out(decision: Decision, again: str, *, yes: bool) -> int:
    """Show what would be done, ask, and do it row by row; the command's exit code.

    Nothing is done before the answer is yes. Where there is no terminal to ask at, and not --yes, the code is 2, and
    `again` is the command that does it. What goes wrong with one row is said, and stops no other; then the code is 1.
    """
    targets = decision.targets
    if targets:
        records = [[one.row, one.state, dollars(one.usd), one.note] for one in targets]
        print_table(decision.title, ["row", "state", "usd", "what is known"], records)
    for line in decision.left_out[:_SHOWN]:
        click.echo(redact_text(f"left out: {line}"), err=True)
    if len(decision.left_out) > _SHOWN:
        click.echo(f"left out: {len(decision.left_out) - _SHOWN} more", err=True)
    if not targets:
        click.echo("No row is left to decide about: nothing was changed, and nothing is spent.")
        return 0
    if not yes and not _can_ask():
        click.echo(f"Nothing was done, and nothing is spent: {decision.question}\nTo do it: {again}", err=True)
        return 2
    if not yes and not click.confirm(decision.question, err=True):
        click.echo("Nothing was done, and nothing is spent.")
        return 1
    return _act(targets)


def describe_price(prices: Sequence[float | None], of: str = "row") -> str:
    """What the prices of rows, or of something else, add up to: one that nobody knows is never nothing."""
    known = [usd for usd in prices if usd is not None]
    unknown = len(prices) - len(known)
    rows = f"{unknown} {of}{'s' * (unknown != 1)} whose price is not public"
    if not known and unknown:
        return f"an unknown amount: {rows}"
    return f"about {sum(known):.3f} USD" + (f" plus {rows}" if unknown else "")


def _can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _act(targets: Sequence[Target]) -> int:
    failed = 0
    for number, one in enumerate(targets):
        try:
            click.echo(redact_text(one.act()))
        except click.ClickException as error:
            failed += 1
            click.echo(redact_text(f"not done: {error.format_message()}"), err=True)
        except KeyboardInterrupt:
            click.echo(f"Stopped: {number - failed} of {len(targets)} rows are done, and stay so.", err=True)
            return 1
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one row, the others are decided as well
            failed += 1
            click.echo(redact_text(f"not done: row {one.row!r}: {type(error).__name__}: {error}"), err=True)
    done = f"{len(targets) - failed} of {len(targets)} rows are done."
    click.echo(f"{done} What was not done is as it was." if failed else done)
    return 1 if failed else 0
