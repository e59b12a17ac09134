"""The data files of a gallery: their names, their text, and which clips stand together in one. Pure.

A browser loads them from a folder by script tags alone, so that each is one call with one string: JSON, which cannot
set a prototype as a literal can. A file is named by the digest of what it holds, and never changes; only the index
is replaced.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

FORMAT = 1
"""The form of the data. A page of another one says so, and asks for a new gallery."""
CARDS_IN_CHUNK = 500
DETAILS_IN_FILE = 100
INDEX = "index"

Card = dict[str, Any]
Detail = tuple[str, dict[str, Any]]

_ESCAPED = re.compile("[\\\\'<\u2028\u2029]")
_ESCAPES = {"\\": "\\\\", "'": "\\'", "<": "\\x3c", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_UNESCAPED = re.compile(r"\\(x3c|u2028|u2029|.)")
_CHARACTERS = {"x3c": "<", "u2028": "\u2028", "u2029": "\u2029"}
_SCRIPT = re.compile(r"gallery\('([a-z0-9-]+)','(.*)'\)\n", re.DOTALL)


@dataclass(frozen=True)
class DataFile:
    """A data file: its name without folder and ending, and its document."""

    name: str
    document: Any

    @property
    def path(self) -> str:
        """Where it stands in the gallery."""
        return data_path(self.name)

    def encode(self) -> bytes:
        """Its text."""
        return encode_script(self.name, self.document)


@dataclass
class Chunk:
    """Clips that stand together: their cards, and what the pages of each say."""

    cards: list[Card] = field(default_factory=list[Card])
    details: list[Detail] = field(default_factory=list[Detail])

    def add(self, card: Card, detail: dict[str, Any]) -> None:
        """Add a clip."""
        self.cards.append(card)
        self.details.append((str(card["id"]), detail))

    def files(self) -> tuple[DataFile, list[DataFile]]:
        """The file of the cards, and those of the details; the card at n has its details in file n // 100."""
        cards = name_file("c", self.cards)
        step = DETAILS_IN_FILE
        return cards, [name_file("d", self.details[at : at + step]) for at in range(0, len(self.details), step)]

    def without(self, ids: Iterable[str]) -> Chunk:
        """The same without these clips."""
        gone = set(ids)
        cards = [card for card in self.cards if card["id"] not in gone]
        return Chunk(cards, [detail for detail in self.details if detail[0] not in gone])


def name_file(kind: str, document: Any) -> DataFile:
    """A data file, named by what it holds."""
    return DataFile(f"{kind}-{hashlib.sha256(_json(document)).hexdigest()[:16]}", document)


def data_path(name: str) -> str:
    """Where the data file of this name stands in the gallery."""
    return f"data/{name}.js"


def encode_script(name: str, document: Any) -> bytes:
    """A document as a script: one call with its name and one string, in which nothing ends the string or a tag."""
    text = _json(document).decode()
    return f"gallery('{name}','{_ESCAPED.sub(lambda found: _ESCAPES[found.group()], text)}')\n".encode()


def decode_script(data: bytes) -> tuple[str, Any]:
    """The name and the document of a script. Raises ValueError if it is none of a gallery."""
    found = _SCRIPT.fullmatch(data.decode())
    if found is None:
        raise ValueError("it is no data file of a gallery")
    text = _UNESCAPED.sub(lambda one: _CHARACTERS.get(one.group(1), one.group(1)), found.group(2))
    return found.group(1), json.loads(text)


def read_cards(document: Any) -> list[Card]:
    """The cards of a chunk file's document. Raises ValueError if they are none."""
    if not isinstance(document, list):
        raise TypeError("it holds no list of clips")
    cards = cast("list[Card]", document)
    if not all(isinstance(card, dict) and isinstance(card.get("id"), str) for card in cards):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("it holds something that is no clip")
    return cards


def read_details(document: Any) -> list[Detail]:
    """The details of a file's document."""
    return [(str(one[0]), dict(one[1])) for one in document]


def revision_of(index: dict[str, Any]) -> str:
    """The digest of everything that a reader of the gallery sees; nothing in it is a time at which it was written."""
    shown = {name: value for name, value in index.items() if name not in {"revision", "writer"}}
    return hashlib.sha256(_json(shown)).hexdigest()[:20]


def _json(document: Any) -> bytes:
    # Half of a surrogate pair has no place in UTF-8.
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
