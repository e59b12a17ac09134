"""Entering a store: before anything is stored or paid for, the store says which one it is and whose clips it keeps."""

from __future__ import annotations

import hashlib
import tempfile
import time
import uuid
from pathlib import Path

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.layout import MARKER, LedgerKey
from pixverse_dagster.core.values import StoredModel, iso
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.marker import STORE_FORMAT, LedgerEntry, StoreMarker, check_form, parse_entry
from pixverse_dagster.storage.reading import read_bytes

_MAX_ATTEMPTS = 50
_entered: set[tuple[str, str, str]] = set()
"""What this process has entered: the store's marker, the ledger and the pipeline."""


def enter_store(store: ClipStore, ledger_id: str, pipeline: str) -> None:
    """Make the store name itself and this ledger with this pipeline, if it does not yet.

    Idempotent, and safe when many processes do it at once; looks at the store once per process. Raises StoreConflict
    for a store of an earlier or a later form, of which nothing is changed, or the store's own error.
    """
    place = (store.uri(MARKER), ledger_id, pipeline)
    if place in _entered:
        return
    if check_form(store, pipeline) is None:
        marker = StoreMarker(store_id=uuid.uuid4().hex, format=STORE_FORMAT, created_at=iso(time.time()))
        _put(store, MARKER, marker)  # whoever comes first names it
    _sign(store, ledger_id, pipeline)
    _entered.add(place)


def _sign(store: ClipStore, ledger_id: str, pipeline: str) -> None:
    """Add the pipeline to what is written about the ledger.

    It is one file, which grows with the ledger's pipelines, so it is replaced: by its own ledger only, and only as this
    process has read it, so that of two pipelines that enter at the same moment neither is lost.
    """
    key = str(LedgerKey(ledger_id))
    for _ in range(_MAX_ATTEMPTS):
        try:
            text = read_bytes(store, key)
        except FileNotFoundError:
            if _put(store, key, LedgerEntry(ledger_id=ledger_id, pipelines=(pipeline,))):
                return
            continue
        entry = parse_entry(text, store.uri(key))
        if pipeline in entry.pipelines:
            return
        longer = entry.model_copy(update={"pipelines": (*entry.pipelines, pipeline)})
        if _put(store, key, longer, was=hashlib.sha256(text).hexdigest()):
            return
    raise PixverseError(f"{store.uri(key)}: other writers kept interfering. Nothing was stored or paid for; run again")


def _put(store: ClipStore, key: str, document: StoredModel, was: str | None = None) -> bool:
    data = f"{document.model_dump_json(indent=2)}\n".encode()
    about = {"sha256": hashlib.sha256(data).hexdigest(), "content_type": "application/json"}
    with tempfile.TemporaryDirectory(dir=store.scratch(), prefix="pixverse-") as scratch:
        path = Path(scratch) / "document"
        path.write_bytes(data)
        return store.put_new(key, path, **about) if was is None else store.replace(key, path, was=was, **about)
