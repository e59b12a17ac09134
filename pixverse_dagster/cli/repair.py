"""What `verify --repair` does: what costs nothing and loses nothing. Repeatable: it goes by what is there now."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pixverse_dagster.cli.project import Project
from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.layout import ClipKey, parse, task_folder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import ClipManifest
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Applied, Task
from pixverse_dagster.core.text import shorten
from pixverse_dagster.ledger.files import clip_files
from pixverse_dagster.orchestration.events.clips import check_event
from pixverse_dagster.orchestration.events.found import report_check, report_clips_again, report_task_again
from pixverse_dagster.recovery.restored import tasks_of
from pixverse_dagster.reports.verify import Discrepancy, Repair
from pixverse_dagster.stages.check import check_clip
from pixverse_dagster.stages.collect import collect
from pixverse_dagster.stages.find import read_folder
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.names import read_names
from pixverse_dagster.storage.reading import read_bytes, read_manifest


@dataclass(frozen=True)
class Repaired:
    """What was done for a row; `failed` says why it could not be."""

    row: str
    what: str
    failed: str = ""


_ORDER = (
    *(Repair.TAKE_IN, Repair.COLLECT, Repair.KEEP_DIGEST, Repair.ADD_PARTITION),
    *(Repair.REPORT_TASK, Repair.REPORT_CLIP, Repair.CHECK),
)
"""The ledger is made whole first: what Dagster is told follows from it."""


def repair(project: Project, found: Sequence[Discrepancy]) -> list[Repaired]:
    """Repair what can be repaired, each by itself: the fault of one stops no other. Nothing is paid, nothing lost."""
    done: list[Repaired] = []
    with project.open() as session:
        mending = _Mending(project, session, found)
        for kind in _ORDER:
            once = {(one.row, one.task or one.key): one for one in found if one.repair is kind}
            done += [mending.mend(kind, one) for one in once.values()]
    return done


class _Mending:
    """Repairs of one pipeline."""

    def __init__(self, project: Project, session: Session, found: Sequence[Discrepancy]) -> None:
        self._project = project
        self._session = session
        self._store: ClipStore = project.store
        self._doubted = {one.task for one in found if one.kind.name in {"manifest differs", "manifest changed"}}
        self._told: set[str] = set()

    def mend(self, kind: Repair, one: Discrepancy) -> Repaired:
        """Do it. Whatever goes wrong is that one's."""
        try:
            return Repaired(one.row, self._mend(kind, one))
        except Exception as error:  # noqa: BLE001 - a store's own errors have no common base; the others are repaired
            text = str(error) if isinstance(error, PixverseError) else f"{type(error).__name__}: {error}"
            return Repaired(one.row, f"{kind} ({one.where})", shorten(redact_text(text), 500))

    def _mend(self, kind: Repair, one: Discrepancy) -> str:
        """Do it, and say what was done. Of a task, it is done as the task is now."""
        actions: Mapping[Repair, Callable[[], str]] = {
            Repair.ADD_PARTITION: lambda: self._add_partition(one.row),
            Repair.TAKE_IN: lambda: self._take_in(one.key),
            Repair.COLLECT: lambda: self._collect(self._task(one)),
            Repair.KEEP_DIGEST: lambda: self._keep_digest(self._task(one)),
            Repair.REPORT_TASK: lambda: self._report_task(self._task(one)),
            Repair.REPORT_CLIP: lambda: self._report(one.row),
            Repair.CHECK: lambda: self._check(self._task(one)),
        }
        return actions[kind]()

    def _add_partition(self, row: str) -> str:
        self._project.instance.add_dynamic_partitions(self._project.spec.partitions.name or "", [row])
        return "is a partition now"

    def _collect(self, task: Task) -> str:
        collected = collect(self._session, self._store, task)
        if collected.manifest is None:
            raise PixverseError(collected.problem)
        return f"manifest and posters are in {task_folder(collected.task)}"

    def _report_task(self, task: Task) -> str:
        report_task_again(self._project.instance, task)
        return "Dagster was told of the task again"

    def _task(self, one: Discrepancy) -> Task:
        (task,) = self._session.ledger.tasks.by_id([one.task])
        return task

    def _take_in(self, key: str) -> str:
        known, name, ledger = parse(key), self._session.pipeline.name, self._session.ledger
        if not isinstance(known, ClipKey):
            raise PixverseError(f"{key} is no document of a clip")
        reading = read_folder(self._store, read_names(self._store, name), known.folder, [known.kind])
        if reading.problem:
            raise PixverseError(reading.problem)
        document = reading.manifest or reading.tombstone
        row = ledger.rows.find(name, [reading.row]).get(reading.row)
        same = row if row and document and row.digest == document.request_digest else None
        moves = ledger.take_in(tasks_of(reading, same, name, ledger.id, time.time()))
        move = moves[-1]
        task = move.task if isinstance(move, Applied) else move.current
        if (task.row, task.state) not in {(reading.row, TaskState.STORED), (reading.row, TaskState.FORGOTTEN)}:
            raise PixverseError(f"the ledger knows its task as that of row {task.row!r}, which is {task.state}")
        if reading.manifest and task.state is TaskState.STORED:
            ledger.files.record(task, clip_files(reading.manifest), time.time())
            self._report(reading.row)
        return f"row {reading.row!r}: {task.state}, taken into the ledger from {known.folder}"

    def _keep_digest(self, task: Task) -> str:
        if task.id in self._doubted:
            raise PixverseError("the manifest says otherwise than the ledger: a person must look first")
        text = read_bytes(self._store, task_folder(task).manifest)
        move = self._session.ledger.describe(task, hashlib.sha256(text).hexdigest())
        if not isinstance(move, Applied):
            raise PixverseError("the task changed meanwhile: run it again")
        return "the ledger keeps the sha256 of the manifest from now on"

    def _report(self, row: str) -> str:
        if row in self._told:
            return "Dagster was told of its clips again, with the one before"
        self._told.add(row)
        tasks = self._session.ledger.tasks.find(self._session.pipeline.name, (TaskState.STORED,), [row])
        clips = [(task, self._read(task)) for task in tasks if self._session.counts(task)]
        count = report_clips_again(self._project.instance, self._session, self._store, clips)
        return f"Dagster was told of {count} clips again"

    def _read(self, task: Task) -> ClipManifest:
        return read_manifest(self._store, task_folder(task).manifest)

    def _check(self, task: Task) -> str:
        rules = self._session.options.checks
        checked = check_clip(self._store, self._read(task), task.request, rules)
        if checked.undecided or not checked.findings:
            raise PixverseError(checked.not_made or "checks are not enabled")
        event = check_event(self._project.instance, task.pipeline, task.row, checked.findings, rules)
        self._session.ledger.checks.record(task, checked.findings, time.time())
        report_check(self._project.instance, event)
        return f"checked again: {'failed' if checked.failed else 'passed'}"
