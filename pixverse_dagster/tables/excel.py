"""Tables in Excel workbooks: one sheet, or a range of it, with a header line."""

from __future__ import annotations

import datetime as dt
import warnings
import zipfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import zip_longest
from typing import Any, BinaryIO

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.row import RawRow
from pixverse_dagster.tables.cells import error_text, raw_row, unique_columns
from pixverse_dagster.tables.notes import FileSettings, Notes, list_columns

_MAX_BYTES = 1024**3
"""Largest workbook, unpacked."""
_NOT_CALCULATED = "#NOT_CALCULATED!"
"""In the place of a formula that no program has calculated yet: there is no value to be read."""


def read_excel(name: str, stream: BinaryIO, notes: Notes, settings: FileSettings) -> Iterator[RawRow]:
    """The first sheet that is shown, or the one that the settings name. The line of a row is its row of the sheet.

    A cell that shows an error has the error's word, such as `#REF!`. Raises InvalidTable if it is no workbook, has no
    such sheet or range, or names no columns.
    """
    library = _import(name)
    try:
        has_formulas = _check(name, stream)
        with _opened(library, stream, values=True) as book:
            title = _choose(name, book, settings.sheet)
            notes.facts["sheet"] = title
            box = _bounds(name, library, settings.range)
            values = _rows(book[title], box)
            if not has_formulas:
                yield from _records(name, box, values, notes)
                return
            with _opened(library, stream, values=False) as written:
                formulas = _rows(written[title], box)
                yield from _records(name, box, map(_calculated, values, formulas), notes)
    except (zipfile.BadZipFile, KeyError, OSError, ValueError, TypeError, EOFError) as error:
        raise InvalidTable(
            f"{name}: not readable as an Excel workbook ({error_text(error)}): save it as .xlsx. Nothing was sent"
        ) from None


def _import(name: str) -> Any:
    try:
        return import_module("openpyxl")
    except ModuleNotFoundError:
        raise InvalidTable(
            f"{name}: Excel workbooks need openpyxl: install pixverse-dagster[excel]. Nothing was sent"
        ) from None


def _check(name: str, stream: BinaryIO) -> bool:
    """Whether a workbook has formulas. Raises InvalidTable for one that would fill the memory."""
    with zipfile.ZipFile(stream) as parts:
        if (size := sum(part.file_size for part in parts.infolist())) > _MAX_BYTES:
            raise InvalidTable(f"{name}: has {size} bytes unpacked; at most {_MAX_BYTES} are read. Nothing was sent")
        sheets = [part for part in parts.namelist() if part.startswith("xl/worksheets/") and part.endswith(".xml")]
        return any(_mentions(parts, sheet) for sheet in sheets)


def _mentions(parts: zipfile.ZipFile, sheet: str) -> bool:
    before = b""
    with parts.open(sheet) as content:
        while chunk := content.read(1024 * 1024):
            if b"<f>" in before + chunk or b"<f " in before + chunk:
                return True
            before = chunk[-3:]
    return False


@contextmanager
def _opened(library: Any, stream: BinaryIO, *, values: bool) -> Generator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of styles and extensions that do not matter here
        book = library.load_workbook(stream, read_only=True, data_only=values, keep_links=False)
    try:
        yield book
    finally:
        book.close()


def _choose(name: str, book: Any, wanted: str | None) -> str:
    sheets = {sheet.title: sheet for sheet in book.worksheets}
    if wanted is None:
        shown = next((title for title, sheet in sheets.items() if sheet.sheet_state == "visible"), None)
        if shown is not None:
            return shown
    elif wanted in sheets:
        return wanted
    elif wanted.isdigit() and 1 <= int(wanted) <= len(sheets):
        return list(sheets)[int(wanted) - 1]
    raise InvalidTable(
        f"{name}: has no sheet {'that is shown' if wanted is None else repr(wanted)}; it has: {list_columns(sheets)}. "
        "Nothing was sent"
    )


def _bounds(name: str, library: Any, given: str | None) -> dict[str, int]:
    """The borders of a range such as `B3:F40` or `B3`, which then goes to the end."""
    if given is None:
        return {"min_row": 1}
    try:
        left, top, right, bottom = library.utils.cell.range_boundaries(given)
    except (ValueError, TypeError):
        raise InvalidTable(
            f"{name}: {given!r} is no range of cells: write B3:F40, or B3 to begin there. Nothing was sent"
        ) from None
    box = {"min_col": left, "min_row": top or 1}
    if ":" in given:
        box |= {"max_col": right, "max_row": bottom}
    return {side: at for side, at in box.items() if at}


def _rows(sheet: Any, box: dict[str, int]) -> Iterator[Sequence[Any]]:
    sheet.reset_dimensions()  # what other programs write there may be wrong
    for cells in sheet.iter_rows(**box):
        yield [_value(cell) for cell in cells]


def _value(cell: Any) -> Any:
    value = cell.value
    if isinstance(value, dt.datetime) and value.time() == dt.time() and "h" not in str(cell.number_format).lower():
        return value.date()
    return value


def _calculated(values: Sequence[Any], formulas: Sequence[Any]) -> Sequence[Any]:
    """The values of a row; where a formula has none, the word for that."""
    return [
        _NOT_CALCULATED if value is None and formula is not None else value
        for value, formula in zip_longest(values, formulas)
    ]


def _records(name: str, box: dict[str, int], rows: Iterator[Sequence[Any]], notes: Notes) -> Iterator[RawRow]:
    header = unique_columns(name, ("" if cell is None else cell for cell in next(rows, ())))
    if not any(header):
        raise InvalidTable(
            f"{name}: row {box['min_row']} of the sheet must name the columns, at least id and prompt; say where the "
            "table is with `sheet` and `range`. Nothing was sent"
        )
    notes.columns = [column for column in header if column]
    for number, cells in enumerate(rows, start=box["min_row"] + 1):
        row = {column: cell for column, cell in zip(header, cells, strict=False) if column}
        yield raw_row(number, row)
