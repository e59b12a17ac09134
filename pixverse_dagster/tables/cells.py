"""Cells of typed sources as the JSON values that they mean, so that one table is one set of requests in every format.

Missing values of any kind are empty cells. A whole number is an int, also where a neighbour's missing value had made
the column floats. Dates and times are ISO text. What JSON has no word for is a complaint of its row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from pixverse_dagster.core.errors import InvalidRow, InvalidTable
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.row import RawRow

_SAID_MAX = 400
_PANDAS_MISSING = {"NAType", "NaTType"}
_EXACT = 2**53
"""Below this, a float that is whole is exactly that whole number."""
_MAX_INT_BITS = 1024
"""Python refuses to print much larger numbers, and no parameter has them."""


def raw_row(line: int, cells: Mapping[Any, Any]) -> RawRow:
    """A row out of cells of any type, or with the complaint that makes it a problem."""
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
    """A cell as the JSON value it means; None if it is empty. Raises InvalidRow with what JSON has no word for."""
    if type(value).__module__ == "numpy":
        value = _from_numpy(value)
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        # A struct of a columnar format has every field that any row has; those that this row lacks are null.
        return {str(key): item for key, found in items if (item := plain(found)) is not None}
    if isinstance(value, list | tuple):
        return [plain(item) for item in cast("Sequence[Any]", value)]
    return _scalar(value)


def _scalar(value: Any) -> str | float | None:
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
            remedy = "decode it to text" if isinstance(value, bytes | bytearray | memoryview) else "use text or numbers"
            raise InvalidRow(f"a value of type {kind} ({remedy})")


def _from_numpy(value: Any) -> Any:
    if value.shape:
        return list(value)
    if value.dtype.kind not in "mM":
        return value.item()
    # As Python's own times these would lose their nanoseconds, or their meaning.
    return None if (text := str(value)) == "NaT" else text


def _number(value: float | Decimal) -> int | float | str | None:
    if isinstance(value, int):
        if value.bit_length() > _MAX_INT_BITS:
            raise InvalidRow(f"a number of {value.bit_length()} bits")
        return int(value)
    if value != value:  # noqa: PLR0124 - what is not equal to itself is not a number: missing
        return None
    if abs(value) < _EXACT and value == int(value):
        return int(value)
    # The text of a decimal that no float is equal to: what a CSV of the same table would say.
    return float(value) if isinstance(value, float) or Decimal(repr(float(value))) == value else str(value)


def unique_columns(table: str, names: Iterable[Any]) -> list[str]:
    """The column names without spaces around them. Raises InvalidTable if one is there twice."""
    columns = [str(name).strip() for name in names]
    if (twice := find_twice(name for name in columns if name)) is not None:
        raise InvalidTable(f"{table}: column {twice[:100]!r} is there twice: rename or remove one. Nothing was sent")
    return columns


def find_twice(names: Iterable[str]) -> str | None:
    """The first name that is there more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def said(error: object) -> str:
    """What a library's error says: on one line, not too long, without query strings and keys."""
    text = " ".join(redact_text(str(error)).split())
    return text if len(text) <= _SAID_MAX else text[:_SAID_MAX] + "…"
