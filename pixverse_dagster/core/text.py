"""Text in one normal form, so that two spellings of the same words are one request; and text that is too long."""

from __future__ import annotations

import re
import unicodedata

CUT = " … (cut)"
"""What a text ends with of which something was left out."""
_SENTENCE_END = re.compile(r"[.!?](?=\s)|[\u3002\uff01\uff1f]|.(?=\n)")


def normal_text(text: str) -> str:
    """The text in Unicode's form NFC, with LF as its line end and without white space around it. Idempotent.

    What a person wrote inside the text stays: spaces, blank lines, every character that is not another's spelling.
    """
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def shorten(text: str, limit: int) -> str:
    """The text, or of a longer one as many whole sentences as fit into `limit` characters, and a mark that it was cut.

    Half a sentence may say the opposite of the whole. Only where not even the first fits, it ends behind a word.
    """
    if len(text) <= limit:
        return text
    room = max(limit - len(CUT), 0)
    ends = [found.end() for found in _SENTENCE_END.finditer(text[: room + 1]) if found.end() <= room]
    if ends:
        return text[: ends[-1]] + CUT
    start = text[: room + 1]
    at = start.rfind(" ")
    return (start[:at] if at > 0 else text[:room]) + CUT
