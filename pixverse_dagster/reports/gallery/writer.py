"""Writes a gallery: pictures, data files, the page, and last the index, so that whoever reads meets no gap.

Where an index is there, only what the ledger's history tells of since is read and written. A writer that finds, at its
end, that another one was faster begins again with what that one wrote. Nothing here changes a clip or the ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.redaction import redact_url
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.reports.gallery.app import PAGE, load_app
from pixverse_dagster.reports.gallery.changes import find_changes
from pixverse_dagster.reports.gallery.chunks import CARDS_IN_CHUNK, Chunk, name_file
from pixverse_dagster.reports.gallery.clips import ClipChunks, ClipParts
from pixverse_dagster.reports.gallery.files import GalleryFiles
from pixverse_dagster.reports.gallery.index import (
    WRITER_VERSION,
    Found,
    Index,
    WriterState,
    ledger_mark,
    read_index,
)
from pixverse_dagster.reports.gallery.sources import Sources
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.marker import read_marker
from pixverse_dagster.storage.pages import PageFiles

_TRIES = 8
_MANY_ENTRIES = 10_000
"""After so much of the history that changed nothing, the index is written all the same: to be read no more."""


@dataclass(frozen=True)
class GalleryOptions:
    """What a gallery says beside its clips. `base` is the way from the page to the pipeline's folder.

    A data file has `cards_in_chunk` clips; one that is there keeps those that it has.
    """

    dagster_url: str | None = None
    base: str = "../"
    cards_in_chunk: int = CARDS_IN_CHUNK


@dataclass(frozen=True)
class WrittenGallery:
    """What was written: the address of the page, and what it shows. `written` are paths in the gallery's folder."""

    uri: str
    revision: str
    clips: int
    rows_without_clip: int
    written: tuple[str, ...] = ()
    bytes_written: int = 0

    @property
    def unchanged(self) -> bool:
        """Whether the gallery was as it should be, so that nothing was written."""
        return not self.written


def write_gallery(  # noqa: PLR0913 - what it reads, where it writes, and how
    ledger: Ledger,
    store: ClipStore,
    pipeline: str,
    options: GalleryOptions | None = None,
    *,
    pages: PageFiles | None = None,
    full: bool = False,
    clock: Callable[[], float] = time.time,
) -> WrittenGallery:
    """Write the gallery of a pipeline into its folder of the store, or to `pages`; nothing where nothing changed.

    With `full`, every clip is read again and what is missing in the gallery is put; files that nobody asks for any more
    are deleted. Safe to be killed at any moment, to be repeated, and to be run twice at once. Raises the store's own
    errors, and PixverseError where other writers kept interfering; the gallery is then as it was.
    """
    pages = store.pages(pipeline) if pages is None else pages
    sources = Sources(ledger, store, pipeline)
    left: list[str] = []
    began = ledger.overview.position()
    for _ in range(_TRIES):
        writing = _Writing(sources, GalleryFiles(store, pages), options or GalleryOptions(), int(clock()), left)
        if left and find_changes(ledger, pipeline, began).forgotten:
            # An earlier attempt may have put files of that clip, after another writer had noticed that it is gone.
            writing.files.forget()
            full = True
        if (done := writing.run(read_index(pages), full=full)) is not None:
            return done
        left += writing.files.written
        full = full or writing.swept
    raise PixverseError(
        f"{pages.uri(PAGE)}: other writers kept interfering. No clip is touched by that, and the page is as one of "
        "them left it: run it again"
    )


