"""Printing tables, on a console of any encoding."""

import codecs
import io
import os
import sys

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pixverse_dagster.core.redaction import redact_text

_MIN_COLUMN_WIDTH = 12
_BORDER_WIDTH = 3
_FILE_WIDTH = 160
_NUMBERS = frozenset(["usd", "seconds", "size", "tasks", "charged", "estimated", "at stake", "spent", "no clip", "age"])
"""Columns of numbers: short, and read from the right."""
READABLE = "pixverse.readable"
"""How `open_console` has both streams treat a letter that their encoding does not have."""
_PLAIN = {"\u2026": "...", "\u2192": "->", "\u2013": "-", "\u00d7": "x", "\u201c": '"', "\u201d": '"', "\u2019": "'"}
"""How signs of our own messages are written in ASCII."""


def open_console() -> None:
    """Have both streams of the process print every text: what their encoding has no letter for is written in others."""
    codecs.register_error(READABLE, _spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=READABLE)


def _spell(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: the usual spelling of a sign in ASCII, else its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in wrong), error.end


def print_table(title: str, columns: list[str], records: list[list[str]]) -> None:
    """Print a table for people; cells are data and are never read as markup."""
    print_to(make_console(), title, columns, records)


def make_console() -> Console:
    """The console that people read: as wide as it says it is, or as a line of a file may be."""
    known = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console(width=None if known else _FILE_WIDTH)


def print_to(console: Console, title: str, columns: list[str], records: list[list[str]]) -> None:
    """Print a table, or where the terminal is too narrow for one, its records one below the other: no cell is cut."""
    # Redacted before it is laid out: a secret that is broken into lines would not be recognised.
    cells = [[redact_text(cell) for cell in record] for record in records]
    if console.width < _needed_width(columns, cells):
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
        table.add_column(column, overflow="fold", justify="right" if column in _NUMBERS else "left")
    for record in cells:
        table.add_row(*map(escape, record))
    console.print(table)


def _needed_width(columns: list[str], records: list[list[str]]) -> int:
    """The width from which on a table can be read: numbers in one line, and words in several of some length."""
    needed = 1
    for n, column in enumerate(columns):
        longest = max((cell_len(cell) for cell in (column, *(record[n] for record in records))), default=0)
        needed += _BORDER_WIDTH + (longest if column in _NUMBERS else min(longest, _MIN_COLUMN_WIDTH - _BORDER_WIDTH))
    return needed


def dollars(usd: float | None) -> str:
    """A price for a person."""
    return "?" if usd is None else f"{usd:.3f}"
