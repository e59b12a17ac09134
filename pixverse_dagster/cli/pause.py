"""`pause` and `resume`: one switch that stops all spending at once. What is under way is still polled and stored."""

import time
from collections.abc import Callable

import click

from pixverse_dagster.cli.project import ProjectChoice, project_options
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.pauses import Pause, Scope

_ACCOUNT = click.option("--account", metavar="NAME", help="Only this provider account, for example runware/live.")


@click.command()
@_ACCOUNT
@click.option("--reason", default="", help="Why; shown wherever a row waits for it.")
@project_options
def pause(choice: ProjectChoice, *, account: str | None, reason: str) -> None:
    """Stop all spending now: of every pipeline, or of one with --pipeline, or of one account with --account.

    Held in the ledger and honoured by every process before it sends anything that costs. Rows that were asked for keep
    their places; what is under way is still polled and stored. Goes on with `resume`.
    """

    def stop(ledger: Ledger, scope: Scope, name: str) -> str:
        added = ledger.pauses.add(Pause(scope, name, reason, time.time()))
        return f"{'paused' if added else 'paused already'}: {_describe(scope, name)}"

    _switch(choice, account, stop)
    click.echo("Nothing further is sent that costs. What is under way is still polled and stored.")


@click.command()
@_ACCOUNT
@project_options
def resume(choice: ProjectChoice, *, account: str | None) -> None:
    """Allow spending again that `pause` stopped, with the same options.

    Exits with 1 if it was not paused, and says what still is.
    """
    found: list[bool] = []

    def go_on(ledger: Ledger, scope: Scope, name: str) -> str:
        found.append(ledger.pauses.remove(scope, name))
        left = "; ".join(f"{one} since {time.strftime('%Y-%m-%d %H:%M', time.gmtime(one.since))} UTC"
                         for one in ledger.pauses.find())  # fmt: skip
        words = "resumed" if found[-1] else "was not paused"
        return f"{_describe(scope, name)}: {words}" + (f". Still in force: {left}" if left else "")

    _switch(choice, account, go_on)
    if not any(found):
        raise click.exceptions.Exit(1)


def _switch(choice: ProjectChoice, account: str | None, switch: Callable[[Ledger, Scope, str], str]) -> None:
    if account and choice.pipeline:
        raise click.UsageError("give one of --pipeline NAME and --account NAME")
    with choice.open_all() as projects:
        # Pipelines may share a ledger; each is switched once.
        for ledger in {project.ledger.id: project.ledger for project in projects}.values():
            if account:
                click.echo(switch(ledger, "account", account))
            elif choice.pipeline:
                click.echo(switch(ledger, "pipeline", choice.pipeline))
            else:
                click.echo(switch(ledger, "all", ""))


def _describe(scope: Scope, name: str) -> str:
    return "all spending" if scope == "all" else f"spending of {scope} {name}"