class _Writing:
    """One attempt to write a gallery."""

    def __init__(
        self, sources: Sources, files: GalleryFiles, options: GalleryOptions, now: int, left: Sequence[str]
    ) -> None:
        self.files = files
        self._sources = sources
        self._options = options
        self.swept = False
        """Whether files were deleted that another writer may have asked for meanwhile: then all is looked at."""
        self._now = now
        self._left = left
        """What earlier attempts wrote."""

    def run(self, found: Found, *, full: bool) -> WrittenGallery | None:
        """Write what is missing, and the index; None if another writer wrote one since it was read."""
        before = found.index if found.index and self._goes_on(found.index) else None
        self.files.known = found.index.paths() if found.index else set()
        if before is None or full:
            self.files.look()
        if found.index is None:
            # Before the ledger is read: whoever forgets a clip then sees that a gallery is begun, and puts an index.
            self.files.put_scripts()
        chunks = ClipChunks(self._sources, self.files, self._options.cards_in_chunk)
        # Rows are read first: one that gets its clip in between is then among the clips.
        entries = self._sources.open_entries()
        parts = chunks.go_on(before) if before and not full else None
        if parts is None:
            self.files.look()
            parts = chunks.begin(found.index)
        opened = Chunk()
        for of_row, (card, details) in entries:
            if of_row not in parts.shown:
                opened.add(card, details)
        index = self._index(found.index, parts, opened)
        if before and not self.files.at_once and self._is_same(before, index):
            return self._result(before, len(opened.cards))
        self.files.put_app()
        if not self.files.commit(index, found.version):
            return None
        if not self.files.sweep(index, self._now):
            self.swept = True
            return None
        return self._result(index, len(opened.cards))

    def _is_same(self, before: Index, index: Index) -> bool:
        """Whether nothing that is seen has changed, and the next writer need not read far."""
        same = index.dump()["revision"] == before.revision and self.files.has_page()
        return same and index.writer.position - before.writer.position < _MANY_ENTRIES

    def _result(self, index: Index, open_count: int) -> WrittenGallery:
        files = self.files
        return WrittenGallery(
            uri=files.pages.uri(PAGE),
            revision=str(index.dump()["revision"]),
            clips=sum(chunk.count for chunk in index.chunks),
            rows_without_clip=open_count,
            written=tuple(files.written),
            bytes_written=files.bytes_written,
        )

    def _goes_on(self, index: Index) -> bool:
        """Whether the index is of this ledger as it is now, so that its history tells what is missing."""
        state = index.writer
        same = (state.version, state.worlds) == (WRITER_VERSION, dict(self._sources.worlds))
        return same and state.mark == ledger_mark(self._sources.ledger, state.position)

    def _index(self, before: Index | None, parts: ClipParts, opened: Chunk) -> Index:
        """The next index; its files are put."""
        sources, marker = self._sources, read_marker(self._sources.store)
        position = max(parts.position, 0)
        names: list[str] = []
        cards: str | None = None
        if opened.cards:
            buckets = 1 + max(int(card.get("d", 0)) for card in opened.cards)
            shares: list[list[object]] = [[] for _ in range(buckets)]
            for card, detail in zip(opened.cards, opened.details, strict=True):
                shares[int(card.get("d", 0))].append(detail)
            names = [self.files.put(name_file("d", share)) for share in shares]
            cards = self.files.put(name_file("c", opened.cards))
        index = Index(
            name=sources.pipeline,
            store=marker.store_id if marker else "",
            app=load_app().version,
            base=self._options.base,
            dagster_url=_public(self._options.dagster_url),
            count=sum(chunk.count for chunk in parts.chunks) + len(opened.cards),
            chunks=tuple(parts.chunks),
            open=cards,
            open_details=tuple(names),
            checks=self.files.put(name_file("k", failed)) if (failed := sources.failed_checks()) else None,
            writer=WriterState(
                version=WRITER_VERSION,
                position=position,
                mark=ledger_mark(sources.ledger, position),
                worlds=dict(sources.worlds),
            ),
        )
        return self.files.with_retired(before, index, self._now, self._left)


def _public(url: str | None) -> str | None:
    """The URL as whoever sees the page may see it: without user, password and query."""
    return redact_url(url).removesuffix("?…") if url else None
