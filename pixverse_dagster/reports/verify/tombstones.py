"""Forgotten clips: a tombstone and nothing else, that says what the ledger says."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pixverse_dagster.core.errors import StoreConflict
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.tombstone import Tombstone, bury_task
from pixverse_dagster.core.values import from_iso
from pixverse_dagster.reports.verify import kinds
from pixverse_dagster.reports.verify.findings import Discrepancy, Kind
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.reading import read_bytes

_COMPARED = (
    "model", "request_digest", "digest_version", "address_digest", "take", "account", "world", "task_id",
    "client_reference", "ledger_id", "cost", "submitted_at", "finished_at", "decision",
)  # fmt: skip
_OF_CLAIM = ("claim", "attempt", "claimed_at")


def compare_forgotten(
    ledger_id: str, store: ClipStore, task: Task, called: Collection[tuple[str, str]], keys: Collection[str]
) -> Iterator[Discrepancy]:
    """What is wrong with the folder of a forgotten task, which has these keys."""
    key = task_folder(task).tombstone
    for left in sorted(set(keys) - {key}):
        yield _name(store, task, left, kinds.FORGOTTEN_LEFT, "is left of a clip that was forgotten")
    if key not in keys:
        words = "the ledger says forgotten, but there is no tombstone: without the ledger it would be paid again"
        yield _name(store, task, key, kinds.TOMBSTONE_MISSING, words)
        return
    try:
        said = Tombstone.read(read_bytes(store, key), store.uri(key))
    except StoreConflict as error:
        yield _name(store, task, key, kinds.TOMBSTONE_DIFFERS, str(error))
        return
    if (said.pipeline, said.row) not in called:
        words = f"is of row {said.row!r} of {said.pipeline!r}, and of {task.row!r} of {task.pipeline!r} in the ledger"
        yield _name(store, task, key, kinds.TOMBSTONE_DIFFERS, words)
    kept = bury_task(task, ledger_id, task.decision or "", from_iso(said.when))
    for name in (*_COMPARED, *(_OF_CLAIM if task.found_at is None else ())):
        ours, theirs = getattr(kept, name), getattr(said, name)
        if ours != theirs:
            words = f"{name} is {ours!r} in the ledger and {theirs!r} in the tombstone"
            yield _name(store, task, key, kinds.TOMBSTONE_DIFFERS, words)


def compare_buried(store: ClipStore, task: Task) -> Iterator[Discrepancy]:
    """A stored task whose folder has a tombstone: to be its own, it is of the same account, id and reference."""
    key = task_folder(task).tombstone
    try:
        own = task.owns(Tombstone.read(read_bytes(store, key), store.uri(key)))
    except StoreConflict as error:
        yield _name(store, task, key, kinds.TOMBSTONE_OF_STORED, str(error))
        return
    what = "the clip was to be forgotten" if own else "there is a tombstone of another task in the clip's folder"
    yield _name(store, task, key, kinds.TOMBSTONE_OF_STORED, f"{what}, and the ledger says stored")


def _name(store: ClipStore, task: Task, key: str, kind: Kind, words: str) -> Discrepancy:
    return Discrepancy(task.row, store.uri(key), words, kind, task.id, key)
