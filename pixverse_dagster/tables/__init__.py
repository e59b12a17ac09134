"""Prompt tables in files, databases and memory, read one row at a time. May import: core, providers, transport.

Rows are in table order. The line of a row is its line in a CSV or JSON Lines file; for other sources, the number of
the record, from 1. Cells mean the same in every source: see `cells`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.row import RawRow
from pixverse_dagster.tables.files import FileTable
from pixverse_dagster.tables.notes import Notes
from pixverse_dagster.tables.sql import SqlTable
from pixverse_dagster.tables.values import AssetTable, CallableTable, ValueTable
from pixverse_dagster.transport.download import DownloadRules

__all__ = [
    "AssetTable",
    "CallableTable",
    "FileTable",
    "PromptTable",
    "SqlTable",
    "ValueTable",
    "open_table",
    "read_noted",
]


@runtime_checkable
class PromptTable(Protocol):
    """A source of rows. Reading it again gives the same rows, unless they were changed in between."""

    def read(self) -> Iterator[RawRow]:
        """The rows in table order, lazily. Raises InvalidTable if the table as a whole cannot be read."""
        ...

    def describe(self) -> str:
        """The table's name for a person, without passwords and query strings."""
        ...


def open_table(source: Any, *, rules: DownloadRules | None = None, s3: Callable[[], Any] | None = None) -> PromptTable:
    """The table for a path or URL, a function without arguments, or rows in memory. A table is returned as it is.

    `rules` and `s3` are those of `FileTable`. Reads nothing. Raises InvalidTable for an iterator: it gives its rows
    only once, and a pipeline reads its table more than once.
    """
    if isinstance(source, str | Path):
        return FileTable(source, rules=rules, s3=s3)
    if isinstance(source, PathLike) or hasattr(source, "protocol"):  # UPath
        return FileTable(str(cast("object", source)), rules=rules, s3=s3)
    if isinstance(source, PromptTable):
        return source
    if callable(source):
        return CallableTable(source)
    if isinstance(source, Iterator):
        raise InvalidTable(
            f"{ValueTable(source).describe()} gives its rows only once, and a pipeline reads its table again: "
            "give a list, or the function that makes it. Nothing was sent"
        )
    return ValueTable(source)


def read_noted(table: PromptTable, notes: Notes) -> Iterator[RawRow]:
    """The rows of a table; what is found about it is noted, as far as the table tells."""
    return table.read(notes) if isinstance(table, FileTable | SqlTable | ValueTable | CallableTable) else table.read()
