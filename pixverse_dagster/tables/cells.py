"""Converts cells of typed sources to JSON values, so that a table gives the same requests in every format.

Missing values of any kind become None. A whole number becomes an int, even if missing values in its column have made it
a float. Dates and times become ISO text. A value that JSON cannot express becomes a complaint about its row.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from pixverse_dagster.core.errors import InvalidRow, InvalidTable
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.row import RawRow
from pixverse_dagster.core.text import shorten

_MAX_ERROR_CHARACTERS = 400
_PANDAS_MISSING = {"NAType", "NaTType"}
_EXACT = 2**53
"""Below this, every whole number is exact as a float."""
_MAX_INT_BITS = 1024
"""Python refuses to print much larger numbers, and no parameter needs them."""


class Wordless(str):
    """The text of a value that JSON cannot express: good for a label, and for nothing else."""

    __slots__ = ("complaint",)
    complaint: str


def _wordless(value: Any) -> Wordless:
    binary = isinstance(value, bytes | bytearray | memoryview)
    odd = Wordless(_decoded(bytes(cast("bytes", value))) if binary else str(value))
    remedy = "decode it to text" if binary else "use text or numbers"
    odd.complaint = f"a value of type {type(value).__name__} ({remedy})"
    return odd


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeError:
        return f"({len(value)} bytes)"


def find_wordless(value: Any) -> Wordless | None:
    """The first value in a cell, or anywhere inside of it, that JSON cannot express."""
    if isinstance(value, Wordless):
        return value
    inner: Iterable[Any] = ()
    if isinstance(value, dict):
        inner = cast("dict[str, Any]", value).values()
    elif isinstance(value, list):
        inner = cast("list[Any]", value)
    return next((found for item in inner if (found := find_wordless(item)) is not None), None)


def label_text(value: Any) -> str:
    """A cell as a label: lists and structs as JSON, everything else as it is written."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value).strip()


def raw_row(line: int, cells: Mapping[Any, Any]) -> RawRow:
    """A row from cells of any type. If a cell or column cannot be used, the row has a complaint."""
    row: dict[str, Any] = {}
    complaints: list[str] = []
    for name, value in cells.items():
        column = str(name).strip()
        if column in row:
            complaints.append(f"has column {column!r} twice: rename or remove one")
            continue
        try:
            row[column] = plain(value)
        except InvalidRow as error:
            complaints.append(f"has {error} in column {column!r}")
        except RecursionError:
            complaints.append(f"has lists in column {column!r} that are nested too deeply")
    return RawRow(line, row, "; ".join(complaints))


def plain(value: Any) -> Any:
    """A cell as a JSON value; None if it is missing. Raises InvalidRow for a value that JSON cannot express."""
    if type(value).__module__ == "numpy":
        value = _from_numpy(value)
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        # In columnar formats, a struct has the fields of all rows; those that this row lacks are null.
        return {str(key): item for key, found in items if (item := plain(found)) is not None}
    if isinstance(value, list | tuple):
        return [plain(item) for item in cast("Sequence[Any]", value)]
    return _scalar(value)


def _scalar(value: Any) -> str | int | float | bool | None:
    kind = type(value).__name__
    if value is None or kind in _PANDAS_MISSING:
        return None
    match value:
        case bool():
            return value
        case str() | UUID():
            return str.__str__(value) if isinstance(value, str) else str(value)
        case int() | float() | Decimal():
            return _number(value)
        case date() | time():
            return value.isoformat()
        case _:
            return _wordless(value)


def _from_numpy(value: Any) -> Any:
    if value.shape:
        return list(value)
    if value.dtype.kind not in "mM":
        return value.item()
    # Times stay text: `item` would turn those in nanoseconds into plain integers.
    return None if (text := str(value)) == "NaT" else text


def _number(value: float | Decimal) -> int | float | str | None:
    if isinstance(value, int):
        if value.bit_length() > _MAX_INT_BITS:
            raise InvalidRow(f"a number of {value.bit_length()} bits")
        return int(value)
    if value != value:  # noqa: PLR0124 - only NaN is not equal to itself; it means missing
        return None
    if abs(value) < _EXACT and value == int(value):
        return int(value)
    # A decimal that is not exactly a float stays text, as in a CSV of the same table.
    return float(value) if isinstance(value, float) or Decimal(repr(float(value))) == value else str(value)


def unique_columns(table: str, names: Iterable[Any]) -> list[str]:
    """The column names without surrounding spaces. Raises InvalidTable if there is a duplicate."""
    columns = [str(name).strip() for name in names]
    if (twice := find_twice(name for name in columns if name)) is not None:
        raise InvalidTable(f"{table}: column {twice[:100]!r} is there twice: rename or remove one. Nothing was sent")
    return columns


def find_twice(names: Iterable[str]) -> str | None:
    """The first name that occurs more than once, or None."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def error_text(error: object) -> str:
    """The message of a library's error on one line, cut, without query strings and keys."""
    text = " ".join(redact_text(str(error)).split())
    return shorten(text, _MAX_ERROR_CHARACTERS)
