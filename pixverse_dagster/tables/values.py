"""Prompt tables in memory, from an upstream asset or a function. No data frame library is imported for them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

from pixverse_dagster.core.errors import InvalidTable, PixverseError
from pixverse_dagster.core.row import RawRow
from pixverse_dagster.tables.arrow import arrow_rows, import_arrow
from pixverse_dagster.tables.cells import error_text, raw_row, unique_columns
from pixverse_dagster.tables.notes import Notes


class ValueTable:
    """Rows in memory: an iterable of mappings, a pandas or polars frame, or anything with Arrow's C stream interface.

    A value that gives its rows only once (a generator, an Arrow reader) is not copied, so it can be read only once.
    """

    def __init__(self, value: Any, name: str = "") -> None:
        self._value = value
        self._name = name or f"the {type(value).__name__}"
        self._spent = False

    def describe(self) -> str:
        """The given name, or else the type of the value."""
        return self._name

    def read(self, notes: Notes | None = None) -> Iterator[RawRow]:
        """The rows in order. Raises InvalidTable for any other value, and for an iterator that is read again."""
        if self._spent:
            raise InvalidTable(
                f"{self._name}: gives its rows only once and was read before: give a list, a frame or a function that "
                "makes it. Nothing was sent"
            )
        self._spent = isinstance(self._value, Iterator)
        return _guarded(self._name, lambda: self._value, notes or Notes())


class CallableTable:
    """The rows that a function without arguments returns: anything that `ValueTable` takes. Called for each reading."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def describe(self) -> str:
        """The function's module and name."""
        named = self._function if hasattr(self._function, "__qualname__") else type(self._function)
        return f"{named.__module__}.{named.__qualname__}"

    def read(self, notes: Notes | None = None) -> Iterator[RawRow]:
        """The rows in order. Raises InvalidTable if the function fails or returns something else."""
        return _guarded(self.describe(), self._function, notes or Notes())


def _guarded(name: str, make: Callable[[], Any], notes: Notes) -> Iterator[RawRow]:
    """The rows of the value that `make` returns. Any error on the way becomes an InvalidTable."""
    try:
        yield from _rows(name, make(), notes)
    except PixverseError:
        raise
    except Exception as error:
        # Chained: it may be an error in the user's own function, who then needs the traceback.
        raise InvalidTable(
            f"{name}: failed with {type(error).__name__}: {error_text(error)}. Nothing was sent"
        ) from error


def _rows(name: str, value: Any, notes: Notes) -> Iterator[RawRow]:
    kind = type(value).__name__
    if _is(value, "polars", "LazyFrame"):
        value = value.collect()
    if _is(value, "pandas", "DataFrame"):
        return _frame_rows(name, value.columns, value.itertuples(index=False, name=None), notes)
    if _is(value, "polars", "DataFrame"):
        return _frame_rows(name, value.columns, value.iter_rows(), notes)
    if hasattr(value, "__arrow_c_stream__"):
        reader = import_arrow(name).RecordBatchReader.from_stream(value)
        return arrow_rows(name, reader.schema.names, reader, notes)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return _mapping_rows(cast("Iterable[Any]", value))
    raise InvalidTable(
        f"{name}: a {kind} is no table of prompts: give a list of mappings, a pandas or polars frame, "
        "or an Arrow table. Nothing was sent"
    )


def _is(value: Any, library: str, name: str) -> bool:
    """Whether the value is an instance of a library's class. If the library is not imported, it cannot be."""
    kind = getattr(sys.modules.get(library), name, None)
    return kind is not None and isinstance(value, kind)


def _frame_rows(name: str, columns: Iterable[Any], rows: Iterable[tuple[Any, ...]], notes: Notes) -> Iterator[RawRow]:
    names = notes.columns = unique_columns(name, columns)
    for number, cells in enumerate(rows, start=1):
        yield raw_row(number, dict(zip(names, cells, strict=True)))


def _mapping_rows(rows: Iterable[Any]) -> Iterator[RawRow]:
    for number, row in enumerate(rows, start=1):
        if isinstance(row, Mapping):
            yield raw_row(number, cast("Mapping[Any, Any]", row))
        else:
            yield RawRow(number, {}, f"is a {type(row).__name__}: one row is one mapping of columns to cells")


class AssetTable:
    """A prompt table that is the value of an asset. Only a run that receives the value can read it."""

    def __init__(self, asset: str) -> None:
        self.asset = asset

    def describe(self) -> str:
        """The asset's key."""
        return f"asset {self.asset}"

    def read(self) -> Iterator[RawRow]:
        """Always raises InvalidTable."""
        raise InvalidTable(f"{self.describe()}: its rows are read when `prompts` is materialised. Nothing was sent")
