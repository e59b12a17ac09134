"""Comparing the store, the ledger and the manifests, and naming every disagreement. Changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from pixverse_dagster.core.errors import StoreConflict
from pixverse_dagster.core.layout import ClipKey, clips_prefix, names_prefix, parse, pipeline_prefix, task_folder
from pixverse_dagster.core.lifecycle import MAY_HAVE_FILES, MAY_HAVE_LEFT_FILES, TaskState
from pixverse_dagster.core.manifest import ClipManifest, ClipOutput
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.tombstone import Tombstone
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.marker import check_form
from pixverse_dagster.storage.names import RowName, read_names
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
    names = _Names(store, pipeline, tasks)
    found = names.differences
    expected: set[str] = set()
    with ThreadPoolExecutor(_WORKERS) as pool:
        checked = pool.map(partial(_check_task, ledger.id, store, names, hash_bytes=hash_bytes), stored)
        for done, (keys, disagreements) in enumerate(checked, start=1):
            expected |= keys
            found += disagreements
            if progress:
                progress(done, len(stored))
    files, strays = _check_keys(store, names, tasks, expected)
    return Verification(len(stored), files, (*found, *strays))


class _Names:
    """What the clips of a pipeline are called, by the store and by the ledger."""

    def __init__(self, store: ClipStore, pipeline: str, tasks: Sequence[Task]) -> None:
        with_clip = [task for task in tasks if task.state in {TaskState.STORED, TaskState.FORGOTTEN}]
        self.pipeline = pipeline
        self.trees = sorted({pipeline, *(task_folder(task).pipeline for task in with_clip)})
        """The pipelines, by the names that they once had, in whose folders the clips are."""
        self._by_tree = {tree: read_names(store, tree) for tree in self.trees}
        self.differences = [one for task in with_clip for one in self._compare(store, task)]

    def keys(self, store: ClipStore) -> Iterator[str]:
        """Every key of the pipeline: what is below its own name, and its clips below its former names."""
        for tree in self.trees:
            for key in store.keys(pipeline_prefix(tree) if tree == self.pipeline else clips_prefix(tree)):
                known = parse(key)
                if isinstance(known, ClipKey) and self._by_tree[tree].owner(known.folder).pipeline != self.pipeline:
                    continue
                if isinstance(known, ClipKey) or tree == self.pipeline:
                    yield key

    def called(self, task: Task) -> set[tuple[str, str]]:
        """What the manifest may call the task's pipeline and row."""
        folder = task_folder(task)
        return {(task.pipeline, task.row)} | self._by_tree[folder.pipeline].called(folder)

    def _compare(self, store: ClipStore, task: Task) -> Iterator[Discrepancy]:
        folder, name = task_folder(task), RowName(pipeline=task.pipeline, row=task.row)
        owners = {tree: self._by_tree[tree].owner(folder) for tree in {folder.pipeline, self.pipeline}}
        for tree, owner in owners.items():
            if owner != name:
                where = store.uri(f"{names_prefix(tree)}")
                message = (
                    f"{folder} has clips of row {task.row!r} by the ledger, and of {owner.row!r} of {owner.pipeline!r} "
                    "by the store's names: a `ledger rename` did not come to its end, or is unknown to the one of them"
                )
                yield Discrepancy(task.row, where, message)


def _check_tombstones(store: ClipStore, tasks: Sequence[Task], tombstones: set[str]) -> Iterator[Discrepancy]:
    """Every forgotten task has its tombstone, and no stored task has one of its own."""
    for task in tasks:
        key = task_folder(task).tombstone
        if task.state is TaskState.FORGOTTEN and key not in tombstones:
            message = "the ledger says forgotten, but there is no tombstone: without the ledger it would be paid again"
            yield Discrepancy(task.row, store.uri(key), message)
        if task.state is TaskState.STORED and key in tombstones and _is_own(store, key, task):
            message = "the clip was to be forgotten, and the ledger says stored: run `clips forget` for the row again"
            yield Discrepancy(task.row, store.uri(key), message)


def _is_own(store: ClipStore, key: str, task: Task) -> bool:
    try:
        tombstone = Tombstone.read(read_bytes(store, key), store.uri(key))
    except StoreConflict:
        return True
    return tombstone.client_reference == task.client_reference


def _check_keys(
    store: ClipStore, names: _Names, tasks: Sequence[Task], expected: set[str]
) -> tuple[int, list[Discrepancy]]:
    """How many files the pipeline has, and those that no task accounts for."""
    under_way = {str(task_folder(task)) for task in tasks if task.state in MAY_HAVE_FILES}
    given_up = {str(task_folder(task)) for task in tasks if task.attempt and task.state in MAY_HAVE_LEFT_FILES}
    forgotten = {str(task_folder(task)): task.row for task in tasks if task.state is TaskState.FORGOTTEN}
    files, tombstones, found = 0, set[str](), list[Discrepancy]()
    for key in names.keys(store):
        known, folder = parse(key), key.rsplit("/", 1)[0]
        if isinstance(known, ClipKey) and known.kind == "tombstone":
            tombstones.add(key)
            continue
        if known is not None and not isinstance(known, ClipKey):
            continue  # input images, names, the gallery: no clip's files
        files += 1
        left = folder in given_up and known is not None and known.kind != "manifest"
        if folder in forgotten:
            message = "is left of a clip that was forgotten: run `clips forget` for the row again"
            found.append(Discrepancy(forgotten[folder], store.uri(key), message))
        elif not (key in expected or folder in under_way or left):
            message = "is in the store, but no stored task of the ledger has it"
            found.append(Discrepancy("", store.uri(key), message))
    return files, [*found, *_check_tombstones(store, tasks, tombstones)]


def _check_task(
    ledger_id: str, store: ClipStore, names: _Names, task: Task, *, hash_bytes: bool
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
    found = [
        Discrepancy(task.row, store.uri(key), message) for message in _differences(ledger_id, names, task, manifest)
    ]
    if task.manifest_sha256 not in {None, hashlib.sha256(text).hexdigest()}:
        message = "its sha256 is not the ledger's: the manifest was changed since it was written"
        found.append(Discrepancy(task.row, store.uri(key), message))
    for output in manifest.outputs:
        wrong = _check_output(store, output, hash_bytes)
        found += [Discrepancy(task.row, store.uri(key), message) for key, message in wrong]
    return keys, found


def _differences(ledger_id: str, names: _Names, task: Task, manifest: ClipManifest) -> Iterator[str]:
    renamed = (manifest.name, manifest.row) in names.called(task)
    pairs = {
        "name": (task.pipeline, task.pipeline if renamed else manifest.name),
        "row": (task.row, task.row if renamed else manifest.row),
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
        if not sha256:
            continue  # no poster could be made; one that was made since is not described
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
