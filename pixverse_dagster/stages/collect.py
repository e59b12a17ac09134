"""From a succeeded task to a stored clip: download, verify, store video and poster, write the manifest last."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pixverse_dagster.core.errors import ClipInvalid, NotSent, PixverseError, ReadFailed, ResultExpired, StoreConflict
from pixverse_dagster.core.layout import ClipFolder, task_folder
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.manifest import ClipFacts, ClipManifest, ClipOutput
from pixverse_dagster.core.outcomes import Failed
from pixverse_dagster.core.provenance import Origin, build_manifest
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Applied, Task, latest
from pixverse_dagster.core.values import Digest
from pixverse_dagster.ledger.files import LandedFile
from pixverse_dagster.media.probe import probe
from pixverse_dagster.policy.quality import Finding
from pixverse_dagster.stages.check import check_clip
from pixverse_dagster.stages.poll import refresh
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.store import enter_store
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.reading import copy_to_file, read_bytes
from pixverse_dagster.transport.logs import get_logger

CONTENT_TYPES = {"mp4": "video/mp4", "webm": "video/webm", "mov": "video/quicktime"}
_CORRUPT_DOWNLOADS = 3
_log = get_logger()


@dataclass(frozen=True)
class Collected:
    """What became of one task: its manifest and poster, and what its checks found, or why there is none yet."""

    task: Task
    manifest: ClipManifest | None = None
    poster: bytes = b""
    problem: str = ""
    findings: tuple[Finding, ...] = ()
    manifest_sha256: str | None = None
    not_checked: str = ""
    """Why some checks could not be made; empty if all were, or if none are wanted."""


@dataclass(frozen=True)
class _Fetched:
    """A downloaded output: its digest and size, what the file says of itself, its poster frame."""

    file: Digest
    facts: ClipFacts
    poster: bytes


def collect_tasks(session: Session, store: ClipStore, batch: Sequence[Task]) -> Iterator[Collected]:
    """Store the clips of these tasks, yielding each as it lands. Free, idempotent; one task's failure is that task's.

    The ledger says `stored` when the caller comes back for the next: by then it has recorded the event. Where the
    ledger refuses that, the task is yielded once more, with the problem.
    """
    pool = ThreadPoolExecutor(session.downloader.rules.max_concurrency)
    lease_seconds = session.options.pace.collect_lease_seconds
    waiting = {task.id: task for task in batch}
    renew_at = session.clock() + lease_seconds / 3
    session.ledger.lease_collect(batch, session.clock() + lease_seconds)
    try:
        for done in as_completed([pool.submit(_collect_safely, session, store, task) for task in batch]):
            collected = done.result()
            del waiting[collected.task.id]
            if (now := session.clock()) >= renew_at:
                # The rest stays this run's for as long as it makes progress, and is soon free if it dies.
                session.ledger.lease_collect(list(waiting.values()), now + lease_seconds)
                renew_at = now + lease_seconds / 3
            yield collected
            if collected.manifest is not None and (refused := _record_stored(session, collected)):
                yield refused
    finally:
        pool.shutdown(cancel_futures=True)


def _collect_safely(session: Session, store: ClipStore, task: Task) -> Collected:
    try:
        collected = collect(session, store, task)
    except Exception as error:  # noqa: BLE001 - a store's own errors have no common base, and this row's are this row's
        text = str(error) if isinstance(error, PixverseError) else f"{type(error).__name__}: {redact_text(str(error))}"
        task = session.ledger.tasks.refresh(task)
        if isinstance(error, ResultExpired):
            task = _expire(session, task)
        if task.state is TaskState.SUCCEEDED:
            retry_at = session.clock() + session.options.pace.collect_wait(task.collects)
            task = latest(session.ledger.retry_collect(task, f"not stored yet: {text}"[:500], retry_at))
        return Collected(task, problem=f"row {task.row!r} (task {task.task_id}) is not stored: {text}")
    if collected.manifest is None:
        return collected
    return _check(session, store, collected, collected.manifest)


def _check(session: Session, store: ClipStore, collected: Collected, manifest: ClipManifest) -> Collected:
    """A stored clip with what its checks found. One that a check could block waits until the check can be made."""
    task, rules = collected.task, session.options.checks
    checked = check_clip(store, manifest, task.request, rules, task.urls)
    if not (checked.undecided and rules.blocking):
        return replace(collected, findings=checked.findings, not_checked=checked.not_made)
    words = f"in the store, but its check is not made yet: {checked.not_made}"
    if task.state is TaskState.SUCCEEDED:
        retry_at = session.clock() + session.options.pace.collect_wait(task.collects)
        task = latest(session.ledger.retry_collect(task, words[:500], retry_at))
    problem = f"row {task.row!r} (task {task.task_id}) is {words}. It is made again with the next collection, free"
    return Collected(task, problem=problem)


def _expire(session: Session, task: Task) -> Task:
    """A result that stays away past its documented lifetime is given up; before that it may come back."""
    age = session.clock() - (task.finished_at or task.claimed_at)
    if age <= session.options.pace.result_lifetime_seconds:
        return task
    gone = Failed(FailureKind.EXPIRED, f"the result URL expired; gone for {age / 60:.0f} min")
    return latest(session.ledger.expire(task, gone, session.clock()))


def _record_stored(session: Session, collected: Collected) -> Collected | None:
    """Record that a clip is complete. What is wrong, if the ledger does not take it."""
    move = session.ledger.store(collected.task, session.clock(), collected.manifest_sha256)
    if isinstance(move, Applied):
        return None
    task = move.current
    if task.state is TaskState.STORED and task.manifest_sha256 in {None, collected.manifest_sha256}:
        return None  # another run was here first
    problem = (
        f"row {task.row!r} (task {task.task_id}): its clip is in the store, and the ledger does not say so, for the "
        f"task is {task.state} there. Nothing was lost and nothing is paid again for it. What differs: "
        f"{session.commands.render('verify')}; what can be done: {session.commands.tasks('show', task.row)}"
    )
    _log.warning("%s", problem)
    return Collected(task, problem=problem)


def collect(session: Session, store: ClipStore, task: Task) -> Collected:
    """Store one task's clips and manifest, completing whatever an earlier run left.

    Every file is recorded in the ledger as it lands. Raises ReadFailed, ClipInvalid, StoreConflict or the store's own
    error; then nothing is half-visible, because the manifest is written last, and the next call goes on from there.
    """
    enter_store(store, session.ledger.id, task.pipeline)
    folder = task_folder(task)
    if found := _find_stored(session, store, task, folder):
        return found
    with tempfile.TemporaryDirectory(dir=store.scratch(), prefix="pixverse-") as scratch:
        outputs: list[ClipOutput] = []
        posters: list[bytes] = []
        for n in range(1, len(task.urls) + 1):
            path = Path(scratch) / f"{n}.part"
            task, got = _fetch(session, task, n, path)
            output, poster = _store_output(session, store, task, n, path, got)
            outputs.append(output)
            posters.append(poster)
        if not outputs:
            raise ReadFailed(
                "the ledger says stored, but the store has no manifest and the result is gone; see `verify`"
            )
        origin = Origin(session.ledger.id, session.run_id, _package_version(), session.clock())
        manifest = build_manifest(task, session.ledger.tasks.claims(task), outputs, origin)
        text = manifest.model_dump_json(indent=2).encode()
        if not _put_bytes(store, folder.manifest, text, Path(scratch) / "manifest", "application/json"):
            if found := _find_stored(session, store, task, folder):
                return found
            raise ReadFailed(f"{store.uri(folder.manifest)} came and went while the clip was stored; see `verify`")
    return Collected(task, manifest, posters[0], manifest_sha256=hashlib.sha256(text).hexdigest())


def _find_stored(session: Session, store: ClipStore, task: Task, folder: ClipFolder) -> Collected | None:
    """The task's clip, if it is complete. Raises StoreConflict if the folder holds another task's."""
    try:
        text = read_bytes(store, folder.manifest)
    except FileNotFoundError:
        return None
    where = store.uri(folder.manifest)
    manifest = ClipManifest.parse(text, where)
    if (manifest.account, manifest.task_id, manifest.request_digest) != (task.account, task.task_id, task.digest):
        raise StoreConflict(
            f"{where} is of task {manifest.task_id} at account {manifest.account!r}, and not of task {task.task_id} at "
            f"{task.account!r}: nothing was overwritten. Both are paid for, and a person must look: "
            f"{session.commands.tasks('show', task.row)}"
        )
    try:
        poster = read_bytes(store, folder.poster(1))
    except FileNotFoundError:
        poster = b""  # `verify` names it
    return Collected(task, manifest, poster, manifest_sha256=hashlib.sha256(text).hexdigest())


@cache
def _package_version() -> str:
    return version("pixverse-dagster")


def _fetch(session: Session, task: Task, n: int, path: Path) -> tuple[Task, _Fetched]:
    """Download output `n` and read it; an expired link or a damaged file is asked for again, which is free."""
    renewed = False
    for attempt in range(1, _CORRUPT_DOWNLOADS + 1):
        try:
            with path.open("w+b") as file:
                got = session.downloader.fetch(task.urls[n - 1], file)
            return task, _Fetched(got, *probe(path))
        except ResultExpired as error:
            if renewed:
                raise
            task, renewed = _renew(session, task, n, error), True
        except ClipInvalid:
            if attempt == _CORRUPT_DOWNLOADS:
                raise
    raise ResultExpired(f"output {n} of task {task.task_id} could not be downloaded")


def _renew(session: Session, task: Task, n: int, error: ResultExpired) -> Task:
    try:
        task = refresh(session, task)
    except (ReadFailed, NotSent):
        raise error from None
    if len(task.urls) < n:
        raise error
    return task


def _store_output(
    session: Session, store: ClipStore, task: Task, n: int, path: Path, got: _Fetched
) -> tuple[ClipOutput, bytes]:
    folder = task_folder(task)
    key, poster_key = folder.output(n, got.facts.container), folder.poster(n)
    content_type = CONTENT_TYPES[got.facts.container]
    if not store.put_new(key, path, sha256=got.file.sha256, content_type=content_type):
        # An earlier run came this far. What it stored stays; the manifest describes those bytes, whatever they are.
        got = _Fetched(copy_to_file(store, key, path), *probe(path))
    size = store.size_bytes(key)
    if size != got.file.size_bytes:
        raise StoreConflict(f"{store.uri(key)} holds {size} bytes, not {got.file.size_bytes}; nothing was overwritten")
    poster = got.poster
    if not _put_bytes(store, poster_key, poster, path.with_suffix(".jpg"), "image/jpeg"):
        poster = read_bytes(store, poster_key)
    poster_file = Digest(hashlib.sha256(poster).hexdigest(), len(poster))
    _record_landed(session, store, task, [LandedFile(n, key, got.file), LandedFile(n, poster_key, poster_file)])
    output = ClipOutput(
        n=n,
        key=key,
        poster_key=poster_key,
        sha256=got.file.sha256,
        size_bytes=got.file.size_bytes,
        poster_sha256=poster_file.sha256,
        poster_size_bytes=poster_file.size_bytes,
        seed=task.seeds[n - 1] if n <= len(task.seeds) else None,
        **dict(got.facts),
    )
    return output, poster


def _record_landed(session: Session, store: ClipStore, task: Task, files: Sequence[LandedFile]) -> None:
    """Record files as they are in the store. Raises StoreConflict if the video is not as it was when it landed."""
    video, recorded = files[0], session.ledger.files.landed(task, files, session.clock())[0]
    if recorded.digest != video.digest:
        raise StoreConflict(
            f"{store.uri(video.key)} is not as it was stored: its sha256 was {recorded.digest.sha256} and is "
            f"{video.digest.sha256}. Nothing was overwritten; put the file back, or delete it to have it fetched again"
        )


def _put_bytes(store: ClipStore, key: str, data: bytes, path: Path, content_type: str) -> bool:
    path.write_bytes(data)
    return store.put_new(key, path, sha256=hashlib.sha256(data).hexdigest(), content_type=content_type)
