"""What a store says of itself: which one it is, in which form, and which ledgers wrote to it. Only reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from pydantic import ConfigDict, ValidationError

from pixverse_dagster.core.errors import StoreConflict
from pixverse_dagster.core.layout import LEDGERS_PREFIX, MARKER, ClipKey, LedgerKey, clips_prefix, encode_row, parse
from pixverse_dagster.core.manifest import EARLIER_FORM, MANIFEST_VERSION, version_of
from pixverse_dagster.core.values import StoredModel
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.reading import read_bytes

STORE_FORMAT = 1
"""The form of the layout. A change that an earlier release would misread raises it."""


class StoreMarker(StoredModel):
    """The document at the root: the store's random id, its form, and when it was first written to (UTC, ISO 8601)."""

    store_id: str
    format: int
    created_at: str


class LedgerEntry(StoredModel):
    """A ledger that wrote to the store, and the pipelines whose clips it kept there."""

    # What a later version adds survives when this one writes the document again.
    model_config = ConfigDict(frozen=True, extra="allow")

    ledger_id: str
    pipelines: tuple[str, ...]
    epoch: int = 0
    """How many runs that pay the ledger had begun: a ledger with fewer was restored from a copy."""


def read_marker(store: ClipStore) -> StoreMarker | None:
    """What the store says of itself; None if it is a new one, or of the earlier form.

    Raises StoreConflict if it is of a later form, or if what stands there cannot be read.
    """
    try:
        text = read_bytes(store, MARKER)
    except FileNotFoundError:
        return None
    try:
        marker = StoreMarker.model_validate_json(text)
    except ValidationError:
        raise StoreConflict(
            f"{store.uri(MARKER)} does not say which store this is: nothing was stored, and nothing is paid for. Put "
            "the file back as it was"
        ) from None
    if marker.format > STORE_FORMAT:
        raise StoreConflict(
            f"{store.uri(MARKER)} is of a store of format {marker.format}, and this pixverse-dagster knows format "
            f"{STORE_FORMAT}: nothing was read or stored, and nothing is paid for. Upgrade pixverse-dagster"
        )
    return marker


def read_entry(store: ClipStore, key: str) -> LedgerEntry:
    """What is written about a ledger. Raises FileNotFoundError, or StoreConflict if it cannot be read."""
    return parse_entry(read_bytes(store, key), store.uri(key))


class LedgersUnreadable(OSError):
    """The names of the ledgers that wrote to a store cannot be read: as where the rights to that folder are missing."""


def read_entries(store: ClipStore) -> list[LedgerEntry]:
    """What is written about every ledger. Raises StoreConflict if one cannot be understood, or LedgersUnreadable."""
    try:
        keys = [key for key in store.keys(LEDGERS_PREFIX) if isinstance(parse(key), LedgerKey)]
        return [read_entry(store, key) for key in sorted(keys)]
    except StoreConflict:
        raise
    except Exception as error:
        where = store.uri(LEDGERS_PREFIX)
        why = f"{type(error).__name__}: {error}"
        raise LedgersUnreadable(f"{where}, which names the ledgers that wrote here, cannot be read ({why})") from error


def parse_entry(text: bytes, where: str) -> LedgerEntry:
    """The entry with this text. Raises StoreConflict, which names where it is."""
    try:
        return LedgerEntry.model_validate_json(text)
    except ValidationError:
        raise StoreConflict(
            f"{where} does not say which pipelines its ledger kept here; nothing was overwritten, and nothing is paid "
            "for. Put the file back as it was"
        ) from None


def check_form(store: ClipStore, pipeline: str) -> StoreMarker | None:
    """What the store says of itself, None if it is new. Writes nothing.

    Raises StoreConflict if its form is a later one, or if it has clips of this pipeline in the earlier form.
    """
    marker = read_marker(store)
    if marker is None:
        if next(_clip_keys(store, pipeline), None) is None:
            return None
        # Another process may have made it, and stored a clip, since it was looked for.
        marker = read_marker(store)
    if marker is None:
        raise StoreConflict(
            f"{store.uri(clips_prefix(pipeline))} has clips, and {store.uri(MARKER)} is not there: a store "
            f"{EARLIER_FORM}"
        )
    kept = _kept(store)
    if pipeline not in kept:
        _check_name(store, pipeline, kept)
        _check_clips(store, pipeline)
    return marker


def alike(name: str) -> str:
    """A text that is the same for all names of folders that some store takes for one: case, dots at the end."""
    return name.lower().rstrip(".")


def _check_name(store: ClipStore, pipeline: str, kept: Iterable[str]) -> None:
    """Raise StoreConflict where the pipeline's folder would be that of another one, which keeps its clips here."""
    own = encode_row(pipeline)
    for other in map(encode_row, kept):
        if alike(other) == alike(own) and not store.told_apart(other, own):
            raise StoreConflict(
                f"{store.uri(MARKER)} is of a store whose file system has one folder for pipelines {unquote(other)!r} "
                f"and {pipeline!r}: nothing was stored, and nothing is paid for. Give {pipeline!r} another name, or a "
                "store of its own"
            )


def _kept(store: ClipStore) -> set[str]:
    return {pipeline for entry in read_entries(store) for pipeline in entry.pipelines}


def _check_clips(store: ClipStore, pipeline: str) -> None:
    """Another pipeline made the store's marker: clips that no ledger is known to have kept may still be early ones."""
    key = next((key for key in _clip_keys(store, pipeline) if key.kind == "manifest"), None)
    version = version_of(read_bytes(store, str(key))) if key else None
    if version is not None and version < MANIFEST_VERSION:
        raise StoreConflict(f"{store.uri(str(key))} is a manifest of version {version}, {EARLIER_FORM}")


def _clip_keys(store: ClipStore, pipeline: str) -> Iterator[ClipKey]:
    for key in store.keys(clips_prefix(pipeline)):
        if isinstance(found := parse(key), ClipKey):
            yield found
