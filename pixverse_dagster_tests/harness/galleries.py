"""Galleries as a page reads them: by their index, and the files that it names."""

from __future__ import annotations

from typing import Any

from pixverse_dagster.reports.gallery.index import Index, read_documents, read_index
from pixverse_dagster.storage.pages import PageFiles


def index_of(pages: PageFiles) -> Index:
    """The index of a gallery that is there."""
    found = read_index(pages).index
    assert found is not None
    return found


def documents_of(pages: PageFiles) -> dict[str, Any]:
    """Every data file that the index names, by its name. All are there."""
    index = index_of(pages)
    found = dict(read_documents(pages, index))
    missing = {path for path in index.paths() if pages.read(path) is None}
    assert not missing, missing
    return found


def cards_of(pages: PageFiles) -> list[dict[str, Any]]:
    """All cards, the oldest clip first, and behind them the rows without a clip."""
    index, found = index_of(pages), documents_of(pages)
    names = [*(chunk.cards for chunk in index.chunks), *([index.open] if index.open else [])]
    cards = [card for name in names for card in found[name]]
    assert len(cards) == index.count == len({card["id"] for card in cards})
    return cards


def details_of(pages: PageFiles) -> dict[str, dict[str, Any]]:
    """What the pages of clips say, by id; each card's is in the file that a page looks into first."""
    index, found = index_of(pages), documents_of(pages)
    parts = [(chunk.cards, chunk.details) for chunk in index.chunks]
    parts += [(index.open, index.open_details)] if index.open else []
    details: dict[str, dict[str, Any]] = {}
    for cards, files in parts:
        for place, card in enumerate(found[cards]):
            pairs = dict(found[files[card.get("d", place // 100)]])
            details[card["id"]] = pairs[card["id"]]
    return details


def files_of(pages: PageFiles) -> dict[str, bytes]:
    """Every file of a gallery, asked for or not."""
    return {path: file.data for path, _ in pages.list() if (file := pages.read(path))}
