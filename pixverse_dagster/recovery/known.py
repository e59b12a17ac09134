"""The tasks of a pipeline as the ledger has them, and as it will: a dry run changes this view alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import ClipManifest
from pixverse_dagster.core.task import Move, MoveRefused, Task, latest
from pixverse_dagster.core.values import iso
from pixverse_dagster.ledger.files import clip_files
from pixverse_dagster.stages.looks import KnownRow, join_known
from pixverse_dagster.stages.session import Session

_NOT_PENDING = "no such task was pending when its ledger was lost, as a person found"


class KnownTasks:
    """The tasks of a pipeline, by what makes two of them the same. With `dry_run`, the ledger is only read."""

    def __init__(self, session: Session, *, dry_run: bool) -> None:
        self._session = session
        self._dry_run = dry_run
        self._tasks: dict[str, Task] = {}
        self._rows: dict[str, set[str]] = {}
        self._references: dict[tuple[str, str, str], str] = {}
        self._ids: dict[tuple[str, str | None], str] = {}
        for task in session.ledger.tasks.find(session.pipeline.name):
            self._put(task)

    def all(self) -> list[Task]:
        """Every task, the oldest first."""
        return sorted(self._tasks.values(), key=lambda task: task.claimed_at)

    def of_row(self, row: str) -> list[Task]:
        """The tasks of a row, the newest first."""
        found = (self._tasks[one] for one in self._rows.get(row, ()))
        return sorted(found, key=lambda task: task.claimed_at, reverse=True)

    def rows(self, keys: Sequence[str]) -> Mapping[str, KnownRow]:
        """These rows as they were last read, and as they were paid for, which this ledger need not have read."""
        tasks = [task for key in keys for task in reversed(self.of_row(key)) if self._session.counts(task)]
        return join_known(self._session.ledger.rows.find(self._session.pipeline.name, keys), tasks)

    def find(self, task: Task) -> Task | None:
        """The task that this one is, if the ledger knows it; also one of another pipeline."""
        found = self._references.get(_reference(task)) or self._ids.get((task.account, task.task_id))
        if found:
            return self._tasks[found]
        return self._session.ledger.tasks.with_task_id(task.account, task.task_id) if task.task_id else None

    def restore(self, task: Task) -> Task:
        """Take a task in; returns it as it is then, or as it was there already."""
        return self._put(task if self._dry_run else latest(self._session.ledger.restore(task)))

    def complete(self, there: Task, found: Task) -> Task | MoveRefused:
        """A task of the ledger is stored, as the store shows."""
        if self._dry_run:
            return self._put(replace(found, id=there.id, claim=there.claim, attempt=there.attempt or found.attempt))
        move: Move = self._session.ledger.find(there, found)
        return move if isinstance(move, MoveRefused) else self._put(move.task)

    def record_files(self, task: Task, manifest: ClipManifest) -> None:
        """Put the files of a stored task on record, so that its manifest and posters can be made again from them."""
        if not self._dry_run and task.state is TaskState.STORED:
            files = self._session.ledger.files
            files.record(task, clip_files(manifest), self._session.clock())

    def free(self, task: Task, now: float) -> Task:
        """A person looked, and the task was never submitted: its row may be paid for."""
        if self._dry_run:
            return self._put(replace(task, state=TaskState.REFUSED, next_poll_at=None))
        waits = latest(self._session.ledger.mark_unknown(task, task.reason or "", None))
        decision = f"{iso(now)}: ledger rebuild --nothing-pending"
        return self._put(latest(self._session.ledger.set_not_accepted(waits, _NOT_PENDING, now, decision)))

    def _put(self, task: Task) -> Task:
        self._tasks[task.id] = task
        self._rows.setdefault(task.row, set()).add(task.id)
        self._references[_reference(task)] = task.id
        if task.task_id:
            self._ids[task.account, task.task_id] = task.id
        return task


def _reference(task: Task) -> tuple[str, str, str]:
    return task.row, task.digest, task.client_reference
