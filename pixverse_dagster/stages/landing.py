"""Storing one output of a task: taken from the store or from its link, on record before it is put, with its poster."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pixverse_dagster.core.errors import ClipInvalid, NoAnswer, NotSent, ReadFailed, StoreConflict
from pixverse_dagster.core.layout import ClipFolder, ClipKey, parse, task_folder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import ClipOutput
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import Digest
from pixverse_dagster.ledger.files import ClipFile
from pixverse_dagster.media.probe import Look, look_at
from pixverse_dagster.stages.attempts import FolderTaken, lost_file
from pixverse_dagster.stages.poll import refresh
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.reading import copy_hashed, copy_to_file, read_bytes
from pixverse_dagster.transport.download import NotTheFile, TooLarge

CONTENT_TYPES = {"mp4": "video/mp4", "webm": "video/webm", "mov": "video/quicktime"}
_DAMAGED_DOWNLOADS = 3


@dataclass(frozen=True)
class Video:
    """An output in a local file: its digest and size, and what the file says of itself."""

    file: Digest
    look: Look
    key: str = ""
    """Where in the store it was read from; empty if it comes from the provider."""


def land_output(
    session: Session, store: ClipStore, task: Task, n: int, path: Path, recorded: Sequence[ClipFile]
) -> tuple[Task, ClipOutput, bytes]:
    """Store output `n` with its poster; what is complete in the store needs no link and no download.

    `recorded` are the files that were on record for the task before. Returns the task, whose links may have been
    renewed, the output and the poster. Raises FolderTaken if something else stands in the place of a file.
    """
    folder = task_folder(task)
    got = _recover(store, folder, recorded, n, path)
    if got is None:
        if task.state is TaskState.STORED:
            what = f"neither the manifest nor output {n} is in {store.uri(str(folder))} as it was stored"
            raise lost_file(session, task, what)
        task, got = fetch_output(session, task, n, path)
    return task, *store_output(session, store, task, n, path, got)


def _recover(store: ClipStore, folder: ClipFolder, recorded: Sequence[ClipFile], n: int, path: Path) -> Video | None:
    """The output as an earlier run put it, in any folder that the task had; None unless its bytes are on record."""
    digests: dict[str, set[Digest]] = {}
    for file in recorded:
        if file.n == n and is_video(file):
            digests.setdefault(file.key, set()).add(file.digest)
    for key in sorted(digests, key=lambda key: not key.startswith(f"{folder}/")):
        try:
            if store.size_bytes(key) not in {digest.size_bytes for digest in digests[key]}:
                continue
            found = copy_to_file(store, key, path)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            continue
        if found in digests[key]:
            return Video(found, look_at(path), key)
    return None


def is_video(file: ClipFile) -> bool:
    """Whether a file on record is an output, and not a poster."""
    known = parse(file.key)
    return isinstance(known, ClipKey) and known.kind == "output"


def fetch_output(session: Session, task: Task, n: int, path: Path) -> tuple[Task, Video]:
    """Download output `n`, whole, and a clip by its first bytes. Free.

    Whatever else comes leads to a fresh link, once. A file that cannot be decoded is downloaded again, and is what the
    provider has if the same bytes come twice. Raises ResultExpired only if a link that was given out after a refusal is
    refused as gone, else ReadFailed.
    """
    renewed, seen = False, set[Digest]()
    while len(seen) < _DAMAGED_DOWNLOADS:
        try:
            got, look = _download(session, task, n, path)
        except TooLarge:
            raise
        except ReadFailed as error:
            if renewed:
                raise
            task, renewed = _renew(session, task, n, error), True
            continue
        if not look.facts.unread or got in seen or (len(seen) + 1 == _DAMAGED_DOWNLOADS and not look.damaged):
            return task, Video(got, look)
        seen.add(got)
    raise ReadFailed(f"output {n} came with other bytes each time, and none of them can be decoded: damaged on the way")


def _download(session: Session, task: Task, n: int, path: Path) -> tuple[Digest, Look]:
    """One download. Raises ReadFailed for anything that is no clip: a page, an error's text, whatever its status."""
    if len(task.urls) < n:
        raise ReadFailed(f"there is no link to output {n}")
    # A host that has let the task down before is not waited for as long.
    attempts = 1 if task.collects else None
    with path.open("w+b") as file:
        got = session.downloader.fetch(task.urls[n - 1], file, max_attempts=attempts)
    try:
        return got, look_at(path)
    except ClipInvalid as error:
        raise NotTheFile(f"the host of output {n} answered with something that is no clip: {error}") from None


