"""The formats of prompt tables in files, and how the format of a file is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from pixverse_dagster.core.row import RawRow
from pixverse_dagster.tables.arrow import read_parquet
from pixverse_dagster.tables.delimited import read_csv
from pixverse_dagster.tables.excel import read_excel
from pixverse_dagster.tables.json_text import read_json, read_json_lines
from pixverse_dagster.tables.notes import FileSettings, Notes

Reader = Callable[[str, BinaryIO, Notes, FileSettings], Iterator[RawRow]]
"""Takes the name of a table, for messages, and its bytes; notes what it finds."""

FORMATS: Mapping[str, Reader] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".txt": read_csv,
    ".json": read_json,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".parquet": read_parquet,
    ".xlsx": read_excel,
    ".xlsm": read_excel,
}
"""The reader for each file name ending. Messages, the component's schema and the documents derive from it."""


def format_names() -> str:
    """The file name endings as text: `.csv, .jsonl … or .parquet`."""
    *known, last = FORMATS
    return f"{', '.join(known)} or {last}"


def needs_seek(reader: Reader) -> bool:
    """Whether a format is read from its end, so that a stream has to be copied first."""
    return reader in {read_parquet, read_excel}
