"""Deleting one row's clips because a person asked for it. The only code that deletes anything from a store.

First it is written down that the clip was forgotten, in the store and then in the ledger; only then its files go: the
manifest first, so that no half clip looks like a whole one. A run that was killed is repeated, and goes on where it
was. What belongs to another row, another ledger or another attempt is left alone and named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pixverse_dagster.core.errors import PixverseError, StoreConflict
from pixverse_dagster.core.layout import (
    ClipKey,
    ImageKey,
    clips_prefix,
    gallery_prefix,
    images_prefix,
    parse,
    task_folder,
)
from pixverse_dagster.core.lifecycle import OPEN_SUBMIT, UNDER_WAY, TaskState
from pixverse_dagster.core.manifest import CheckedImage, ClipManifest
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import MoveRefused, Task
from pixverse_dagster.core.text import shorten
from pixverse_dagster.core.tombstone import Tombstone, bury_task
from pixverse_dagster.core.values import Digest
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.reports.gallery.index import WriterState, ledger_mark
from pixverse_dagster.reports.gallery.removal import remove_clips
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.documents import put_document
from pixverse_dagster.storage.names import find_folders, read_names
from pixverse_dagster.storage.reading import copy_hashed, read_bytes, read_manifest

_HAS_CLIP = frozenset({TaskState.STORED, TaskState.FORGOTTEN})
_PENDING = UNDER_WAY | OPEN_SUBMIT


@dataclass(frozen=True)
class ForgetPlan:
    """What forgetting a row would do. `pending` are tasks that may still bring a clip: then nothing can be done yet."""

    pipeline: str
    row: str
    take: int | None
    tasks: tuple[Task, ...]
    """The row's tasks, all of them or those of one take."""
    pending: tuple[Task, ...]
    files: tuple[str, ...]
    """The keys of videos, posters and manifests, in the order in which they are deleted."""
    images: tuple[str, ...]
    """The keys of input images that nothing else was made from."""
    left: tuple[str, ...]
    """Why something of the row is left alone."""

    @property
    def clips(self) -> tuple[Task, ...]:
        """The tasks whose clip is stored, and not forgotten yet."""
        return tuple(task for task in self.tasks if task.state is TaskState.STORED)


@dataclass(frozen=True)
class Forgotten:
    """What forgetting a row did. `failed` says, by key, why a file could not be deleted: then run it again."""

    tasks: tuple[Task, ...]
    deleted: tuple[str, ...]
    failed: dict[str, str]
    keeps_versions: bool
    """Whether the store keeps earlier versions of what was deleted."""


def plan_forget(ledger: Ledger, store: ClipStore, pipeline: str, row: str, take: int | None = None) -> ForgetPlan:
    """What forgetting a row, or one take of it, would delete. Changes nothing. Raises the store's own errors."""
    tasks = [task for task in ledger.tasks.find(pipeline, keys=[row]) if take in {None, task.take}]
    files: list[str] = []
    left: list[str] = []
    for task in tasks:
        try:
            files += _own_files(ledger, store, task)
        except StoreConflict as error:
            left.append(str(error))
    left += _unknown_folders(ledger, store, pipeline, row, take)
    return ForgetPlan(
        pipeline=pipeline,
        row=row,
        take=take,
        tasks=tuple(tasks),
        pending=tuple(task for task in tasks if task.state in _PENDING),
        files=tuple(dict.fromkeys(files)),
        images=tuple(_own_images(ledger, store, pipeline, row, tasks)),
        left=tuple(left),
    )


def forget_row(ledger: Ledger, store: ClipStore, plan: ForgetPlan, decision: str, now: float) -> Forgotten:
    """Do what the plan says. Repeatable: what an earlier run did is done.

    Raises PixverseError, before anything is deleted, where a task may still bring a clip or changed at this moment.
    """
    if plan.pending:
        raise PixverseError(f"row {plan.row!r} has a task that is {plan.pending[0].state}: nothing was deleted")
    for task in plan.clips:
        _bury(ledger, store, task, decision, now)
        if (
            isinstance(move := ledger.forget(task, decision), MoveRefused)
            and move.current.state is not TaskState.FORGOTTEN
        ):
            raise PixverseError(f"row {plan.row!r} is {move.current.state} now: nothing was deleted. Run it again")
    deleted: list[str] = []
    failed: dict[str, str] = {}
    keeps_versions = False
    for key in (*plan.images, *plan.files):
        try:
            keeps_versions |= store.delete(key)
            deleted.append(key)
        except Exception as error:  # noqa: BLE001 - a store's own errors have no common base; the other files go
            failed[key] = shorten(redact_text(f"{type(error).__name__}: {error}"), 300)
    failed |= _leave_gallery(ledger, store, plan)
    tasks = ledger.tasks.by_id([task.id for task in plan.tasks])
    return Forgotten(tuple(tasks), tuple(deleted), failed, keeps_versions)


