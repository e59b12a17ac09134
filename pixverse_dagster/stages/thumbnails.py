"""Small pictures of the input images of rows that were submitted, for people who look at the clips."""

from __future__ import annotations

import hashlib
import queue
import threading

from pixverse_dagster.core.layout import ImageKey
from pixverse_dagster.core.row import Row
from pixverse_dagster.media.convert import make_thumbnail
from pixverse_dagster.stages.image_store import put_image
from pixverse_dagster.stages.session import Session
from pixverse_dagster.transport.logs import get_logger

_log = get_logger()
_CLOSE_SECONDS = 30
"""How long a run waits in the end for pictures that nothing depends on."""


class Thumbnails:
    """Puts thumbnails into the store, from the bytes that were checked, beside whatever else is done.

    A thumbnail that cannot be made, or put, is no row's problem, and is tried again with the next row of the image.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._done: set[str] = set()
        self._rows: queue.Queue[Row | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def add(self, row: Row) -> None:
        """Make those of the row's images, later."""
        if self._session.open_store is None or not row.images:
            return
        if self._thread is None:
            # A daemon: no process waits for it longer than `close` does.
            self._thread = threading.Thread(target=self._work, name="thumbnails", daemon=True)
            self._thread.start()
        self._rows.put(row)

    def close(self) -> None:
        """Wait for what was added, for half a minute at most."""
        if self._thread is not None:
            self._rows.put(None)
            self._thread.join(_CLOSE_SECONDS)

    def _work(self) -> None:
        while (row := self._rows.get()) is not None:
            keep_thumbnails(self._session, row, self._done)


def keep_thumbnails(session: Session, row: Row, done: set[str]) -> None:
    """Put a thumbnail for each image of the row whose bytes are known and that has none. Raises nothing.

    `done` are the digests that have one already.
    """
    for reference, image in row.images.items():
        sha256 = image.digest.removeprefix("sha256:")
        if session.open_store is None or sha256 == image.digest or sha256 in done:
            continue
        key = ImageKey(session.pipeline.name, sha256)
        try:
            store = session.open_store()
            try:
                store.size_bytes(str(key))
            except FileNotFoundError:
                data = make_thumbnail(session.images().same_bytes(reference, image, 1))
                put_image(store, key, data, hashlib.sha256(data).hexdigest())
            done.add(sha256)
        except Exception:  # noqa: BLE001 - a picture for people, of bytes that may be anything, in any store
            _log.info("row %r: there is no thumbnail of an image", row.id, exc_info=True)
