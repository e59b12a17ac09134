"""The final form of row ids: one spelling of each, so that a table that is saved by another tool has the same rows.

An id is the partition key, the name of a folder, and what a request is paid for under. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pixverse_dagster.core.row import RawRow

_MAX_CHARACTERS = 1000
"""Longer ones are refused anyway."""
_NUMBER = re.compile(r"-?\d+(\.\d*)?([eE][+-]?\d+)?")
_WHOLE = re.compile(r"(-?\d+)\.0+")
_JOINERS = frozenset("\u200c\u200d")
_BLACK_FLAG = "\U0001f3f4"
_KEYCAP = "\u20e3"
# Characters without a picture of their own that Unicode does not count as format characters.
_BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_SPACE_LIKE = frozenset("\u2800")
# Format characters that do have a picture: signs of Arabic, Syriac and Kaithi numbers, and joined hieroglyphs.
_SEEN = re.compile("[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd\U00013430-\U0001343f]")
# Scripts in which a joiner changes how its neighbours look.
_JOINING = frozenset({
    "ARABIC", "SYRIAC", "NKO", "MANDAIC", "MONGOLIAN", "DEVANAGARI", "BENGALI", "GURMUKHI", "GUJARATI", "ORIYA",
    "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "SINHALA", "TIBETAN", "MYANMAR", "KHMER", "BALINESE", "JAVANESE",
})  # fmt: skip


def final_id(text: str) -> str:
    """The id in its final form: NFC, every kind of space as a space, without invisible characters. Idempotent.

    What people see stays: joined emoji and flags, joiners in the scripts that have them, the styles of emoji.
    """
    if text.isascii() or len(text) > _MAX_CHARACTERS:
        return text.strip()
    # Again and again: what stood on both sides of an invisible character may be one character now.
    while (formed := _form(text)) != text:
        text = formed
    return text


def _form(text: str) -> str:
    kept: list[str] = []
    normal = unicodedata.normalize("NFC", text)
    for at, character in enumerate(normal):
        if _is_space(character):
            kept.append(" ")
        elif not _is_invisible(character) or _matters(kept, character, normal[at + 1 : at + 2]):
            kept.append(character)
    return "".join(kept).strip()


def looks_like(row_id: str) -> str:
    """A text that is the same for ids in their final form that nobody can tell apart: without the styles of emoji."""
    return row_id if row_id.isascii() else "".join(c for c in row_id if not _is_style(c))


@dataclass(frozen=True)
class Settled:
    """The rows of a table with their ids in final form. `doubles` maps the line of a double to that of its first."""

    rows: Sequence[RawRow]
    doubles: Mapping[int, int]


def settle_ids(rows: Iterable[RawRow]) -> Settled:
    """Put the ids of a whole table into their final form, and find those that only seem to differ.

    Where every id of the column is a number, `1.0`, as spreadsheets write a column that has an empty cell, is `1`,
    unless that made one row of two.

    A double is a row whose id looks like that of an earlier row and is written in another way: the first one counts.
    Rows whose ids are written in the very same way are `duplicate_problems`.
    """
    found = list(rows)
    columns = [_id_column(row) for row in found]
    written = [str(row.cells[column]).strip() if column else "" for row, column in zip(found, columns, strict=True)]
    ids = [final_id(text) for text in written]
    given = set(ids) - {""}
    whole = {row_id: _without_fraction(row_id) for row_id in given}
    if all(_NUMBER.fullmatch(row_id) for row_id in given) and len(set(whole.values())) == len(given):
        ids = [whole.get(row_id, row_id) for row_id in ids]
    first: dict[str, tuple[str, int]] = {}
    doubles: dict[int, int] = {}
    for row, text, row_id in zip(found, written, ids, strict=True):
        spelling, line = first.setdefault(looks_like(row_id), (text, row.line))
        if row_id and spelling != text:
            doubles[row.line] = line
    settled = [
        replace(row, cells={**row.cells, column: row_id}) if column and row.cells[column] != row_id else row
        for row, column, row_id in zip(found, columns, ids, strict=True)
    ]
    return Settled(settled, doubles)


def _id_column(row: RawRow) -> Any:
    return next((c for c, value in row.cells.items() if str(c).strip() == "id" and value is not None), None)


def _without_fraction(row_id: str) -> str:
    found = _WHOLE.fullmatch(row_id)
    return ("0" if found.group(1) == "-0" else found.group(1)) if found else row_id


def _is_space(character: str) -> bool:
    return unicodedata.category(character) == "Zs" or character in _SPACE_LIKE


def _is_style(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef" or (
        "\u180b" <= character <= "\u180f" and character != "\u180e"
    )  # fmt: skip


def _is_invisible(character: str) -> bool:
    return (
        (unicodedata.category(character) == "Cf" and not _SEEN.match(character))
        or character in _BLANKS
        or _is_style(character)
    )


def _matters(before: Sequence[str], character: str, after: str) -> bool:
    """Whether an invisible character changes how its neighbours look."""
    last = before[-1] if before else ""
    if _is_style(character):
        return bool(last) and (_is_picture(last) or after == _KEYCAP or unicodedata.category(last) == "Lo")
    if "\U000e0020" <= character <= "\U000e007f":
        flag = next((c for c in reversed(before) if not "\U000e0020" <= c <= "\U000e007f"), "")
        return flag == _BLACK_FLAG
    if character not in _JOINERS or not after:
        return False
    styled = next((c for c in reversed(before) if not _is_style(c)), "")
    if character == "\u200d" and _is_picture(styled) and _is_picture(after):
        return True
    return _joins(last) and _joins(after)


def _is_picture(character: str) -> bool:
    """Whether it may be a part of an emoji: a symbol, or a skin tone."""
    return bool(character) and unicodedata.category(character) in {"So", "Sk"} and not character.isascii()


def _joins(character: str) -> bool:
    """Whether it is a letter or a sign of a script in which letters join."""
    if not character or unicodedata.category(character)[0] not in "LM":
        return False
    return unicodedata.name(character, "").partition(" ")[0] in _JOINING
