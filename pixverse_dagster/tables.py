"""Reading prompt tables, one row at a time: CSV and JSON Lines files."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TextIO, cast

from pixverse_dagster.errors import InvalidTable
from pixverse_dagster.prompts import RawRow

# More than any row needs, and what bounds the memory that a row can take. Inline images are in JSON Lines only: the
# csv module takes no cell above 131,072 characters.
_MAX_CSV_LINE = 8 * 1024 * 1024
_MAX_JSON_LINE = 64 * 1024 * 1024
_MAX_JSON_VALUES = 100_000


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
        except OSError as error:
            raise InvalidTable(f"{self.path}: cannot be read: {error.strerror}. Nothing was sent") from None


def _bounded(text: TextIO, limit: int) -> Iterator[str | None]:
    """The lines of a text; None for one of more than `limit` characters, which is never held whole."""
    while line := text.readline(limit + 1):
        if len(line) <= limit:
            yield line
            continue
        while line and line[-1] not in "\r\n":
            line = text.readline(limit)
        yield None


def _csv_lines(path: Path, text: TextIO) -> Iterator[str]:
    for number, line in enumerate(_bounded(text, _MAX_CSV_LINE), start=1):
        if line is None:
            raise InvalidTable(f"{path}, line {number}: is longer than {_MAX_CSV_LINE} characters. Nothing was sent")
        yield line


def _read_csv(path: Path, text: TextIO) -> Iterator[RawRow]:
    reader = csv.reader(_csv_lines(path, text), strict=True)
    try:
        header = [name.strip() for name in next(reader, list[str]())]
        if not any(header):
            raise InvalidTable(f"{path}: the first line must name the columns, at least id and prompt")
        if (twice := _twice(name for name in header if name)) is not None:
            raise InvalidTable(f"{path}: column {twice[:100]!r} is there twice: rename or remove one")
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
    if (twice := _twice(name.strip() for name, _ in pairs)) is not None:
        raise ValueError(f"key {twice[:100]!r} is there twice")
    return dict(pairs)


def _twice(names: Iterable[str]) -> str | None:
    """The first name that is there more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _read_json_lines(path: Path, text: TextIO) -> Iterator[RawRow]:
    del path
    for number, line in enumerate(_bounded(text, _MAX_JSON_LINE), start=1):
        if line is None:
            yield RawRow(number, {}, f"is longer than {_MAX_JSON_LINE} characters")
            continue
        if sum(map(line.count, "[{,")) > _MAX_JSON_VALUES:
            yield RawRow(number, {}, f"has more than {_MAX_JSON_VALUES} values: one row is one {{…}} on one line")
            continue
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
