"""`tasks list --watch`: how a pipeline stands, until a person has seen enough."""

import sys
import threading
from collections.abc import Callable, Iterator

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pixverse_dagster.cli.output import dollars, make_console
from pixverse_dagster.cli.project import Project
from pixverse_dagster.core.ages import describe_age
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.row_state import UNDER_WAY
from pixverse_dagster.core.values import iso
from pixverse_dagster.reports.status import AccountStatus, Status, read_status

_EVERY_SECONDS = 2.0


def watch(project: Project) -> None:
    """Show how the pipeline stands, anew every two seconds until Ctrl-C; once where nobody sits at a terminal."""
    with project.open() as session:
        limits = {client.account: client.max_open_tasks for client in session.clients.values()}
        blocking = session.options.checks.blocking

        def read() -> Status:
            now = session.clock()
            return read_status(
                session.ledger, project.name, now, worlds=session.worlds, limits=limits, blocking=blocking
            )

        console = make_console()
        if not sys.stdout.isatty():
            console.print(render(read()))
            return
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            _repeat(read, live)


def _repeat(read: Callable[[], Status], live: Live) -> None:
    """Read and show until a person ends it, which is no error and stops nothing of the pipeline."""
    status = read()
    pause = threading.Event()
    try:
        while True:
            live.update(render(status), refresh=True)
            pause.wait(_EVERY_SECONDS)
            status = read()
    except KeyboardInterrupt:
        under_way = sum(status.counts[state] for state in UNDER_WAY)
        live.stop()
        click.echo(f"Not watched any more: {under_way} rows are under way, and go on without this.")


def render(status: Status) -> RenderableType:
    """A status as people read it: the money first, then how many rows stand how, and since when at most."""
    lines = [Text(redact_text(line)) for line in _money(status)]
    table = Table(title=f"{status.pipeline} at {iso(status.at)[11:19]} UTC", title_justify="left", header_style="bold")
    table.add_column("state")
    table.add_column("rows", justify="right")
    table.add_column("oldest", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for one in status.states:
        age = describe_age(status.at - one.oldest_at) if one.oldest_at else ""
        table.add_row(str(one.state), str(one.count), age, escape(redact_text(one.why)))
    if status.invalid_rows:
        table.add_row("invalid", str(status.invalid_rows), "", "cannot be generated: `tasks list --state invalid`")
    return Group(*lines, table, *(Text(redact_text(line)) for line in _accounts(status)))


def _money(status: Status) -> Iterator[str]:
    whose = " at the simulator (nobody's money)" if status.is_simulated else ""
    yield f"{dollars(status.spent_today_usd)} USD spent today (UTC){whose}, {dollars(status.spent_usd)} in all."
    if status.at_stake_usd or status.at_stake_unpriced:
        known = f"{dollars(status.at_stake_usd)} USD" if status.at_stake_usd else ""
        more = f"{status.at_stake_unpriced} submits at a price that is not public" if status.at_stake_unpriced else ""
        yield f"At stake, for nobody knows the outcome: {' and '.join(filter(None, (known, more)))}."
    yield from (f"{pause}: nothing is submitted until it is resumed." for pause in status.paused)


def _accounts(status: Status) -> Iterator[str]:
    for account in status.accounts:
        yield _slots(account, status.at)
    if status.next_poll_at is not None:
        yield f"Next poll: in {describe_age(status.next_poll_at - status.at)}."


def _slots(account: AccountStatus, now: float) -> str:
    limit = "" if account.max_open_tasks is None else f" of {account.max_open_tasks}"
    rests = ""
    if account.rests_until is not None:
        rests = f"; left alone for {describe_age(account.rests_until - now)}: {account.rests_why}"
    return f"{account.account}: {account.open_tasks}{limit} slots in use{rests}"
