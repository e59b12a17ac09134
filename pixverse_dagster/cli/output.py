"""Printing tables and JSON."""

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pixverse_dagster.core.redaction import redact_text, redact_value

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def print_json(document: Any) -> None:
    """Print a document for machines."""
    click.echo(json.dumps(redact_value(document), indent=2, ensure_ascii=False))


def print_table(title: str, columns: list[str], records: list[list[str]]) -> None:
    """Print a table for people; cells are data and are never read as markup."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in {"usd", "seconds", "size"} else "left")
    for record in records:
        # Before the table is laid out: a secret that is broken into lines would not be recognised.
        table.add_row(*(escape(redact_text(cell)) for cell in record))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def dollars(usd: float | None) -> str:
    """A price for a person."""
    return "?" if usd is None else f"{usd:.3f}"
