"""The images below `images/` of a pipeline's store: what was made of those that a provider does not take."""

from __future__ import annotations

from collections.abc import Callable

from pixverse_dagster.core.layout import ImageKey
from pixverse_dagster.media.reading import ImageUnread
from pixverse_dagster.stages.store import describe
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.documents import scratch_folder
from pixverse_dagster.storage.reading import read_bytes
from pixverse_dagster.transport.logs import get_logger

_log = get_logger()
_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


class ImageStore:
    """Puts images under the digest of their bytes, once, and reads them back."""

    def __init__(self, pipeline: str, open_store: Callable[[], ClipStore]) -> None:
        self._pipeline = pipeline
        self._open = open_store

    def get(self, sha256: str, ending: str) -> bytes | None:
        """As `KeptImages.get`."""
        try:
            return read_bytes(self._open(), self.key(sha256, ending))
        except FileNotFoundError:
            return None
        except Exception:  # noqa: BLE001 - a store's own errors have no common base; the image is made again
            _log.warning("a converted image could not be read from the store", exc_info=True)
            return None

    def put(self, sha256: str, ending: str, data: bytes) -> None:
        """As `KeptImages.put`."""
        try:
            put_image(self._open(), ImageKey(self._pipeline, sha256, ending), data, sha256)
        except Exception as error:
            raise ImageUnread(f"cannot be kept in the store for now as it is sent: {describe(error)}") from error

    def key(self, sha256: str, ending: str) -> str:
        """The key of an image."""
        return str(ImageKey(self._pipeline, sha256, ending))


def put_image(store: ClipStore, key: ImageKey, data: bytes, sha256: str) -> bool:
    """Put an image under its key, if nothing is there. As `ClipStore.put_new`."""
    with scratch_folder(store) as scratch:
        path = scratch / "image"
        path.write_bytes(data)
        content_type = _TYPES.get(key.ending, "image/jpeg")
        return store.put_new(str(key), path, sha256=sha256, content_type=content_type)
