"""Reading prompt tables, one row at a time: CSV and JSON Lines files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, cast

from pixverse_dagster.errors import InvalidTable
from pixverse_dagster.prompts import RawRow


class PromptTable(Protocol):
    """Where rows come from. Reading twice gives the same rows if nobody changed them."""

    def read(self) -> Iterator[RawRow]:
        """The rows in table order, lazily. Raises InvalidTable if the table as a whole cannot be read."""
        ...

    def describe(self) -> str:
        """The table's name for a person."""
        ...


class FileTable:
    """A prompt table in a file. `.csv` is read as CSV with a header line, `.jsonl` and `.ndjson` as JSON Lines.

    With `first_rows`, the rest of the table is left unread.
    """

    def __init__(self, path: str | Path, first_rows: int | None = None) -> None:
        self.path = Path(path)
        self._first_rows = first_rows

    def describe(self) -> str:
        """The file's path."""
        return str(self.path)

    def read(self) -> Iterator[RawRow]:
        """The rows in file order. Raises InvalidTable if the file is missing, not UTF-8, or of another kind."""
        readers = {".csv": _read_csv, ".jsonl": _read_json_lines, ".ndjson": _read_json_lines}
        reader = readers.get(self.path.suffix.lower())
        if reader is None:
            raise InvalidTable(f"{self.path}: tables are .csv, .jsonl or .ndjson files, not {self.path.suffix!r}")
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as lines:
                yield from islice(reader(self.path, lines), self._first_rows)
        except FileNotFoundError:
            raise InvalidTable(f"{self.path}: there is no such file. Nothing was sent") from None
        except UnicodeDecodeError as error:
            raise InvalidTable(f"{self.path}: not UTF-8 text (byte {error.start}): save it as UTF-8") from None


def _read_csv(path: Path, lines: Iterator[str]) -> Iterator[RawRow]:
    reader = csv.reader(lines, strict=True)
    try:
        header = [name.strip() for name in next(reader, list[str]())]
        if not any(header):
            raise InvalidTable(f"{path}: the first line must name the columns, at least id and prompt")
        if twice := sorted({name for name in header if name and header.count(name) > 1}):
            raise InvalidTable(f"{path}: column {twice[0]!r} is there twice: rename or remove one")
        line = reader.line_num + 1
        for cells in reader:
            if cells:
                row = {name: cell for name, cell in zip(header, cells, strict=False) if name}
                complaint = _ragged(header, cells)
                yield RawRow(line, row, complaint)
            line = reader.line_num + 1
    except csv.Error as error:
        raise InvalidTable(f"{path}, line {reader.line_num}: not readable as CSV ({error}). Nothing was sent") from None


def _ragged(header: list[str], cells: list[str]) -> str:
    if len(cells) == len(header) and not any(
        cell.strip() for name, cell in zip(header, cells, strict=True) if not name
    ):
        return ""
    return f"has {len(cells)} cells where the header has {len(header)}: a comma may need quotes around its cell"


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as it was meant: a key that is there twice would silently lose a value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _read_json_lines(path: Path, lines: Iterator[str]) -> Iterator[RawRow]:
    del path
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value: Any = json.loads(line, object_pairs_hook=_unique_keys)
        except (ValueError, RecursionError) as error:
            yield RawRow(number, {}, f"is not JSON: {error}")
            continue
        if isinstance(value, dict):
            yield RawRow(number, cast("dict[str, Any]", value))
        else:
            yield RawRow(number, {}, "is not a JSON object: one row is one {…} on one line")
