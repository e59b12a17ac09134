"""`verify`: the store, the ledger and the manifests compared."""

import sys

import click
from rich.console import Console
from rich.progress import Progress

from pixverse_dagster.cli.output import json_option, print_json, print_table
from pixverse_dagster.cli.project import ProjectChoice, project_options
from pixverse_dagster.reports.verify import verify as verify_store


@click.command()
@project_options
@click.option("--quick", is_flag=True, help="Compare sizes only; do not read the clips.")
@json_option
def verify(choice: ProjectChoice, *, quick: bool, as_json: bool) -> None:
    """Read the store, the ledger and the manifests, and name every disagreement. Exits with 1 if there is one."""
    with choice.open() as project, Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("clips compared", total=None)
        result = verify_store(
            project.ledger,
            project.store,
            project.name,
            hash_bytes=not quick,
            progress=lambda done, total: bars.update(bar, completed=done, total=total),
        )
    if as_json:
        found = [{"row": d.row, "where": d.where, "message": d.message} for d in result.disagreements]
        print_json({"clips": result.clips, "files": result.files, "disagreements": found})
    else:
        if result.disagreements:
            records = [[d.row, d.where, d.message] for d in result.disagreements]
            print_table("Disagreements", ["row", "where", "what"], records)
        click.echo(f"{result.clips} stored clips, {result.files} files: {len(result.disagreements)} disagreements.")
    sys.exit(1 if result.disagreements else 0)
