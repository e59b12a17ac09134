"""Tables in JSON: one object per line, or one array of objects, at the top or below a key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, cast

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.row import RawRow
from pixverse_dagster.tables.cells import find_twice, raw_row
from pixverse_dagster.tables.notes import FileSettings, Notes, list_columns
from pixverse_dagster.tables.text import text_lines

# The longest texts, in characters: more than any row needs, so that no row can take up all memory. Only JSON can have
# inline images: the csv module takes no cell above 131,072 characters.
_MAX_LINE = 64 * 1024**2
_MAX_VALUES = 100_000
_MAX_TABLE_VALUES = 2_000_000
_MAX_DEPTH = 4


class _Twice(dict[str, Any]):
    """An object that has a key twice, of which `json` would silently drop one value."""

    key = ""


def read_json_lines(name: str, stream: BinaryIO, notes: Notes, settings: FileSettings) -> Iterator[RawRow]:
    """One JSON object per line. A line that is not one becomes a row with a complaint."""
    del settings
    for number, line in enumerate(text_lines(name, stream, _MAX_LINE, notes), start=1):
        if line is None:
            yield RawRow(number, {}, f"is longer than {_MAX_LINE} characters")
        elif line.strip():
            yield _read_line(number, line)


def read_json(name: str, stream: BinaryIO, notes: Notes, settings: FileSettings) -> Iterator[RawRow]:
    """An array of objects, at the top or below a key, or an object of objects. JSON Lines are read as such.

    Raises InvalidTable if it is none of these, or is not clear which array is meant.
    """
    del settings
    lines = list[str]()
    size = 0
    for line in text_lines(name, stream, _MAX_LINE, notes):
        size += len(line or "")
        if line is None or size > _MAX_LINE:
            raise InvalidTable(
                f"{name}: longer than {_MAX_LINE} characters: save it as JSON Lines (.jsonl), which has no limit. "
                "Nothing was sent"
            )
        lines.append(line)
    text = "".join(lines)
    if sum(map(text.count, "[{,")) > _MAX_TABLE_VALUES:
        raise InvalidTable(f"{name}: has more than {_MAX_TABLE_VALUES} values: save it as .jsonl. Nothing was sent")
    try:
        value: Any = json.loads(text, object_pairs_hook=_pairs)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data" and len(lines) > 1:
            # Several documents: JSON Lines under another name.
            yield from (_read_line(number, line) for number, line in enumerate(lines, start=1) if line.strip())
            return
        raise InvalidTable(f"{name}: not readable as JSON ({error}). Nothing was sent") from None
    where, records = _find_records(name, value)
    notes.facts["rows at"] = where or "the top"
    for number, record in enumerate(records, start=1):
        yield _as_row(number, record, "is not a JSON object: one row is one {…} of the array")


def _read_line(number: int, line: str) -> RawRow:
    if sum(map(line.count, "[{,")) > _MAX_VALUES:
        return RawRow(number, {}, f"has more than {_MAX_VALUES} values: one row is one {{…}} on one line")
    try:
        value: Any = json.loads(line, object_pairs_hook=_pairs)
    except (ValueError, RecursionError) as error:
        return RawRow(number, {}, f"is not JSON: {error}")
    return _as_row(number, value, "is not a JSON object: one row is one {…} on one line")


def _as_row(number: int, value: Any, otherwise: str) -> RawRow:
    if not isinstance(value, dict):
        return RawRow(number, {}, otherwise)
    cells = cast("dict[str, Any]", value)
    try:
        twice = _find_twice(cells)
    except RecursionError:
        twice = None  # `raw_row` complains about the column
    return (
        raw_row(number, cells) if twice is None else RawRow(number, cells, f"is not JSON: key {twice!r} is there twice")
    )


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. One with a key twice is marked: which value is meant cannot be guessed."""
    twice = find_twice(name.strip() for name, _ in pairs)
    if twice is None:
        return dict(pairs)
    marked = _Twice(pairs)
    marked.key = twice[:100]
    return marked


def _find_twice(value: Any) -> str | None:
    """The key that is there twice in a value or anywhere inside of it."""
    if isinstance(value, _Twice):
        return value.key
    inner: Iterable[Any] = ()
    if isinstance(value, dict):
        inner = cast("dict[str, Any]", value).values()
    elif isinstance(value, list):
        inner = cast("list[Any]", value)
    return next(
        (key for item in inner if isinstance(item, dict | list) and (key := _find_twice(item)) is not None), None
    )


def _find_records(name: str, value: Any) -> tuple[str, list[Any]]:
    """Where the rows of a document are, as a path of keys, and the rows."""
    found = list(_arrays(value, "", 0))
    if len(found) == 1:
        where, records = found[0]
        if records and all(isinstance(record, list) for record in records):
            return where, _with_header(name, records)
        return where, records
    if found:
        keys = list_columns(where for where, _ in found)
        raise InvalidTable(f"{name}: has rows below several keys: {keys}. Keep one of them. Nothing was sent")
    raise InvalidTable(
        f"{name}: has no rows: a table in JSON is an array of objects, [{{…}}, {{…}}], at the top or below a key. "
        "Nothing was sent"
    )


def _keyed(key: str, item: dict[str, Any]) -> dict[str, Any]:
    if "id" in item:
        return item
    if isinstance(item, _Twice):
        item["id"] = key
        return item
    return {"id": key, **item}


def _arrays(value: Any, where: str, depth: int) -> Iterator[tuple[str, list[Any]]]:
    """Everything in a document that may be the table: at the top any array, below a key one of objects or of arrays."""
    if isinstance(value, list):
        items = cast("list[Any]", value)
        if not where or not items or any(isinstance(item, dict | list) for item in items):
            yield where, items
    elif isinstance(value, dict) and depth < _MAX_DEPTH and not isinstance(value, _Twice):
        inner = cast("dict[str, Any]", value)
        if "id" in inner and "prompt" in inner:
            yield where, [inner]  # one row
        elif len(inner) > 1 and all(isinstance(item, dict) for item in inner.values()):
            # An object of objects: its keys are ids, unless the objects have ids of their own.
            yield where, [_keyed(key, item) for key, item in inner.items()]
        else:
            for key, item in inner.items():
                yield from _arrays(item, f"{where}.{key}" if where else key, depth + 1)


def _with_header(name: str, records: list[list[Any]]) -> list[Any]:
    """Rows that are arrays, of which the first names the columns."""
    header = [str(cell).strip() for cell in records[0]]
    if (twice := find_twice(cell for cell in header if cell)) is not None:
        raise InvalidTable(f"{name}: column {twice[:100]!r} is there twice: rename or remove one. Nothing was sent")
    return [dict(zip(header, record, strict=False)) for record in records[1:]]
