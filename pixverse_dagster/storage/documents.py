"""Putting small documents into a store."""

from __future__ import annotations

import hashlib
import tempfile
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
    with tempfile.TemporaryDirectory(dir=store.scratch(), prefix="pixverse-") as scratch:
        path = Path(scratch) / "document"
        path.write_bytes(text)
        return store.put_new(key, path, **about) if was is None else store.replace(key, path, was=was, **about)
