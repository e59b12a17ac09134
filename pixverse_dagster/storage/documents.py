"""Putting small documents into a store, and the folder in which files wait to be put."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pixverse_dagster.core.values import StoredModel
from pixverse_dagster.storage.base import ClipStore


def put_document(store: ClipStore, key: str, document: StoredModel, *, was: str | None = None) -> bool:
    """Put a document under a new key; with `was`, in the place of the one with this sha256. As `ClipStore.put_new`.

    Returns False, and changes nothing, where the key is taken, or where it has other bytes by now.
    """
    return put_text(store, key, f"{document.model_dump_json(indent=2)}\n".encode(), was=was)


def put_text(store: ClipStore, key: str, text: bytes, *, was: str | None = None) -> bool:
    """As `put_document`, for the text of a document."""
    about = {"sha256": hashlib.sha256(text).hexdigest(), "content_type": "application/json"}
    with scratch_folder(store) as scratch:
        path = scratch / "document"
        path.write_bytes(text)
        return store.put_new(key, path, **about) if was is None else store.replace(key, path, was=was, **about)


@contextmanager
def scratch_folder(store: ClipStore) -> Generator[Path]:
    """A folder for files on their way into the store. What cannot be removed of it afterwards fails nothing."""
    scratch = tempfile.mkdtemp(dir=store.scratch(), prefix="pixverse-")
    try:
        yield Path(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
