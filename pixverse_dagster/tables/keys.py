"""What a row's id may be: it is the partition key, and the name of a folder. Pure."""

from __future__ import annotations

import hashlib

from pixverse_dagster.core.layout import encode_row
from pixverse_dagster.core.row import CONTROL_CHARACTERS, MAX_ID_BYTES, MAX_MESSAGE_CHARACTERS
from pixverse_dagster.core.text import normal_text
from pixverse_dagster.tables.ids import final_id
from pixverse_dagster.tables.words import is_error_word


def id_complaint(row_id: str) -> str:
    """Why an id cannot be a row's; empty if it can. Nearly everything can: slashes, commas, quotes, every script."""
    reasons = {
        "is empty: every row needs an id, which becomes its partition key": not row_id,
        "has a control character, which nobody can type or see: take it out": CONTROL_CHARACTERS.search(row_id),
        "has a space at an end, where nobody can see it: take it out": row_id != row_id.strip(),
        f"is {row_id[:40]!r}, what a spreadsheet shows for a formula that fails: mend it": is_error_word(row_id[:100]),
        "has '...', which in a range of partitions stands between its two ends: use '-' or '_' instead": "..."
        in row_id,
        "has '.' at an end, where it cannot be told from the '...' of a range of partitions: take it out": (
            row_id.startswith(".") or row_id.endswith(".")
        ),
        "is not valid Unicode text: use letters, digits, '-', '_' and '.'": not is_unicode(row_id),
    }
    if found := next((reason for reason, applies in reasons.items() if applies), ""):
        return found
    size = max(len(row_id), len(encode_row(row_id[:MAX_MESSAGE_CHARACTERS])))
    if size > MAX_ID_BYTES:
        return f"is {size} bytes long as a folder name; at most {MAX_ID_BYTES} fit: use a shorter id"
    return ""


def key_of_words(text: str) -> str:
    """An id out of a row's words, for tables that have no other: the words themselves, as far as an id can be them.

    The same words always give the same id. Of long ones the beginning stands for all, with a part of their sha256.
    """
    words = final_id(" ".join(CONTROL_CHARACTERS.sub(" ", text).split()))
    key = words.replace("...", "\u2026").strip(". ")
    if len(encode_row(key[:MAX_MESSAGE_CHARACTERS])) <= MAX_ID_BYTES >= len(key):
        return key
    mark = f"-{hashlib.sha256(normal_text(text).encode(errors='replace')).hexdigest()[:8]}"
    key = key[:MAX_ID_BYTES]
    while len(encode_row(key + mark)) > MAX_ID_BYTES:
        key = key[:-1]
    return key.rstrip(". ") + mark


def is_unicode(text: str) -> bool:
    """Whether a text can be written down: half of a character cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
