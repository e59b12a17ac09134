"""The chunks of a gallery: all of them, or those that are there and what came since."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.manifest import ClipOutput
from pixverse_dagster.reports.gallery.changes import find_changes, stored_now
from pixverse_dagster.reports.gallery.chunks import CARDS_IN_CHUNK, Card, Chunk
from pixverse_dagster.reports.gallery.files import GalleryFiles
from pixverse_dagster.reports.gallery.index import ChunkEntry, Index, read_chunk, read_chunk_cards, read_places
from pixverse_dagster.reports.gallery.sources import MAX_OUTPUTS, Sources


@dataclass
class ClipParts:
    """What the next index names, while it is made."""

    chunks: list[ChunkEntry] = field(default_factory=list[ChunkEntry])
    position: int = 0
    shown: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """Rows and digests whose clip is among the new ones."""


class ClipChunks:
    """Makes chunks, and puts their files and the pictures of their clips."""

    def __init__(self, sources: Sources, files: GalleryFiles, size: int = CARDS_IN_CHUNK) -> None:
        self._sources = sources
        self._files = files
        self._size = size

    def begin(self, before: Index | None) -> ClipParts:
        """All clips, each in the chunk that it has in the gallery that is there."""
        ledger, name = self._sources.ledger, self._sources.pipeline
        ids, position = stored_now(ledger, name)
        places = {str(one.folder): one.id for one in ledger.overview.stored(name)}
        parts = ClipParts(position=position)
        left = dict.fromkeys(ids)
        tail: list[str] = []
        for entry in before.chunks if before else ():
            cards = read_places(self._files.pages, entry)
            had = [places.get(folder, "") for folder in dict.fromkeys(self._folders(cards))]
            kept = [one for one in had if one in left]
            self._files.at_once |= len(kept) < len(had)
            for one in kept:
                del left[one]
            if tail:
                self._add_chunks(parts, tail, Chunk(), len(tail) * MAX_OUTPUTS + 1)
            tail = kept
        self._add_chunks(parts, [*tail, *left], Chunk())
        return parts

    def _folders(self, cards: Iterable[Card]) -> Iterator[str]:
        own = self._sources.folder_name
        for card in cards:
            yield f"{card.get('tree') or own}/clips/{str(card['id']).rpartition('/')[0]}"

    def go_on(self, before: Index) -> ClipParts | None:
        """The chunks that are there, and behind them the clips that came since; None if all must be made anew."""
        changes = find_changes(self._sources.ledger, self._sources.pipeline, before.writer.position)
        if changes.renamed:
            return None
        parts = ClipParts(list(before.chunks), changes.position)
        if changes.touched and not self._mend(parts, sorted(changes.touched)):
            return None
        if changes.forgotten:
            # Also what another writer put that knew the clip still, and that was killed.
            self._files.forget()
        if changes.new:
            tail = Chunk()
            if parts.chunks and parts.chunks[-1].count < self._size:
                found = read_chunk(self._files.pages, parts.chunks.pop())
                if found is None:
                    return None
                tail = found
            self._add_chunks(parts, changes.new, tail)
        return parts

    def _mend(self, parts: ClipParts, touched: Sequence[str]) -> bool:
        """Make the clips of these tasks anew where they stand, or take them away. False if a chunk cannot be read."""
        tasks = self._sources.ledger.tasks.by_id(touched)
        begins = tuple(f"{str(task_folder(task)).split('/clips/', 1)[1]}/" for task in tasks)
        clips = {task.id: clips for task in tasks for clips in self._sources.read_clips([task.id])}
        entries = {str(card["id"]): (card, details) for one in clips.values() for card, details in one.entries}
        mended: list[ChunkEntry] = []
        for entry in parts.chunks:
            chunk = read_chunk_cards(self._files.pages, entry)
            if chunk is None:
                return False
            old = [card for card in chunk.cards if str(card["id"]).startswith(begins)]
            self._files.pictures |= _thumbs(card for card in chunk.cards if card not in old)
            if not old:
                mended.append(entry)
            elif (whole := read_chunk(self._files.pages, entry)) is not None:
                mended += self._put(_mended(whole, begins, entries))
            else:
                return False
        parts.chunks[:] = mended
        self._files.put_thumbs([output for one in clips.values() for output in one.outputs])
        return True

    def _add_chunks(self, parts: ClipParts, ids: Sequence[str], chunk: Chunk, size: int | None = None) -> None:
        """Add the clips of these tasks to a chunk, and to more chunks as each is full."""
        outputs, size = list[ClipOutput](), size or self._size
        for clips in self._sources.read_clips(ids):
            parts.shown.add((clips.task.row, clips.task.digest))
            outputs += clips.outputs
            for card, details in clips.entries:
                chunk.add(card, details)
            if len(chunk.cards) >= size:
                parts.chunks += self._put(chunk, outputs)
                chunk, outputs = Chunk(), []
        parts.chunks += self._put(chunk, outputs)

    def _put(self, chunk: Chunk, outputs: Sequence[ClipOutput] = ()) -> list[ChunkEntry]:
        """Put a chunk behind the pictures of its clips."""
        if not chunk.cards:
            return []
        self._files.put_thumbs(outputs)
        cards, details = chunk.files()
        for file in (*details, cards):
            self._files.put(file)
        return [ChunkEntry(cards=cards.name, count=len(chunk.cards), details=tuple(one.name for one in details))]


def _thumbs(cards: Iterable[Card]) -> set[str]:
    """The paths of the pictures of these cards."""
    return {f"thumbs/{card['thumb']}.jpg" for card in cards if card.get("thumb")}


def _mended(
    chunk: Chunk, begins: tuple[str, ...], entries: dict[str, tuple[dict[str, object], dict[str, object]]]
) -> Chunk:
    """The chunk with other entries in the place of those whose ids begin so; without those that have none."""
    mended = Chunk()
    for card, (_, details) in zip(chunk.cards, chunk.details, strict=True):
        card_id = str(card["id"])
        if not card_id.startswith(begins):
            mended.add(card, details)
        elif card_id in entries:
            mended.add(*entries[card_id])
    return mended
