"""Takes clips out of a gallery at once, with every file that may still name them: what was forgotten is nowhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.layout import encode_row
from pixverse_dagster.reports.gallery.app import PAGE, load_app
from pixverse_dagster.reports.gallery.chunks import Card, Chunk, DataFile, name_file
from pixverse_dagster.reports.gallery.files import INDEX_PATH, delete_all
from pixverse_dagster.reports.gallery.index import (
    ChunkEntry,
    Index,
    WriterState,
    read_chunk,
    read_chunk_cards,
    read_index,
    read_list,
)
from pixverse_dagster.storage.pages import PageFiles

_TRIES = 8
_MADE_ANEW = WriterState(version=0, position=0, mark="", worlds={})
"""Of an index from which no writer goes on: the next one reads every clip again."""


def remove_clips(
    pages: PageFiles,
    pipeline: str,
    folders: Collection[str],
    row: str,
    *,
    is_younger: Callable[[WriterState], bool] | None = None,
) -> bool:
    """Take the clips of these folders, and the row while it has none, out of a pipeline's gallery.

    All files go that the gallery does not ask for without them. Returns whether any did; nothing is written where there
    is no gallery, and nothing that a reader sees where it has nothing of them. A writer that is at work, and has read
    of these clips before, begins again. For that the index is written anew also where it has nothing of them, unless
    `is_younger` says that its writer read the ledger after they were forgotten. Repeatable. Raises the store's own
    errors, and PixverseError where other writers kept interfering: run it again then.
    """
    changed = False
    for _ in range(_TRIES):
        done = _Removal(pages, pipeline, frozenset(folders), encode_row(row), is_younger).run()
        if done is not None:
            return changed or done
        changed = True
    raise PixverseError(f"{pages.uri(PAGE)}: other writers kept interfering; run it again")


@dataclass
class _Removal:
    """One attempt."""

    pages: PageFiles
    pipeline: str
    folders: frozenset[str]
    row: str
    is_younger: Callable[[WriterState], bool] | None = None
    thumbs: set[str] = field(default_factory=set[str])
    """The pictures of the clips that stay."""
    gone: set[str] = field(default_factory=set[str])
    """The ids of the clips that go."""

    def run(self) -> bool | None:
        """Whether anything was deleted; None if another writer came in between."""
        there = {path for path, _ in self.pages.list()}
        if not there:
            return False
        found = read_index(self.pages)
        index = self._without(found.index, there) if found.index else _empty(self.pipeline)
        doomed = there - index.paths() - self.thumbs - {PAGE, INDEX_PATH}
        # A writer that has put some of these files meets another index at its end, before they go and afterwards: it
        # begins again. So must one that knows the clips and has put nothing yet. Behind an index that is younger than
        # the forgetting there is none: whoever read that index read the ledger later.
        is_same = found.index is not None and index.dump()["revision"] == found.index.revision and not doomed
        if is_same and self.is_younger and self.is_younger(index.writer):
            return False
        first = _swept(index)
        if not self.pages.write_if(INDEX_PATH, first.encode(), found.version):
            return None
        if is_same:
            return False
        delete_all(self.pages, doomed)
        again = read_index(self.pages)
        if again.index is None or again.index.dump() != first.dump():
            return None
        return True if self.pages.write_if(INDEX_PATH, _swept(first).encode(), again.version) else None

    def _without(self, index: Index, there: set[str]) -> Index:
        """The index without the clips, its new files put. From one that misses a file no writer goes on."""
        chunks = [kept for entry in index.chunks for kept in self._chunk(entry)]
        count, changes = sum(one.count for one in chunks), dict[str, object]()
        if index.open:
            opened = [card for card in read_list(self.pages, index.open) if not self._is_meant(card)]
            changes, count = self._put_open(opened, index), count + len(opened)
        state = (
            index.writer if index.paths() <= there else _MADE_ANEW.model_copy(update={"sweeps": index.writer.sweeps})
        )
        changes |= {"chunks": tuple(chunks), "count": count, "checks": self._checks(index.checks)}
        return index.model_copy(update={**changes, "writer": state.model_copy(update={"retired": ()})})

    def _chunk(self, entry: ChunkEntry) -> list[ChunkEntry]:
        cards = read_chunk_cards(self.pages, entry)
        if cards is None:
            return []
        gone = [card for card in cards.cards if self._is_meant(card)]
        self.thumbs |= {f"thumbs/{card['thumb']}.jpg" for card in cards.cards if card not in gone and card.get("thumb")}
        self.gone |= {str(card["id"]) for card in gone}
        if not gone:
            return [entry]
        whole = read_chunk(self.pages, entry)
        kept = whole.without(str(card["id"]) for card in gone) if whole else Chunk()
        if not kept.cards:
            return []
        card_file, details = kept.files()
        self._put([*details, card_file])
        names = tuple(one.name for one in details)
        return [ChunkEntry(cards=card_file.name, count=len(kept.cards), details=names)]

    def _is_meant(self, card: Card) -> bool:
        """Whether a card is of one of the folders, or of the row while it has no clip."""
        card_id = str(card["id"])
        if "/" in card_id:
            tree = card.get("tree") or encode_row(self.pipeline)
            return f"{tree}/clips/{card_id.rpartition('/')[0]}" in self.folders
        return card_id == self.row or card_id.startswith(f"{self.row}~")

    def _put_open(self, opened: list[Card], index: Index) -> dict[str, object]:
        """The names of the files of the rows that stay, of which some may have changed."""
        if not opened:
            return {"open": None, "open_details": ()}
        kept = {str(card["id"]) for card in opened}
        shares = [
            name_file("d", [one for one in read_list(self.pages, name) if one[0] in kept])
            for name in index.open_details
        ]
        cards = name_file("c", opened)
        self._put(file for file in (*shares, cards) if file.name not in {index.open, *index.open_details})
        return {"open": cards.name, "open_details": tuple(one.name for one in shares)}

    def _checks(self, name: str | None) -> str | None:
        pairs = read_list(self.pages, name) if name else []
        kept = [pair for pair in pairs if pair[0] not in self.gone]
        if not kept or kept == pairs:
            return name if kept else None
        file = name_file("k", kept)
        self._put([file])
        return file.name

    def _put(self, files: Iterable[DataFile]) -> None:
        for file in files:
            self.pages.write(file.path, file.encode())


def _empty(pipeline: str) -> Index:
    """An index in the place of one that is not there, or cannot be read, so that a writer that is at work meets it."""
    return Index(name=pipeline, store="", app=load_app().version, base="../", writer=_MADE_ANEW)


def _swept(index: Index) -> Index:
    """The same for whoever looks, and another one for whoever writes."""
    state = index.writer.model_copy(update={"sweeps": index.writer.sweeps + 1})
    return index.model_copy(update={"writer": state})
