"""Entering a store: before anything is stored or paid for, the store says which one it is and whose clips it keeps."""

from __future__ import annotations

import hashlib
import time
import uuid
from contextlib import suppress

from pixverse_dagster.core.errors import PixverseError, StoreConflict
from pixverse_dagster.core.layout import MARKER, LedgerKey
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.text import shorten
from pixverse_dagster.core.values import StoredModel, iso
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.documents import put_text
from pixverse_dagster.storage.marker import STORE_FORMAT, LedgerEntry, StoreMarker, check_form, parse_entry
from pixverse_dagster.storage.reading import read_bytes

_MAX_ATTEMPTS = 50
_NOTHING_PAID = "Nothing was sent and nothing is paid for; what was paid before is still collected. Mend the store"
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
    _name(store, pipeline)
    with suppress(Exception):
        # A store whose server overwrites learns of it here, and looks first from now on; nothing depends on it.
        put_text(store, MARKER, read_bytes(store, MARKER))
    sign(store, ledger_id, pipeline)
    _entered.add(place)


def probe_store(store: ClipStore, pipeline: str) -> str:
    """Why the store cannot keep what is paid for now; empty if it can.

    The store's marker is put again with the same bytes, under create-only: to be told that it exists is what shows that
    the store can be written to, and that it overwrites nothing. Raises StoreConflict for a store of another form.
    """
    try:
        _name(store, pipeline)
        text = read_bytes(store, MARKER)
        overwritten = put_text(store, MARKER, text)
    except StoreConflict:
        raise
    except Exception as error:  # noqa: BLE001 - a store's own errors have no common base
        return f"the store cannot be written to ({describe(error)}). {_NOTHING_PAID}"
    if not overwritten:
        return ""
    return (
        f"the store overwrites what is there: {store.uri(MARKER)} was put again as a new file, and its server did not "
        f"refuse it, as it does not know If-None-Match. {_NOTHING_PAID}, or use a store whose server knows it"
    )


def describe(error: Exception) -> str:
    """An error of a store in few words, without what is secret."""
    return (
        str(error)
        if isinstance(error, PixverseError)
        else shorten(redact_text(f"{type(error).__name__}: {error}"), 300)
    )


def _name(store: ClipStore, pipeline: str) -> None:
    """Make the store's marker, if there is none."""
    if check_form(store, pipeline) is None:
        marker = StoreMarker(store_id=uuid.uuid4().hex, format=STORE_FORMAT, created_at=iso(time.time()))
        _put(store, MARKER, marker)  # whoever comes first names it


def sign(store: ClipStore, ledger_id: str, pipeline: str, epoch: int = 0) -> None:
    """Add the pipeline, and the epoch if it is higher, to what is written about the ledger.

    It is one file, which grows with the ledger's pipelines, so it is replaced: by its own ledger only, and only as this
    process has read it, so that of two pipelines or runs that enter at the same moment neither is lost.
    """
    key = str(LedgerKey(ledger_id))
    for _ in range(_MAX_ATTEMPTS):
        try:
            text = read_bytes(store, key)
        except FileNotFoundError:
            if _put(store, key, LedgerEntry(ledger_id=ledger_id, pipelines=(pipeline,), epoch=epoch)):
                return
            continue
        entry = parse_entry(text, store.uri(key))
        if pipeline in entry.pipelines and epoch <= entry.epoch:
            return
        pipelines = tuple(dict.fromkeys((*entry.pipelines, pipeline)))
        newer = entry.model_copy(update={"pipelines": pipelines, "epoch": max(epoch, entry.epoch)})
        if _put(store, key, newer, was=hashlib.sha256(text).hexdigest()):
            return
    raise PixverseError(f"{store.uri(key)}: other writers kept interfering. Nothing was stored or paid for; run again")


def _put(store: ClipStore, key: str, document: StoredModel, was: str | None = None) -> bool:
    # What has its default is left out: a document says no more than its writer knew.
    text = document.model_dump_json(indent=2, exclude_defaults=True)
    return put_text(store, key, f"{text}\n".encode(), was=was)
