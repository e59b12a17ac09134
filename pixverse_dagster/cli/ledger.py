"""`ledger backup`: the record of what was paid for, copied."""

import sys
from pathlib import Path

import click

from pixverse_dagster.cli.project import ProjectChoice, project_options
from pixverse_dagster.ledger.backup import backup, dump_command, is_file


@click.group()
def ledger() -> None:
    """Look after the ledger, the record of what was paid for."""


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
