"""Text out of the bytes of a file, one line at a time, in the encodings that people's tools write.

UTF-8, with or without a byte-order mark; UTF-16 and UTF-32 with one, UTF-16 also without. A file that is no UTF-8
anywhere is taken for Windows-1252, which Excel writes in western Europe, if it looks like it: what is read otherwise
would pay for the wrong letters. A file is never half one and half the other.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from itertools import count
from typing import BinaryIO, cast

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.tables.notes import Notes

READ_AHEAD_BYTES = 256 * 1024
WESTERN = "Windows-1252"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NAMES = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8"}
_RAW = re.compile("[\udc80-\udcff]")
# What Windows-1252 makes of text in another 8-bit encoding: Cyrillic, Greek or Asian letters become long rows of
# accented ones, and letters of central Europe become signs inside of words.
_SIGNS = "\u00a1-\u00a9\u00ab-\u00b1\u00b3\u00b9\u00bc-\u00bf\u0192\u2020\u2021\u2030"
_NOT_WESTERN = re.compile(rf"[^\x00-\x7f\u2018-\u201f]{{4}}|[^\W\d_][{_SIGNS}][^\W\d_]")


def find_encoding(head: bytes) -> str:
    """Python's name of the encoding of a text that begins with these bytes; `utf-8` if they do not say."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    # In UTF-16 every second byte of western letters, of which headers and JSON are made, is zero.
    if len(head) >= 4:  # noqa: PLR2004
        if head[0] and not head[1] and head[2] and not head[3]:
            return "utf-16-le"
        if not head[0] and head[1] and not head[2] and head[3]:
            return "utf-16-be"
    return "utf-8"


def peek(stream: BinaryIO, size: int) -> tuple[bytes, BinaryIO]:
    """The first bytes of a stream, and a stream that has them still."""
    known = hasattr(stream, "peek")
    buffered = stream if known else cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", stream), READ_AHEAD_BYTES))
    return cast("io.BufferedReader", buffered).peek(size)[:size], buffered


def text_lines(name: str, stream: BinaryIO, limit: int, notes: Notes, *, western: bool = False) -> Iterator[str | None]:
    """The lines of a text. A line of more than `limit` characters is given as None, and never held in memory whole.

    `western` allows Windows-1252. Raises InvalidTable for bytes that are no text.
    """
    head, stream = peek(stream, 4)
    encoding = find_encoding(head)
    may_be_raw = encoding == "utf-8" and western
    notes.facts["encoding"] = _NAMES.get(encoding, encoding.upper())
    letters = _Letters(name, notes)
    with io.TextIOWrapper(
        stream, encoding=encoding, newline="", errors="surrogateescape" if may_be_raw else "strict"
    ) as text:
        for number in count(1):
            try:
                line = text.readline(limit + 1)
                whole = len(line) <= limit
                while line and not whole and line[-1] not in "\r\n":
                    line = text.readline(limit)
            except UnicodeError:
                raise InvalidTable(_not_text(name, number - 1, notes.facts["encoding"])) from None
            if whole and not line:
                return
            if may_be_raw and not line.isascii():
                line = letters.read(line, number)
            yield line if whole else None


class _Letters:
    """Reads lines that may be of Windows-1252, of a file that is so as a whole or not at all."""

    def __init__(self, name: str, notes: Notes) -> None:
        self._name = name
        self._notes = notes
        self._western: bool | None = None

    def read(self, line: str, number: int) -> str:
        """The line as it is meant. Raises InvalidTable if it is neither of the two encodings, or not the file's."""
        is_western = _RAW.search(line) is not None
        if self._western is None:
            self._western = is_western
        elif self._western != is_western:
            raise InvalidTable(_not_text(self._name, number - 1, "UTF-8"))
        if not is_western:
            return line
        try:
            read = line.encode("utf-8", "surrogateescape").decode("cp1252")
        except UnicodeError:
            raise InvalidTable(_not_text(self._name, number - 1, "UTF-8")) from None
        if _NOT_WESTERN.search(read):
            raise InvalidTable(_not_text(self._name, number - 1, "UTF-8"))
        if self._notes.facts["encoding"] != WESTERN:
            self._notes.facts["encoding"] = WESTERN
            self._notes.cautions.append(
                f"the table is not UTF-8 and was read as {WESTERN}, as Excel saves it: look at its accented letters, "
                "or save it as 'CSV UTF-8'"
            )
        return read


def _not_text(name: str, line: int, encoding: str) -> str:
    return f"{name}: not {encoding} text somewhere after line {line}: save it as UTF-8. Nothing was sent"
