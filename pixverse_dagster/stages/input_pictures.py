"""Small pictures of the input images that rows are submitted with, for people: the gallery shows them.

They are made from the checked bytes of files and of the table itself, after everything was sent. Of an image behind a
URL there is none: its host is not asked again. Whatever stands against a picture changes nothing of a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pixverse_dagster.core.layout import ImageKey, images_prefix, parse
from pixverse_dagster.core.row import Row
from pixverse_dagster.media.pictures import redraw_picture
from pixverse_dagster.stages.landing import put_bytes
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.documents import scratch_folder
from pixverse_dagster.transport.logs import get_logger

PICTURE_WIDTH = 480
_SHA256 = "sha256:"
_log = get_logger()


def keep_input_pictures(session: Session, rows: Iterable[Row]) -> None:
    """Put a picture of each input image of these rows into the store, under the digest of the image. Never raises.

    Free, and repeatable: what is there is not made again.
    """
    source = session.images()
    wanted = {
        image.digest.removeprefix(_SHA256): (row, reference)
        for row in rows
        for reference, image in row.images.items()
        if image.digest.startswith(_SHA256) and source.is_inline(reference)
    }
    if not wanted or session.open_store is None:
        return
    try:
        store = session.open_store()
        keys = map(parse, store.keys(images_prefix(session.pipeline.name)))
        there = {key.sha256 for key in keys if isinstance(key, ImageKey) and not key.ending}
        with scratch_folder(store) as scratch:
            for sha256 in sorted(wanted.keys() - there):
                if session.stopped():
                    return
                _put(session, store, sha256, *wanted[sha256], scratch / "picture")
    except Exception:  # noqa: BLE001 - a store's own errors have no common base, and a picture is worth no failed run
        _log.warning("input images have no pictures for the gallery now", exc_info=True)


def _put(session: Session, store: ClipStore, sha256: str, row: Row, reference: str, path: Path) -> None:
    data = session.images().read_checked(reference, row.images[reference], row.request.IMAGE_RULES)
    if data is None:
        return
    try:
        picture = redraw_picture(data, PICTURE_WIDTH)
    except Exception:  # noqa: BLE001 - whatever a decoder makes of it, the row was submitted
        _log.debug("an input image could not be drawn", exc_info=True)
        return
    put_bytes(store, str(ImageKey(session.pipeline.name, sha256)), picture, path, "image/jpeg")
