"""`home`: a Dagster home, made ready in one process."""

import os
from pathlib import Path

import click

from pixverse_dagster.cli.homes import make_home


@click.command()
@click.option("--home", type=click.Path(path_type=Path), help="The folder; $DAGSTER_HOME if not given.")
def home(home: Path | None) -> None:
    """Make a Dagster home, or make one ready that is there: its databases get their tables, and nothing is lost.

    To be run once before several of Dagster's programs are started: those that open a new home at one moment can break
    its databases for good. Safe to repeat, also at the same time.
    """
    named = os.environ.get("DAGSTER_HOME", "").strip()
    if home is None and not named:
        raise click.UsageError("which Dagster home? Give --home DIR or set DAGSTER_HOME")
    click.echo(f"{make_home(home or Path(named).expanduser())} is ready: DAGSTER_HOME may name it.")
