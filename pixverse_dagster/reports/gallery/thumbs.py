"""The small pictures of clips: their posters, which are copied unread where they are small enough."""

from __future__ import annotations

from pixverse_dagster.core.manifest import ClipOutput
from pixverse_dagster.media.pictures import shrink_picture
from pixverse_dagster.reports.gallery.cards import thumb_name
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.pages import PageFiles
from pixverse_dagster.storage.reading import read_bytes

THUMB_WIDTH = 480
_SMALL_BYTES = 100_000
"""No larger poster of ours is this wide: larger ones are looked at, and scaled where they are wider."""


def thumb_path(output: ClipOutput) -> str:
    """Where the small picture of a clip stands in the gallery; empty if it has none."""
    name = thumb_name(output)
    return f"thumbs/{name}.jpg" if name else ""


def put_thumb(store: ClipStore, pages: PageFiles, output: ClipOutput) -> bool:
    """Put the small picture of a clip into the gallery; False if its poster is not in the store any more, or is none.

    Raises the store's own errors.
    """
    path, is_small = thumb_path(output), output.poster_size_bytes <= _SMALL_BYTES
    try:
        if is_small and pages.copy(output.poster_key, path):
            return True
        poster = read_bytes(store, output.poster_key)
    except FileNotFoundError:
        return False
    try:
        poster = poster if is_small else shrink_picture(poster, THUMB_WIDTH)
    except Exception:  # noqa: BLE001 - whatever a decoder makes of it, the clip is there without a picture
        return False
    pages.write(path, poster)
    return True
