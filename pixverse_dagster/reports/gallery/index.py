"""The index of a gallery: what a page reads first, and what the next writer goes on from. It is written last.

Clips keep the chunk that they first came into, so that a late one moves no other. What only the writer needs is in the
same file, so that one write makes both true.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from pixverse_dagster.core.values import StoredModel
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.reports.gallery.chunks import (
    FORMAT,
    INDEX,
    Card,
    Chunk,
    data_path,
    decode_script,
    encode_script,
    read_cards,
    read_details,
    revision_of,
)
from pixverse_dagster.storage.pages import PageFiles

WRITER_VERSION = 1
"""The form of the cards. With another one, all of them are made anew."""
KEPT_SECONDS = 86_400
"""How long files stay that are in no index any more: pages that are open ask for them."""


class ChunkEntry(StoredModel):
    """A chunk in the index: the names of its files."""

    cards: str
    count: int
    details: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All its files."""
        return (self.cards, *self.details)


class WriterState(StoredModel):
    """What the next writer goes on from. `mark` tells the ledger, and its history up to `position`, from another."""

    version: int
    position: int
    mark: str
    worlds: dict[str, str]
    retired: tuple[tuple[str, int], ...] = ()
    """Files that are in no index any more, and since when (seconds since the epoch)."""
    sweeps: int = 0
    """How often files were deleted: whoever wrote some before that begins again."""


class Index(StoredModel):
    """The document of `index.js`."""

    format: int = FORMAT
    name: str
    store: str
    revision: str = ""
    app: str
    base: str
    dagster_url: str | None = None
    count: int = 0
    chunks: tuple[ChunkEntry, ...] = ()
    open: str | None = None
    open_details: tuple[str, ...] = ()
    checks: str | None = None
    links: dict[str, Any] | None = None
    writer: WriterState

    def paths(self) -> set[str]:
        """Every file that it names, but for the pictures."""
        names = [name for chunk in self.chunks for name in chunk.names]
        names += [name for name in (self.open, *self.open_details, self.checks) if name]
        return {*map(data_path, names), *app_paths(self.app)}

    def dump(self) -> dict[str, Any]:
        """The document, with its revision."""
        document = self.model_dump(mode="json")
        return document | {"revision": revision_of(document)}

    def encode(self) -> bytes:
        """The text of `index.js`."""
        return encode_script(INDEX, self.dump())


@dataclass(frozen=True)
class Found:
    """The index as it stands in a gallery, with the version that a conditional write compares; None without one."""

    index: Index | None = None
    version: str | None = None


def app_paths(version: str) -> set[str]:
    """The files that are named by the page's version."""
    return {f"app-{version}.js", f"app-{version}.css"}


def read_index(pages: PageFiles) -> Found:
    """The index of a gallery. One that cannot be read is as good as none, and is replaced."""
    file = pages.read(data_path(INDEX))
    if file is None:
        return Found()
    try:
        return Found(Index.model_validate(decode_script(file.data)[1]), file.version)
    except (ValueError, ValidationError):
        return Found(None, file.version)


def read_chunk_cards(pages: PageFiles, entry: ChunkEntry) -> Chunk | None:
    """The cards of a chunk without details; None if its file is not there, or is none."""
    try:
        return Chunk(read_cards(_read_data(pages, entry.cards)))
    except (ValueError, TypeError):
        return None


def read_places(pages: PageFiles, entry: ChunkEntry) -> list[Card]:
    """The cards of a chunk; where their file is lost, only their ids, as far as the files of the details have them."""
    chunk = read_chunk_cards(pages, entry)
    if chunk is not None:
        return chunk.cards
    return [{"id": str(one[0])} for name in entry.details for one in read_list(pages, name)]


def read_chunk(pages: PageFiles, entry: ChunkEntry) -> Chunk | None:
    """A chunk, whole; None if one of its files is not there, or is none."""
    chunk = read_chunk_cards(pages, entry)
    try:
        if chunk is not None:
            chunk.details = [one for name in entry.details for one in read_details(_read_data(pages, name))]
    except (ValueError, TypeError, KeyError, IndexError):
        return None
    if chunk is None or [card["id"] for card in chunk.cards] != [detail[0] for detail in chunk.details]:
        return None
    return chunk


def read_documents(pages: PageFiles, index: Index) -> Iterator[tuple[str, Any]]:
    """Every data file that an index names, by its name, and the index first."""
    yield INDEX, index.dump()
    for path in sorted(path for path in index.paths() if path.startswith("data/")):
        if (file := pages.read(path)) is not None:
            yield decode_script(file.data)


def ledger_mark(ledger: Ledger, position: int) -> str:
    """What tells this ledger, as it was at a position of its history, from any other, and from an older copy of it."""
    entries = ledger.history.after(position - 1, 1) if position else []
    last = entries[0] if entries else None
    return "|".join([ledger.id, *([f"{last.at}", last.task, last.event] if last else [])])


def read_list(pages: PageFiles, name: str) -> list[Any]:
    """The list of a data file; an empty one if it is not there, or is none."""
    try:
        found = _read_data(pages, name)
    except ValueError:
        return []
    return cast("list[Any]", found) if isinstance(found, list) else []


def _read_data(pages: PageFiles, name: str) -> Any:
    file = pages.read(data_path(name))
    if file is None:
        raise ValueError(f"{name} is not there")
    found, document = decode_script(file.data)
    if found != name:
        raise ValueError(f"{name} calls itself {found}")
    return document
