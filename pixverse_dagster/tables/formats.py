"""Readers of CSV, JSON Lines, Parquet and Arrow: they give rows, a few in memory at a time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from itertools import chain, count
from typing import Any, BinaryIO, cast

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.row import RawRow
from pixverse_dagster.tables.cells import error_text, find_twice, raw_row, unique_columns

Reader = Callable[[str, BinaryIO], Iterator[RawRow]]
"""Takes the name of a table, for messages, and its bytes."""

# The longest lines, in characters: more than any row needs, so that no row can take up all memory. Only JSON Lines can
# have inline images: the csv module takes no cell above 131,072 characters.
_MAX_CSV_LINE = 8 * 1024**2
_MAX_JSON_LINE = 64 * 1024**2
_MAX_JSON_VALUES = 100_000
_BATCH_ROWS = 500
READ_AHEAD_BYTES = 256 * 1024


def read_csv(name: str, stream: BinaryIO) -> Iterator[RawRow]:
    """CSV with a header line. Raises InvalidTable if it is not CSV, has no column names, or is not UTF-8."""
    reader = csv.reader(_csv_lines(name, stream), strict=True)
    try:
        header = unique_columns(name, next(reader, list[str]()))
        if not any(header):
            raise InvalidTable(f"{name}: the first line must name the columns, at least id and prompt")
        line = reader.line_num + 1
        for cells in reader:
            if cells:
                row = {column: cell for column, cell in zip(header, cells, strict=False) if column}
                yield RawRow(line, row, _ragged(header, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InvalidTable(f"{name}, line {reader.line_num}: not readable as CSV ({error}). Nothing was sent") from None


def read_json_lines(name: str, stream: BinaryIO) -> Iterator[RawRow]:
    """One JSON object per line. A line that is not one becomes a row with a complaint."""
    for number, line in enumerate(_lines(name, stream, _MAX_JSON_LINE), start=1):
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
            yield raw_row(number, cast("dict[str, Any]", value))
        else:
            yield RawRow(number, {}, "is not a JSON object: one row is one {…} on one line")


def read_parquet(name: str, stream: BinaryIO) -> Iterator[RawRow]:
    """Parquet, decoded some rows at a time. The stream must be seekable. Raises InvalidTable if it is not Parquet."""
    arrow = import_arrow(name)
    try:
        # Not pre-buffered: otherwise a file of one row group would be in memory as a whole.
        reading = {"pre_buffer": False, "buffer_size": READ_AHEAD_BYTES}
        file = import_module("pyarrow.parquet").ParquetFile(stream, **reading)
        # One row group at a time: a batch over several groups would read beyond the first rows that are wanted.
        groups = (file.iter_batches(_BATCH_ROWS, row_groups=[group]) for group in range(file.num_row_groups))
        yield from arrow_rows(name, file.schema_arrow.names, chain.from_iterable(groups))
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise InvalidTable(f"{name}: not readable as Parquet ({error_text(error)}). Nothing was sent") from None


FORMATS: Mapping[str, Reader] = {
    ".csv": read_csv,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".parquet": read_parquet,
}
"""The reader for each file name ending. Messages, the component's schema and the documents derive from it."""


def format_names() -> str:
    """The file name endings as text: `.csv, .jsonl … or .parquet`."""
    *known, last = FORMATS
    return f"{', '.join(known)} or {last}"


def arrow_rows(name: str, columns: Iterable[str], batches: Iterable[Any]) -> Iterator[RawRow]:
    """The rows of Arrow record batches. However large a batch is, few of its rows are converted at a time."""
    unique_columns(name, columns)
    slices = (batch.slice(at, _BATCH_ROWS) for batch in batches for at in range(0, batch.num_rows, _BATCH_ROWS))
    rows = (row for part in slices for row in part.to_pylist())
    for number, row in enumerate(rows, start=1):
        yield raw_row(number, row)


def import_arrow(name: str) -> Any:
    """The module pyarrow. Raises InvalidTable if it is not installed."""
    try:
        return import_module("pyarrow")
    except ModuleNotFoundError:
        raise InvalidTable(
            f"{name}: Parquet and Arrow need pyarrow: install pixverse-dagster[parquet]. Nothing was sent"
        ) from None


def _csv_lines(name: str, stream: BinaryIO) -> Iterator[str]:
    for number, line in enumerate(_lines(name, stream, _MAX_CSV_LINE), start=1):
        if line is None:
            raise InvalidTable(f"{name}, line {number}: longer than {_MAX_CSV_LINE} characters. Nothing was sent")
        yield line


def _lines(name: str, stream: BinaryIO, limit: int) -> Iterator[str | None]:
    """The lines of a text. A line of more than `limit` characters is given as None, and never held in memory whole."""
    with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
        for number in count(1):
            try:
                line = text.readline(limit + 1)
                whole = len(line) <= limit
                while line and not whole and line[-1] not in "\r\n":
                    line = text.readline(limit)
            except UnicodeDecodeError:
                raise InvalidTable(
                    f"{name}: not UTF-8 text somewhere after line {number - 1}: save it as UTF-8. Nothing was sent"
                ) from None
            if whole and not line:
                return
            yield line if whole else None


def _ragged(header: list[str], cells: list[str]) -> str:
    """The complaint about a row whose cells do not match the header; empty if they do."""
    if len(cells) == len(header) and not any(
        cell.strip() for name, cell in zip(header, cells, strict=True) if not name
    ):
        return ""
    return f"has {len(cells)} cells where the header has {len(header)}: a comma may need quotes around its cell"


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError for a duplicate key, of which `json` would silently drop one value."""
    if (twice := find_twice(name.strip() for name, _ in pairs)) is not None:
        raise ValueError(f"key {twice[:100]!r} is there twice")
    return dict(pairs)
