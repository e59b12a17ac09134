"""The CLI. May import: core, policy, tables, ledger, storage, stages, reports, recovery, orchestration, definitions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.redaction import redact_text

if TYPE_CHECKING:
    from pixverse_dagster.cli.group import cli

__all__ = ["cli", "main"]


def __getattr__(name: str) -> Any:
    if name != "cli":
        raise AttributeError(name)
    from pixverse_dagster.cli.group import cli  # noqa: PLC0415 - it imports Dagster

    return cli


def main() -> None:
    """Run the command line; an error a person can act on is one line, not a traceback."""
    try:
        if sys.argv[1:2] == ["read"]:
            from pixverse_dagster.cli.output import open_console  # noqa: PLC0415 - as below
            from pixverse_dagster.cli.read import read  # noqa: PLC0415 - the others need Dagster, which takes seconds

            open_console()
            read(sys.argv[2:], prog_name="pixverse-dagster read")
        else:
            __getattr__("cli")()
    except PixverseError as error:
        click.echo(f"Error: {redact_text(str(error))}", err=True)
        sys.exit(2)
