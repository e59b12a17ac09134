"""Comparing the store, the ledger and the manifests, and naming every disagreement. Changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from pixverse_dagster.core.errors import StoreConflict
from pixverse_dagster.core.layout import ClipKey, parse, pipeline_prefix, task_folder
from pixverse_dagster.core.lifecycle import MAY_HAVE_FILES, TaskState
from pixverse_dagster.core.manifest import ClipManifest, ClipOutput
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.marker import check_form
from pixverse_dagster.storage.reading import copy_hashed, read_bytes

_WORKERS = 8


@dataclass(frozen=True)
class Discrepancy:
    """One thing on which two records differ. `row` is empty where only the store knows of it."""

    row: str
    where: str
    message: str


@dataclass(frozen=True)
class Verification:
    """What was compared, and what differs."""

    clips: int
    files: int
    disagreements: tuple[Discrepancy, ...]


def verify(
    ledger: Ledger,
    store: ClipStore,
    pipeline: str,
    *,
    hash_bytes: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Compare every stored task with its manifest and files, and every file with the ledger.

    With `hash_bytes`, each clip and poster is read and its sha256 compared; without it, only sizes are. `progress` is
    told after each clip how many are done, and of how many. Raises StoreConflict for a store of another form.
    """
    check_form(store, pipeline)
    tasks = ledger.tasks.find(pipeline)
    stored = [task for task in tasks if task.state is TaskState.STORED]
    found: list[Discrepancy] = []
    expected: set[str] = set()
    with ThreadPoolExecutor(_WORKERS) as pool:
        checked = pool.map(partial(_check_task, ledger.id, store, hash_bytes=hash_bytes), stored)
        for done, (keys, disagreements) in enumerate(checked, start=1):
            expected |= keys
            found += disagreements
            if progress:
                progress(done, len(stored))
    under_way = {str(task_folder(task)) for task in tasks if task.state in MAY_HAVE_FILES}
    files = 0
    for key in store.keys(pipeline_prefix(pipeline)):
        known = parse(key)
        if known is not None and not (isinstance(known, ClipKey) and known.kind != "tombstone"):
            continue  # input images, names, the gallery, tombstones: no clip's files
        files += 1
        if key not in expected and key.rsplit("/", 1)[0] not in under_way:
            found.append(Discrepancy("", store.uri(key), "is in the store, but no stored task of the ledger has it"))
    return Verification(len(stored), files, tuple(found))


def _check_task(
    ledger_id: str, store: ClipStore, task: Task, *, hash_bytes: bool
) -> tuple[set[str], list[Discrepancy]]:
    key = task_folder(task).manifest
    try:
        text = read_bytes(store, key)
    except FileNotFoundError:
        return set(), [Discrepancy(task.row, store.uri(key), "the ledger says stored, but there is no manifest")]
    try:
        manifest = ClipManifest.parse(text, store.uri(key))
    except StoreConflict as error:
        return {key}, [Discrepancy(task.row, store.uri(key), str(error))]
    keys = {key} | {k for output in manifest.outputs for k in (output.key, output.poster_key)}
    found = [Discrepancy(task.row, store.uri(key), message) for message in _differences(ledger_id, task, manifest)]
    if task.manifest_sha256 not in {None, hashlib.sha256(text).hexdigest()}:
        message = "its sha256 is not the ledger's: the manifest was changed since it was written"
        found.append(Discrepancy(task.row, store.uri(key), message))
    for output in manifest.outputs:
        wrong = _check_output(store, output, hash_bytes)
        found += [Discrepancy(task.row, store.uri(key), message) for key, message in wrong]
    return keys, found


def _differences(ledger_id: str, task: Task, manifest: ClipManifest) -> Iterator[str]:
    pairs = {
        "name": (task.pipeline, manifest.name),
        "row": (task.row, manifest.row),
        "digest": (task.digest, manifest.request_digest),
        "take": (task.take, manifest.take),
        "model": (task.request.MODEL, manifest.model),
        "account": (task.account, manifest.account),
        "world": (task.world, manifest.world),
        "task id": (task.task_id, manifest.task_id),
    }
    if manifest.ledger_id == ledger_id:
        # Of a clip that another ledger paid for, these are that ledger's.
        pairs |= {
            "claim": (task.claim, manifest.claim),
            "attempt": (task.attempt, manifest.attempt),
            "client reference": (task.client_reference, manifest.client_reference),
        }
    for what, (ledger, written) in pairs.items():
        if ledger != written:
            yield f"{what} is {ledger!r} in the ledger and {written!r} in the manifest"
    if not manifest.outputs:
        yield "the manifest lists no output"
    folder = task_folder(task)
    for output in manifest.outputs:
        named = (output.key, output.poster_key)
        if named != (folder.output(output.n, output.container), folder.poster(output.n)):
            yield f"output {output.n} is in {folder} by the ledger and is {named[0]} with {named[1]} by the manifest"


def _check_output(store: ClipStore, output: ClipOutput, hash_bytes: bool) -> Iterator[tuple[str, str]]:  # noqa: FBT001 - passed on
    for key, sha256, size_bytes in (
        (output.poster_key, output.poster_sha256, output.poster_size_bytes),
        (output.key, output.sha256, output.size_bytes),
    ):
        size = _size(store, key)
        if size is None:
            yield key, "is missing"
        elif size != size_bytes:
            yield key, f"holds {size} bytes, the manifest says {size_bytes}"
        elif hash_bytes:
            with store.open(key) as file:
                if copy_hashed(file).sha256 != sha256:
                    yield key, "its sha256 is not the manifest's: the bytes were changed"


def _size(store: ClipStore, key: str) -> int | None:
    try:
        return store.size_bytes(key)
    except FileNotFoundError:
        return None
