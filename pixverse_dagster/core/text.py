"""Text in one normal form, so that two spellings of the same words are one request."""

from __future__ import annotations

import unicodedata


def normal_text(text: str) -> str:
    """The text in Unicode's form NFC, with LF as its line end and without white space around it. Idempotent.

    What a person wrote inside the text stays: spaces, blank lines, every character that is not another's spelling.
    """
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
