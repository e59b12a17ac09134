"""A table of marks: what the gallery exports, and what spreadsheet programs make of it.

Columns are found by name, in any order and case; of the gallery's own, `clip` and `mark` are needed. A line is joined
by its `clip` alone: programs write row names and numbers in forms of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.layout import ClipKey, parse
from pixverse_dagster.core.mark import Choice
from pixverse_dagster.core.row import Problem, RawRow
from pixverse_dagster.core.text import shorten
from pixverse_dagster.tables.cells import label_text
from pixverse_dagster.tables.files import FileTable
from pixverse_dagster.tables.notes import FileSettings, Notes, list_columns, same_name
from pixverse_dagster.transport.download import DownloadRules

COLUMNS = ("row", "take", "attempt", "output", "clip", "mark", "note", "model", "marked_at")
"""Of the table that the gallery exports, in its order."""
_NEEDED = ("clip", "mark")
_READ = (*_NEEDED, "row", "note", "marked_at")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")
"""A cell that begins with one of these signs is a formula to a spreadsheet program: the gallery writes an apostrophe
before it, and one more where there are some, so that it can be taken off again."""
_PICKED = frozenset({"pick", "picked", "picks", "✓", "✔"})
_REJECTED = frozenset({"reject", "rejected", "rejects", "✗", "✘"})
_SIGNS = "✓✔✗✘ \u00a0"
_ENDINGS = (".mp4", ".webm", ".mov")
_MAX_SHOWN = 200


@dataclass(frozen=True)
class MarkedClip:
    """A line of the table: the key of a clip, without its ending, and what a person thinks of it."""

    line: int
    clip: str
    key: ClipKey
    choice: Choice
    note: str = ""
    marked_at: str = ""


@dataclass(frozen=True)
class MarkTable:
    """A table of marks as it was read: a line for each clip, and what is wrong with other lines.

    `unread` are the clips whose line is there and could not be read.
    """

    lines: tuple[MarkedClip, ...]
    problems: tuple[Problem, ...]
    unread: tuple[str, ...]


def read_mark_table(source: str, rules: DownloadRules | None = None) -> MarkTable:
    """Read a table of marks from a file or a URL, in any format of prompt tables.

    Of a clip that is there several times, the last line counts. Raises InvalidTable if the table as a whole cannot be
    read, or has no column of clips or of marks.
    """
    table = FileTable(source, rules=rules).with_settings(FileSettings(columns=frozenset(COLUMNS)))
    notes = Notes()
    found: dict[str, MarkedClip] = {}
    problems: list[Problem] = []
    unread: list[str] = []
    names: Mapping[str, str] | None = None
    for row in table.read(notes):
        columns = notes.columns if notes.columns is not None else list(row.cells)
        if names is None or notes.columns is None:
            names = _find_columns(table.describe(), columns)
        read = _read_line(row, {known: row.cells.get(column) for known, column in names.items()})
        if isinstance(read, MarkedClip):
            found.pop(read.clip, None)
            found[read.clip] = read
        elif read is not None:
            problem, clip = read
            problems.append(problem)
            unread += [clip] * bool(clip)
    if names is None and notes.columns is not None:
        _find_columns(table.describe(), notes.columns)
    return MarkTable(tuple(found.values()), tuple(problems), tuple(unread))


def _find_columns(table: str, columns: list[str]) -> dict[str, str]:
    """The table's own name of each column that is read."""
    names = {same_name(column): column for column in reversed(columns)}
    for needed in _NEEDED:
        if needed not in names:
            raise InvalidTable(
                f"{table}: is no table of marks: it has no column {needed!r}, only {list_columns(columns)}. Export the "
                "marks from the gallery again, and keep its columns `clip` and `mark`. The marks stay as they were, "
                "and nothing was spent"
            )
    return {known: names[known] for known in _READ if known in names}


def _read_line(row: RawRow, cells: Mapping[str, Any]) -> MarkedClip | tuple[Problem, str] | None:
    """A line; or what is wrong with it, and its clip if that is clear; None for a blank line and a repeated header."""
    text = {known: _unguarded(label_text(cell)) for known, cell in cells.items()}
    clip, word = text["clip"], text["mark"]
    if not any(text.values()) or (same_name(clip) == "clip" and same_name(word) == "mark"):
        return None
    for ending in _ENDINGS:
        clip = clip.removesuffix(ending)

    def problem(column: str, message: str) -> Problem:
        return Problem(row.line, text.get("row", ""), column, message)

    key = parse(f"{clip}{_ENDINGS[0]}")
    if not isinstance(key, ClipKey) or key.kind != "output":
        said = f"{shorten(clip, _MAX_SHOWN)!r} is no clip's key" if clip else "is empty"
        return problem("clip", f"{said}: a line is joined by what the gallery wrote there. The line is left out"), ""
    if row.complaint:
        return problem("", f"{row.complaint}. The clip keeps the mark that it had"), clip
    choice = _read_choice(word)
    if choice is None:
        return problem("mark", f"{word[:50]!r} is neither pick nor reject. The clip keeps the mark that it had"), clip
    return MarkedClip(row.line, clip, key, choice, text.get("note", ""), text.get("marked_at", ""))


def _read_choice(word: str) -> Choice | None:
    """Empty is no decision; None if the word says nothing that is known here."""
    plain = word.strip().casefold()
    plain = plain.strip(_SIGNS) or plain
    if plain in _PICKED:
        return Choice.PICK
    if plain in _REJECTED:
        return Choice.REJECT
    return Choice.NONE if plain in {"", "none", "-"} else None


def _unguarded(text: str) -> str:
    return text[1:] if _GUARDED.match(text) else text
