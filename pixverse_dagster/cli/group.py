"""All commands in one."""

from typing import Any

import click

from pixverse_dagster.cli.accounts import accounts
from pixverse_dagster.cli.check import check
from pixverse_dagster.cli.clips import clips
from pixverse_dagster.cli.costs import costs
from pixverse_dagster.cli.demo import demo
from pixverse_dagster.cli.dev import dev
from pixverse_dagster.cli.gallery import gallery
from pixverse_dagster.cli.home import home
from pixverse_dagster.cli.ledger import ledger
from pixverse_dagster.cli.output import open_console
from pixverse_dagster.cli.pause import pause, resume
from pixverse_dagster.cli.plan import plan
from pixverse_dagster.cli.read import read
from pixverse_dagster.cli.simulator import simulator
from pixverse_dagster.cli.tasks import tasks
from pixverse_dagster.cli.verify import verify
from pixverse_dagster.core.errors import PixverseError, redacted_errors
from pixverse_dagster.core.redaction import redact_text


class _Unusable(click.ClickException):
    """An error that a person can act on, as one line: nothing was checked, so it is no failed check."""

    exit_code = 2


class _Commands(click.Group):
    """Commands that print on any console, and whose errors are redacted lines, whoever calls them."""

    def main(self, *given: Any, **options: Any) -> Any:
        open_console()
        return super().main(*given, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with redacted_errors():
            try:
                return super().invoke(ctx)
            except PixverseError as error:
                raise _Unusable(redact_text(str(error))) from error
            except click.ClickException as error:
                error.message = redact_text(error.message)  # pyright: ignore[reportAttributeAccessIssue]
                raise


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="pixverse-dagster")
def cli() -> None:
    """PixVerse video in Dagster: prompt tables in, stored clips with lineage out, every clip paid for once.

    Exit codes: 0 success, 1 a failed check, 2 bad usage or configuration.
    """


for command in (
    demo,
    dev,
    simulator,
    home,
    check,
    read,
    plan,
    tasks,
    costs,
    accounts,
    pause,
    resume,
    verify,
    gallery,
    ledger,
    clips,
):
    cli.add_command(command)
