"""From a succeeded task to a stored clip: download, verify, store video and poster, write the manifest last."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pixverse_dagster.core.errors import NoAnswer, PixverseError, ReadFailed, ResultExpired, StoreConflict
from pixverse_dagster.core.layout import ClipFolder, task_folder
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.manifest import ClipManifest, ClipOutput
from pixverse_dagster.core.outcomes import Failed
from pixverse_dagster.core.provenance import Origin, build_manifest
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Applied, Task, latest
from pixverse_dagster.core.text import shorten
from pixverse_dagster.core.tombstone import Tombstone
from pixverse_dagster.ledger.files import clip_files
from pixverse_dagster.policy.identity import Standing
from pixverse_dagster.policy.quality import Finding
from pixverse_dagster.policy.timing import STALLED_WAIT_SECONDS
from pixverse_dagster.stages.attempts import FolderTaken, check_folder, inside, lost_file, move_on
from pixverse_dagster.stages.check import check_clip
from pixverse_dagster.stages.landing import land_output, put_bytes
from pixverse_dagster.stages.lanes import Lane, Lanes
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.standing import find_standing
from pixverse_dagster.stages.store import enter_store
from pixverse_dagster.stages.stored import CompleteClip, find_forgotten, find_stored
from pixverse_dagster.stages.waiting import as_they_end
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.documents import scratch_folder
from pixverse_dagster.transport.logs import get_logger

_MAX_FOLDERS = 20
"""How many folders are tried in one go. Each is free when it is chosen, so that others have to be at work there."""
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


def collect_tasks(session: Session, store: ClipStore, batch: Sequence[Task]) -> Iterator[Collected]:
    """Store the clips of these tasks, yielding each as it lands. Free, idempotent; one task's failure is that task's.

    The ledger says `stored` when the caller comes back for the next: by then it has recorded the event. Where the
    ledger refuses that, the task is yielded once more, with the problem. Raises RunStopped if the run is cancelled:
    downloads and writes that are under way are left, and the next run completes what they began.
    """
    lanes, lease_seconds = Lanes(session.downloader.rules.max_concurrency), session.options.pace.collect_lease_seconds
    waiting, renew_at = {task.id: task for task in batch}, session.clock()

    def look() -> bool:
        # The rest stays this run's for as long as it lives, and is soon free if it dies.
        nonlocal renew_at
        if (now := session.clock()) >= renew_at:
            session.ledger.collecting.lease(list(waiting.values()), now + lease_seconds)
            renew_at = now + lease_seconds / 3
        return session.stopped()

    def run(lane: Lane, task: Task) -> Collected:
        return _collect_safely(session, store, task, lane)

    look()
    try:
        for done in as_they_end([lanes.submit(task, run) for task in batch], look):
            collected = done.result()
            del waiting[collected.task.id]
            yield collected
            if collected.manifest is not None and (refused := _record_stored(session, collected)):
                yield refused
    finally:
        # A person's wish, or the caller's end: nobody waits for a download that hangs.
        lanes.leave()


def _collect_safely(session: Session, store: ClipStore, task: Task, lane: Lane) -> Collected:
    if lane.is_silent:
        return _not_stored(session, task, f"{lane.name} gave no answer about several other clips; it was not asked now")
    try:
        collected = collect(session, store, task)
    except Exception as error:  # noqa: BLE001 - a store's own errors have no common base, and this row's are this row's
        lane.note(answered=not isinstance(error, NoAnswer))
        text = str(error) if isinstance(error, PixverseError) else f"{type(error).__name__}: {redact_text(str(error))}"
        task = session.ledger.tasks.refresh(task)
        if session.stopped():
            # Its run closes the connections under it: that is no attempt, and says nothing about the clip.
            return Collected(task, problem=f"row {task.row!r}: the run was cancelled")
        if isinstance(error, ResultExpired):
            task = _expire(session, task)
        return _not_stored(session, task, text)
    lane.note(answered=True)
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
    task = _put_off(session, task, words)
    problem = f"row {task.row!r} (task {task.task_id}) is {words}. It is made again with the next collection, free"
    return Collected(task, problem=problem)


def _not_stored(session: Session, task: Task, why: str) -> Collected:
    task = _put_off(session, task, f"not stored yet: {why}")
    what = "is stored, and not as it was" if task.state is TaskState.STORED else "is not stored"
    return Collected(task, problem=f"row {task.row!r} (task {task.task_id}) {what}: {why}")


def _put_off(session: Session, task: Task, why: str) -> Task:
    """A clip that is not stored is tried again later, ever more slowly; in the end a person is to look as well."""
    if task.state is not TaskState.SUCCEEDED:
        return task
    pace, now = session.options.pace, session.clock()
    stalled = pace.stalls(task.collects, now - (task.finished_at or task.claimed_at))
    wait_seconds = STALLED_WAIT_SECONDS if stalled else pace.collect_wait(task.collects)
    why, stalled_at = shorten(why, 500), now if stalled else None
    return latest(session.ledger.retry_collect(task, why, now + wait_seconds, stalled_at))


def _expire(session: Session, task: Task) -> Task:
    """A result whose fresh link is refused as gone is given up past its lifetime; before that it may come back."""
    if find_standing(session, task) is not Standing.OWN:
        return task  # another key may still get fresh links
    age = session.clock() - (task.finished_at or task.claimed_at)
    if age <= session.options.pace.result_lifetime_seconds:
        return task
    gone = Failed(FailureKind.EXPIRED, f"the result URL expired; gone for {age / 60:.0f} min")
    return latest(session.ledger.expire(task, gone, session.clock()))


def _record_stored(session: Session, collected: Collected) -> Collected | None:
    """Record that a clip is complete. What is wrong, if the ledger does not take it."""
    if not all(finding.passed for finding in collected.findings):
        session.ledger.checks.record(collected.task, collected.findings, session.clock())
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

    The store is looked at first: what is complete there is not fetched again, and needs no link. Every file is on
    record in the ledger before it is put; where something else stands in the task's folder, the clip goes to the next
    free one. Raises ReadFailed, StoreConflict or the store's own error; then nothing is half-visible,
    because the manifest is written last, and the next call goes on from there.
    """
    if task.state is not TaskState.STORED:
        # What is stored was found or stored before: to look at it writes nothing, and names no ledger.
        enter_store(store, session.ledger.id, task.pipeline)
    for _ in range(_MAX_FOLDERS):
        folder = task_folder(task)
        try:
            with inside(store, folder):
                return _collect_into(session, store, task, folder)
        except FolderTaken as taken:
            task = move_on(session, store, task, taken)
    raise StoreConflict(
        f"something else stands in each of {_MAX_FOLDERS} folders, the last of them {store.uri(str(task_folder(task)))}"
        ": nothing was overwritten, and the clip is tried again. Look at who writes there"
    )


