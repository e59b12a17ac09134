"""A task's clip as it stands in the store: whose manifest it is, whether its files are there, and its posters."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pixverse_dagster.core.errors import NotSent, ReadFailed, StoreConflict
from pixverse_dagster.core.layout import ClipFolder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import ClipManifest, ClipOutput
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.tombstone import Tombstone
from pixverse_dagster.ledger.files import ClipFile
from pixverse_dagster.media.probe import look_at
from pixverse_dagster.stages.attempts import FolderTaken, lost_file
from pixverse_dagster.stages.landing import digest_of, fetch_output, put_bytes, put_video
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.documents import scratch_folder
from pixverse_dagster.storage.reading import copy_to_file, read_bytes
from pixverse_dagster.transport.logs import get_logger

_log = get_logger()


@dataclass(frozen=True)
class CompleteClip:
    """A complete clip: its manifest with the sha256 of its text, and the poster of its first output."""

    manifest: ClipManifest
    manifest_sha256: str
    poster: bytes


def find_forgotten(store: ClipStore, task: Task, folder: ClipFolder) -> Tombstone | None:
    """The tombstone of the task's clip, which a person had deleted. Raises FolderTaken if it is another task's."""
    where = store.uri(folder.tombstone)
    try:
        tombstone = Tombstone.read(read_bytes(store, folder.tombstone), where)
    except FileNotFoundError:
        return None
    except StoreConflict as error:
        raise FolderTaken(str(error)) from None
    if not task.owns(tombstone):
        raise FolderTaken(f"{where} is of task {tombstone.task_id}, and not of task {task.task_id}")
    return tombstone


def find_stored(session: Session, store: ClipStore, task: Task, folder: ClipFolder) -> CompleteClip | None:
    """The task's clip; None if there is no manifest. Facts and posters that are missing are read from the video, free.

    Raises FolderTaken if the manifest is another task's or cannot be read, and StoreConflict if a video is missing and
    cannot be had again.
    """
    try:
        text = read_bytes(store, folder.manifest)
    except FileNotFoundError:
        return None
    where = store.uri(folder.manifest)
    try:
        manifest = ClipManifest.parse(text, where)
    except StoreConflict as error:
        raise FolderTaken(str(error)) from None
    if not task.owns(manifest):
        raise FolderTaken(
            f"{where} is of task {manifest.task_id} at account {manifest.account!r}, and not of task {task.task_id} at "
            f"{task.account!r}"
        )
    for output in manifest.outputs:
        _require_video(session, store, task, output)
    seen = [_see(session, store, task, output) for output in manifest.outputs]
    manifest = manifest.model_copy(update={"outputs": tuple(output for output, _ in seen)})
    return CompleteClip(manifest, hashlib.sha256(text).hexdigest(), seen[0][1] if seen else b"")


def _require_video(session: Session, store: ClipStore, task: Task, output: ClipOutput) -> None:
    """See that an output is there; one that is missing is fetched again while its link is alive."""
    try:
        size = store.size_bytes(output.key)
    except FileNotFoundError:
        if _fetch_again(session, store, task, output):
            return
        wrong = "is missing"
    else:
        if size == output.size_bytes:
            return
        wrong = f"holds {size} bytes, and its manifest says {output.size_bytes}"
    what = f"{store.uri(output.key)} {wrong}; its manifest is there, and says that its sha256 is {output.sha256}"
    raise lost_file(session, task, what)


def _fetch_again(session: Session, store: ClipStore, task: Task, output: ClipOutput) -> bool:
    """Download an output that its manifest describes. False unless the provider has those very bytes."""
    if task.state is not TaskState.SUCCEEDED or output.n > len(task.urls):
        return False
    with scratch_folder(store) as scratch:
        path = scratch / "clip"
        try:
            _, got = fetch_output(session, task, output.n, path)
        except (ReadFailed, NotSent):
            return False
        return got.file.sha256 == output.sha256 and put_video(store, output.key, path, got)


def _see(session: Session, store: ClipStore, task: Task, output: ClipOutput) -> tuple[ClipOutput, bytes]:
    """The output and its poster, both made good from its video as far as they are missing; b"" if there is no picture.

    Facts that could not be read when the clip was stored are in what is returned, and not in the manifest, which is
    never changed. A missing poster is put back. One with other bytes is left as it is: `verify` names it.
    """
    try:
        found = read_bytes(store, output.poster_key)
    except FileNotFoundError:
        found = None
    own = found is not None and output.poster_sha256 in {"", hashlib.sha256(found).hexdigest()}
    if found is not None and own and not output.unread:
        return output, found
    with scratch_folder(store) as scratch:
        path = scratch / "clip"
        if copy_to_file(store, output.key, path).sha256 != output.sha256:
            return output, b""  # the video was changed: `verify` names it, and no picture of it is the clip's
        look = look_at(path)
        if look.facts.unread:
            _log.warning("%s could not be decoded: %s", store.uri(output.key), look.facts.unread)
        else:
            output = output.model_copy(update=dict(look.facts))
        if found is None and look.poster:
            session.ledger.files.record(
                task, [ClipFile(output.n, output.poster_key, digest_of(look.poster))], session.clock()
            )
            put_bytes(store, output.poster_key, look.poster, path.with_suffix(".jpg"), "image/jpeg")
    return output, found if own and found else look.poster