def _renew(session: Session, task: Task, n: int, error: ReadFailed) -> Task:
    """The task with fresh links. Raises ReadFailed, with what the host said, if there are none to be had."""
    try:
        after = refresh(session, task)
        why = "" if after is not task else f"{task.provider} gave no fresh link"
    except (ReadFailed, NotSent) as unread:
        after, why = task, f"no fresh link could be had ({unread})"
    if not why and (after.state is not TaskState.SUCCEEDED or len(after.urls) < n):
        why = f"there is no link to output {n} any more"
    if not why:
        return after
    # Without a fresh link nothing shows that the clip is gone: it is not given up.
    raise (NoAnswer if isinstance(error, NoAnswer) else ReadFailed)(f"{error}; {why}") from None


def store_output(
    session: Session, store: ClipStore, task: Task, n: int, path: Path, got: Video
) -> tuple[ClipOutput, bytes]:
    """Put an output and its poster, each on record before it is put, so that it is known for the task's own.

    What the task put under the key earlier stays, and is described as it is. Raises FolderTaken for anything else.
    """
    folder, look = task_folder(task), got.look
    key, poster_key = folder.output(n, look.facts.container), folder.poster(n)
    files = [ClipFile(n, key, got.file)]
    if look.poster:
        files.append(ClipFile(n, poster_key, digest_of(look.poster)))
    recorded = session.ledger.files.record(task, files, session.clock())
    if got.key != key and not put_video(store, key, path, got):
        found = _own(store, key, recorded)
        if found != got.file:
            there = Video(copy_to_file(store, key, path), look_at(path), key)
            return store_output(session, store, task, n, path, there)
    size = store.size_bytes(key)
    if size != got.file.size_bytes:
        raise StoreConflict(f"{store.uri(key)} holds {size} bytes, not {got.file.size_bytes}; nothing was overwritten")
    poster = _store_poster(store, task, poster_key, look.poster, path, recorded)
    poster_file = digest_of(poster) if poster else Digest("", 0)
    output = ClipOutput(
        n=n,
        key=key,
        poster_key=poster_key,
        sha256=got.file.sha256,
        size_bytes=got.file.size_bytes,
        poster_sha256=poster_file.sha256,
        poster_size_bytes=poster_file.size_bytes,
        seed=task.seeds[n - 1] if n <= len(task.seeds) else None,
        **dict(look.facts),
    )
    return output, poster


def _store_poster(
    store: ClipStore, task: Task, key: str, poster: bytes, path: Path, recorded: Sequence[ClipFile]
) -> bytes:
    """Put a poster; the one that is described, which is the one of an earlier run where there is one.

    None, which is b"", where none could be made, and none is there.
    """
    if not poster and not any(file.key == key for file in recorded):
        return b""
    if poster and put_bytes(store, key, poster, path.with_suffix(".jpg"), "image/jpeg"):
        return poster
    try:
        found = read_bytes(store, key)
    except FileNotFoundError:
        return b""
    if digest_of(found) in {file.digest for file in recorded if file.key == key}:
        return found
    if task.state is TaskState.STORED:
        return poster  # the clip has its place already; `verify` names the file
    raise FolderTaken(f"{store.uri(key)} is not the poster of this task")


def _own(store: ClipStore, key: str, recorded: Sequence[ClipFile]) -> Digest:
    """The digest of what stands under a key. Raises FolderTaken unless the task has put it there."""
    with store.open(key) as file:
        found = copy_hashed(file)
    if found not in {file.digest for file in recorded if file.key == key}:
        raise FolderTaken(f"{store.uri(key)} holds bytes that are not of this task")
    return found


def put_video(store: ClipStore, key: str, path: Path, got: Video) -> bool:
    """Put a video under a new key. False if the key exists."""
    return store.put_new(key, path, sha256=got.file.sha256, content_type=CONTENT_TYPES[got.look.facts.container])


def put_bytes(store: ClipStore, key: str, data: bytes, path: Path, content_type: str) -> bool:
    """Put bytes under a new key, by way of a local file. False if the key exists."""
    path.write_bytes(data)
    return store.put_new(key, path, sha256=hashlib.sha256(data).hexdigest(), content_type=content_type)


def digest_of(data: bytes) -> Digest:
    """The digest of bytes in memory."""
    return Digest(hashlib.sha256(data).hexdigest(), len(data))