def _collect_into(session: Session, store: ClipStore, task: Task, folder: ClipFolder) -> Collected:
    """As `collect`, into this folder. Raises FolderTaken if something that is not the task's stands there."""
    present = list(store.keys(f"{folder}/"))
    if folder.tombstone in present and (tombstone := find_forgotten(store, task, folder)):
        return _forget(session, task, tombstone)
    recorded = session.ledger.files.find(task)
    if folder.manifest in present and (found := find_stored(session, store, task, folder)):
        if not recorded:  # the task was taken in from the store
            session.ledger.files.record(task, clip_files(found.manifest), session.clock())
        return _collected(task, found)
    if task.state is TaskState.SUCCEEDED:
        check_folder(store, folder, present, recorded)
        count = len(task.urls)
    else:
        count = max((file.n for file in recorded), default=0)
    if not count:
        raise lost_file(session, task, f"{store.uri(folder.manifest)} is not there, nor any record of the clip's files")
    with scratch_folder(store) as scratch:
        outputs: list[ClipOutput] = []
        posters: list[bytes] = []
        for n in range(1, count + 1):
            task, output, poster = land_output(session, store, task, n, scratch / f"{n}.part", recorded)
            outputs.append(output)
            posters.append(poster)
        return _write_manifest(session, store, task, outputs, posters[0], scratch / "manifest")


def _write_manifest(
    session: Session, store: ClipStore, task: Task, outputs: Sequence[ClipOutput], poster: bytes, path: Path
) -> Collected:
    """Write the manifest, the last file of a clip."""
    folder, ledger = task_folder(task), session.ledger
    origin = Origin(ledger.id, session.run_id, _package_version(), session.clock())
    if task.state is TaskState.STORED:
        # It was stored long ago, perhaps by another ledger: the same words whoever writes it again, and whenever.
        origin = replace(origin, ledger_id=task.paid_by or ledger.id, run_id=task.run_id, now=task.stored_at or 0)
    told = replace(task, state=TaskState.SUCCEEDED)
    manifest = build_manifest(told, ledger.tasks.claims(task), outputs, origin)
    text = manifest.model_dump_json(indent=2).encode()
    digest = hashlib.sha256(text).hexdigest()
    if task.state is TaskState.STORED:
        task = latest(ledger.describe(task, digest))
        if (task.state, task.manifest_sha256) != (TaskState.STORED, digest):
            raise ReadFailed(f"another run is at work on {store.uri(folder.manifest)}; nothing was written. Run again")
    if put_bytes(store, folder.manifest, text, path, "application/json"):
        return Collected(task, manifest, poster, manifest_sha256=digest)
    if found := find_stored(session, store, task, folder):
        return _collected(task, found)
    raise ReadFailed(f"{store.uri(folder.manifest)} came and went while the clip was stored; run again, which is free")


def _forget(session: Session, task: Task, tombstone: Tombstone) -> Collected:
    """The clip was deleted on demand, and this ledger, such as one from a backup, did not know: it does now."""
    ledger = session.ledger
    if task.state is not TaskState.STORED:
        task = latest(ledger.store(task, session.clock()))
    task = latest(ledger.forget(task, tombstone.decision))
    why = f"was deleted on demand ({tombstone.decision}): it is not stored again, and not paid for again"
    return Collected(task, problem=f"row {task.row!r} (task {task.task_id}) {why}")


def _collected(task: Task, found: CompleteClip) -> Collected:
    return Collected(task, found.manifest, found.poster, manifest_sha256=found.manifest_sha256)


@cache
def _package_version() -> str:
    return version("pixverse-dagster")
