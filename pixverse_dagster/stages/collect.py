"""From a succeeded task to a stored clip: download, verify, store video and poster, write the manifest last."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from pixverse_dagster.core.errors import ClipInvalid, NotSent, PixverseError, ReadFailed, ResultExpired, StoreConflict
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.manifest import ClipFacts, ClipManifest, ClipOutput
from pixverse_dagster.core.outcomes import Failed
from pixverse_dagster.core.provenance import build_manifest
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import Digest
from pixverse_dagster.media.probe import probe
from pixverse_dagster.policy.quality import Finding
from pixverse_dagster.stages.check import check_clip
from pixverse_dagster.stages.poll import refresh
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.reading import copy_to_file, read_bytes, read_manifest

CONTENT_TYPES = {"mp4": "video/mp4", "webm": "video/webm", "mov": "video/quicktime"}
_CORRUPT_DOWNLOADS = 3


@dataclass(frozen=True)
class Collected:
    """What became of one task: its manifest and poster, and what its checks found, or why there is none yet."""

    task: Task
    manifest: ClipManifest | None = None
    poster: bytes = b""
    problem: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class _Fetched:
    """A downloaded output: its digest and size, what the file says of itself, its poster frame."""

    file: Digest
    facts: ClipFacts
    poster: bytes


def collect_tasks(session: Session, store: ClipStore, batch: Sequence[Task]) -> Iterator[Collected]:
    """Store the clips of these tasks, yielding each as it lands. Free, idempotent; one task's failure is that task's.

    The ledger says `stored` when the caller comes back for the next: by then it has recorded the event.
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
            if collected.manifest is not None:
                session.ledger.store(collected.task, session.clock())
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
            task = session.ledger.retry_collect(task, f"not stored yet: {text}"[:500], retry_at).task
        return Collected(task, problem=f"row {task.row!r} (task {task.task_id}) is not stored: {text}")
    if collected.manifest is None:
        return collected
    return replace(collected, findings=check_clip(store, collected.manifest, task.request, session.options.checks))


def _expire(session: Session, task: Task) -> Task:
    """A result that stays away past its documented lifetime is given up; before that it may come back."""
    age = session.clock() - (task.finished_at or task.claimed_at)
    if age <= session.options.pace.result_lifetime_seconds:
        return task
    return session.ledger.fail(
        task, Failed(FailureKind.EXPIRED, f"the result URL expired; gone for {age / 60:.0f} min"), session.clock()
    ).task


def collect(session: Session, store: ClipStore, task: Task) -> Collected:
    """Store one task's clips and manifest, completing whatever an earlier run left.

    Raises ReadFailed, ClipInvalid, StoreConflict or the store's own error; then nothing is half-visible, because the
    manifest is written last, and the next call goes on from there.
    """
    folder = task_folder(task)
    key = folder.manifest
    try:
        return Collected(task, read_manifest(store, key), read_bytes(store, folder.poster(1)))
    except FileNotFoundError:
        pass
    with tempfile.TemporaryDirectory(dir=store.scratch(), prefix="pixverse-") as scratch:
        outputs: list[ClipOutput] = []
        posters: list[bytes] = []
        for n in range(1, len(task.urls) + 1):
            path = Path(scratch) / f"{n}.part"
            task, got = _fetch(session, task, n, path)
            output, poster = _store_output(store, task, n, path, got)
            outputs.append(output)
            posters.append(poster)
        if not outputs:
            raise ReadFailed(
                "the ledger says stored, but the store has no manifest and the result is gone; see `verify`"
            )
        attempts = session.ledger.tasks.attempts(task) if task.attempt > 1 else [task]
        manifest = build_manifest(task, attempts, outputs, session.run_id, session.clock())
        text = manifest.model_dump_json(indent=2).encode()
        created = _put_bytes(store, key, text, Path(scratch) / "manifest", "application/json")
    return Collected(task, manifest if created else read_manifest(store, key), posters[0])


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


def _store_output(store: ClipStore, task: Task, n: int, path: Path, got: _Fetched) -> tuple[ClipOutput, bytes]:
    folder = task_folder(task)
    key, poster_key = folder.output(n, got.facts.container), folder.poster(n)
    content_type = CONTENT_TYPES[got.facts.container]
    if not store.put_new(key, path, sha256=got.file.sha256, content_type=content_type):
        # An earlier run came this far. What it stored stays; the manifest describes those bytes, whatever they are.
        got = _Fetched(copy_to_file(store, key, path), *probe(path))
    size = store.size_bytes(key)
    if size != got.file.size_bytes:
        raise StoreConflict(f"{store.uri(key)} holds {size} bytes, not {got.file.size_bytes}; nothing was overwritten")
    _put_bytes(store, poster_key, got.poster, path.with_suffix(".jpg"), "image/jpeg")
    output = ClipOutput(
        n=n,
        key=key,
        poster_key=poster_key,
        sha256=got.file.sha256,
        size_bytes=got.file.size_bytes,
        seed=task.seeds[n - 1] if n <= len(task.seeds) else None,
        **dict(got.facts),
    )
    return output, got.poster


def _put_bytes(store: ClipStore, key: str, data: bytes, path: Path, content_type: str) -> bool:
    path.write_bytes(data)
    return store.put_new(key, path, sha256=hashlib.sha256(data).hexdigest(), content_type=content_type)
