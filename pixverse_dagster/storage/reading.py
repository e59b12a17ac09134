"""Reading clips back from a store."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from pixverse_dagster.core.manifest import ClipManifest
from pixverse_dagster.core.values import Digest
from pixverse_dagster.storage import STORES, load_settings
from pixverse_dagster.storage.base import ClipStore


def read_manifest(store: ClipStore, key: str) -> ClipManifest:
    """A stored manifest. Raises FileNotFoundError, or StoreConflict if it is none, or of another form."""
    return ClipManifest.parse(read_bytes(store, key), store.uri(key))


def read_bytes(store: ClipStore, key: str) -> bytes:
    """A whole object, in memory. Raises FileNotFoundError."""
    with store.open(key) as file:
        return file.read()


def read_uri(uri: str) -> bytes:
    """The bytes at an address that a store gives out: a path, or a URL whose scheme is `file` or names a kind of store.

    Raises FileNotFoundError, or ValueError for an address that nobody here can read.
    """
    scheme, given, _ = uri.partition("://")
    kind = scheme.lower() if given else "file"
    kind = "local" if kind == "file" else kind
    if kind not in STORES:
        raise ValueError(
            f"{kind}:// is no address of a store: give a path, a file:// URL, or one of {', '.join(STORES)}"
        )
    return load_settings(kind).read_uri(uri)


def copy_to_file(store: ClipStore, key: str, path: Path) -> Digest:
    """Copy an object to a local file, and return the digest of what was read. Raises FileNotFoundError."""
    with store.open(key) as source, path.open("wb") as target:
        return copy_hashed(source, target)


def copy_hashed(source: BinaryIO, target: BinaryIO | None = None) -> Digest:
    """Read a stream to its end, copy it to `target` if given, and return its digest. Takes constant memory."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(1024 * 1024):
        digest.update(chunk)
        size += len(chunk)
        if target is not None:
            target.write(chunk)
    return Digest(digest.hexdigest(), size)
