"""Tables in CSV and its kin: one record per line, cells between commas, semicolons, tabs or bars."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.row import RawRow
from pixverse_dagster.tables.cells import unique_columns
from pixverse_dagster.tables.notes import FileSettings, Notes, same_name
from pixverse_dagster.tables.text import text_lines

_MAX_LINE = 8 * 1024**2
_CELLS_COMPARED = 1000
"""No more cells of a header tell how they are separated."""
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_QUOTED = re.compile(r'"(?:[^"]|"")*"?')
_SAID = re.compile(r'\s*"?sep=(.)"?[\s,;]*', re.IGNORECASE)
_NO_HEADER = re.compile(r"[\x00-\x08\x0e-\x1f]|\s*<(!doctype|html|\?xml)", re.IGNORECASE)


def read_csv(name: str, stream: BinaryIO, notes: Notes, settings: FileSettings) -> Iterator[RawRow]:
    """CSV with a header line. The separator is the one of the header, or the one that `sep=` above it names.

    Raises InvalidTable if it is not CSV or no text, or if its header names no columns.
    """
    lines = _lines(name, stream, notes)
    first, above = next(lines, ""), 0
    said = _SAID.fullmatch(first)
    if said:
        first, above = next(lines, ""), 1
    if _NO_HEADER.match(first) or "\x00" in first:
        raise InvalidTable(
            f"{name}: is no table of text: its first line is {first.strip()[:40]!r}. Perhaps it is a web page, such as "
            "a login, or a workbook under another name. Nothing was sent"
        )
    separator = said.group(1) if said else find_separator(first, settings.columns)
    word = _SEPARATORS.get(separator, repr(separator))
    notes.facts["separator"] = word
    reader = _records(chain([first], lines), separator, above)
    line = above + 1
    try:
        header = unique_columns(name, next(reader, (line, list[str]()))[1])
        if not any(header):
            raise InvalidTable(
                f"{name}: the first line must name the columns, at least id and prompt. Nothing was sent"
            )
        notes.columns = [column for column in header if column]
        for line, cells in reader:
            if any(map(str.strip, cells)):
                row = {column: cell for column, cell in zip(header, cells, strict=False) if column}
                yield RawRow(line, row, _ragged(header, cells, word))
    except _Unreadable as error:
        raise InvalidTable(f"{name}, {error}. Nothing was sent") from None


class _Unreadable(Exception):
    """What is not CSV, and on which line."""


def _records(lines: Iterator[str], separator: str, above: int) -> Iterator[tuple[int, list[str]]]:
    """Each record and its first line. Between tabs, quotes in a cell that is not quoted as a whole are its own."""
    counted = _Counted(lines, above)
    reader = csv.reader(counted, strict=True, delimiter=separator)
    while True:
        line = counted.number + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            if separator != "\t" or counted.number != line or "expected after" not in str(error):
                raise _Unreadable(f"line {counted.number}: not readable as CSV ({error})") from None
            cells = counted.last.rstrip("\r\n").split("\t")
            reader = csv.reader(counted, strict=True, delimiter=separator)
        if cells is None:
            return
        yield line, cells


class _Counted:
    """Lines, counted as they are taken; the last one is kept."""

    def __init__(self, lines: Iterator[str], above: int) -> None:
        self._lines = lines
        self.number = above
        self.last = ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.last = next(self._lines)
        self.number += 1
        return self.last


def find_separator(header: str, wanted: frozenset[str]) -> str:
    """The separator of a header line: the one that gives the most of the wanted columns, or that is there most often.

    What stands in quotes does not count. A comma, if there is none.
    """
    outside = _QUOTED.sub("", header)
    names = {same_name(name) for name in wanted}

    def weight(separator: str) -> tuple[int, int]:
        try:
            cells = next(csv.reader([header], delimiter=separator), list[str]())
        except csv.Error:
            cells = list[str]()
        return sum(same_name(cell) in names for cell in cells[:_CELLS_COMPARED]), outside.count(separator)

    return max((mark for mark in _SEPARATORS if mark in outside), key=weight, default=",")


def _lines(name: str, stream: BinaryIO, notes: Notes) -> Iterator[str]:
    for number, line in enumerate(text_lines(name, stream, _MAX_LINE, notes, western=True), start=1):
        if line is None:
            raise InvalidTable(f"{name}, line {number}: longer than {_MAX_LINE} characters. Nothing was sent")
        yield line


def _ragged(header: list[str], cells: list[str], separator: str) -> str:
    """The complaint about a row whose cells do not match the header; empty if they do. Empty cells more do no harm."""
    beyond = any(map(str.strip, cells[len(header) :]))
    unnamed = any(cell.strip() for name, cell in zip(header, cells, strict=False) if not name)
    if len(cells) >= len(header) and not beyond and not unnamed:
        return ""
    return f"has {len(cells)} cells where the header has {len(header)}: a {separator} may need quotes around its cell"
