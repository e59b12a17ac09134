"""Printing tables and JSON."""

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pixverse_dagster.core.redaction import redact_text, redact_value

_MIN_COLUMN_WIDTH = 12
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def print_json(document: Any) -> None:
    """Print a document for machines."""
    click.echo(json.dumps(redact_value(document), indent=2, ensure_ascii=False))


def print_table(title: str, columns: list[str], records: list[list[str]]) -> None:
    """Print a table for people; cells are data and are never read as markup."""
    print_to(Console(width=None if sys.stdout.isatty() else 160), title, columns, records)


def print_to(console: Console, title: str, columns: list[str], records: list[list[str]]) -> None:
    """Print a table, or where the terminal is too narrow for one, its records one below the other: no cell is cut."""
    # Redacted before it is laid out: a secret that is broken into lines would not be recognised.
    cells = [[redact_text(cell) for cell in record] for record in records]
    if console.width < _MIN_COLUMN_WIDTH * len(columns):
        lines = [Text(title, "bold")]
        for record in cells:
            lines += [
                Text(),
                *(Text(f"{column}: {cell}") for column, cell in zip(columns, record, strict=True) if cell),
            ]
        console.print(*lines, sep="\n", overflow="fold")
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in {"usd", "seconds", "size"} else "left")
    for record in cells:
        table.add_row(*map(escape, record))
    console.print(table)


def dollars(usd: float | None) -> str:
    """A price for a person."""
    return "?" if usd is None else f"{usd:.3f}"