def _leave_gallery(ledger: Ledger, store: ClipStore, plan: ForgetPlan) -> dict[str, str]:
    """Take the clips out of the galleries under all names of the pipeline; why that failed, by where."""
    entries = ledger.history.of_row(plan.pipeline, plan.row)
    positions = [entry.position for entry in entries if entry.state == TaskState.FORGOTTEN]
    at = max(positions, default=ledger.overview.position())

    def is_younger(state: WriterState) -> bool:
        return state.position >= at and state.mark == ledger_mark(ledger, state.position)

    folders = [task_folder(task) for task in plan.tasks]
    failed: dict[str, str] = {}
    for tree in sorted({plan.pipeline, *(folder.pipeline for folder in folders)}):
        try:
            remove_clips(store.pages(tree), tree, [str(folder) for folder in folders], plan.row, is_younger=is_younger)
        except Exception as error:  # noqa: BLE001 - as above; the clips themselves are gone
            failed[gallery_prefix(tree)] = shorten(redact_text(f"{type(error).__name__}: {error}"), 300)
    return failed


def _bury(ledger: Ledger, store: ClipStore, task: Task, decision: str, now: float) -> None:
    key = task_folder(task).tombstone
    if put_document(store, key, bury_task(task, ledger.id, decision, now)):
        return
    there = Tombstone.read(read_bytes(store, key), store.uri(key))
    if not task.owns(there):
        raise StoreConflict(f"{store.uri(key)} is another task's: nothing was deleted. A person must look")


def _own_files(ledger: Ledger, store: ClipStore, task: Task) -> list[str]:
    """The files of a task's clip that are there, the manifest first.

    Raises StoreConflict where another task's manifest stands in the folder: nothing there is this task's.
    """
    folder = task_folder(task)
    there = [
        key for key in map(parse, store.keys(f"{folder}/")) if isinstance(key, ClipKey) and key.kind != "tombstone"
    ]
    if task.state not in _HAS_CLIP:
        # It ended without a clip: its own are the bytes that are on record for it, and whatever else is there is not.
        own = {(file.key, file.digest) for file in ledger.files.find(task)}
        return [key for key in map(str, there) if (key, _digest(store, key)) in own]
    if any(key.kind == "manifest" for key in there) and not _is_mine(store, task):
        raise StoreConflict(f"{store.uri(folder.manifest)} is another task's, and was left alone with its files")
    return sorted(map(str, there), key=lambda key: (key != folder.manifest, key))


def _digest(store: ClipStore, key: str) -> Digest:
    with store.open(key) as file:
        return copy_hashed(file)


def _is_mine(store: ClipStore, task: Task) -> bool:
    """Whether the manifest in a task's folder is its own; one that cannot be read is, as the ledger has it there."""
    try:
        manifest = read_manifest(store, task_folder(task).manifest)
    except (StoreConflict, FileNotFoundError):
        return True
    return task.owns(manifest)


def _unknown_folders(ledger: Ledger, store: ClipStore, pipeline: str, row: str, take: int | None) -> Iterator[str]:
    """Folders of the row that no task of this ledger has: another ledger's clips."""
    names = read_names(store, pipeline)
    folders = [folder for folder in find_folders(store, names, row) if take in {None, folder.take}]
    known = {str(task_folder(task)) for task in ledger.tasks.find(pipeline, keys=[row])}
    known |= {task.folder for task in ledger.tasks.in_folders(map(str, folders))}
    for folder in folders:
        if str(folder) not in known and not _is_only_a_tombstone(store, str(folder)):
            yield f"{store.uri(str(folder))} is no clip that this ledger knows, and was left alone"


def _is_only_a_tombstone(store: ClipStore, folder: str) -> bool:
    return all(isinstance(key := parse(text), ClipKey) and key.kind == "tombstone" for text in store.keys(f"{folder}/"))


def _own_images(ledger: Ledger, store: ClipStore, pipeline: str, row: str, tasks: Sequence[Task]) -> Iterator[str]:
    """Converted or staged images that these tasks were made from and nothing else in the pipeline."""
    wanted = _digests(image for task in tasks for image in task.images.values())
    trees = sorted({pipeline, *(task_folder(task).pipeline for task in tasks)})
    found = [
        key
        for tree in (trees if wanted else ())
        for key in map(parse, store.keys(images_prefix(tree)))
        if isinstance(key, ImageKey) and key.sha256 in wanted
    ]
    if not found:
        return  # the ordinary case, in which no other manifest need be read
    ours = {task.id for task in tasks}
    others = [
        task for task in ledger.tasks.find(pipeline) if task.id not in ours and task.state is not TaskState.FORGOTTEN
    ]
    used = _digests(image for task in others for image in task.images.values())
    table = [one for one in ledger.rows.find(pipeline).values() if one.id != row]
    used |= _digests(image for one in table for image in one.images.values())
    folders = {str(task_folder(task)) for task in tasks}
    for tree in trees:
        for manifest in _manifests(store, tree, folders):
            used |= _digests(manifest.images)
    yield from (str(key) for key in found if key.sha256 not in used)


def _manifests(store: ClipStore, tree: str, without: set[str]) -> Iterator[ClipManifest]:
    """Every manifest of a pipeline's clips but those in some folders. Raises StoreConflict for one that is none."""
    for key in map(parse, store.keys(clips_prefix(tree))):
        if isinstance(key, ClipKey) and key.kind == "manifest" and str(key.folder) not in without:
            yield read_manifest(store, str(key))


def _digests(images: Iterable[CheckedImage]) -> set[str]:
    """The sha256, in hex, of images as they were read and as they were sent."""
    known = (digest for image in images for digest in (image.digest, image.sent_digest))
    return {digest.removeprefix("sha256:") for digest in known if digest and digest.startswith("sha256:")}
