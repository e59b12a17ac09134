"""What puts objects into a store, also in a process of its own: with few imports, so that it starts soon."""

import hashlib
import itertools
import uuid
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.naming import Way

Put = Callable[[str, bytes], bool]


def putting(store: ClipStore, folder: Path) -> Put:
    """A function that stores bytes under a key: by turns from the store's own scratch folder and from elsewhere."""
    places = itertools.cycle([store.scratch() or folder, folder])

    def put(key: str, data: bytes) -> bool:
        path = next(places) / uuid.uuid4().hex
        path.write_bytes(data)
        return store.put_new(key, path, sha256=hashlib.sha256(data).hexdigest(), content_type="video/mp4")

    return put


def put_for_ever(root: Path, ready: Connection, ways: Sequence[Way]) -> None:
    put = putting(LocalStore(root, ways), root.parent)
    for number in range(1_000_000):
        put(f"films/clips/r{number}/1.mp4", b"x" * 300_000)
        if number == 20:
            ready.send("under way")
