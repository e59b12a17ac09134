"""All of it in one run that waits: rows are submitted, polled and collected. What a direct materialisation does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing

from pixverse_dagster.core.lifecycle import HAS_RESULT, TaskState
from pixverse_dagster.core.task import Task
from pixverse_dagster.policy.advice import describe_end
from pixverse_dagster.policy.identity import ASIDE_NOTE
from pixverse_dagster.policy.retry import may_attempt
from pixverse_dagster.stages.collect import Collected, collect_tasks
from pixverse_dagster.stages.poll import poll_due
from pixverse_dagster.stages.resolve import resolve_rows
from pixverse_dagster.stages.retries import find_retries
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submission import Submission
from pixverse_dagster.stages.waiting import Workers, call_aside, check_stopped
from pixverse_dagster.storage.base import ClipStore

_POLL_SECONDS = 15.0
Submit = Callable[[Sequence[str]], Generator[Submission]]


class GenerateRun:
    """Submits rows and waits until each is stored or ended.

    What is finished early is stored early, before its link expires, also while others are still being submitted or
    wait for their turn. `problems` says, by row, why it has no clip in the end; `skipped`, why there
    was nothing to make of it any more.
    """

    def __init__(self, session: Session, store: ClipStore, submit: Submit) -> None:
        self._session = session
        self._store = store
        self._submit = submit
        # By id: a row may be renamed while its task is waited for.
        self._tasks: dict[str, Task] = {}
        self._waits: dict[str, str] = {}
        self._workers = Workers(1)
        self._replays = self._workers.submit(list[Task])
        self._not_before: dict[str, float] = {}
        self._pause_seconds = min(session.options.pace.first_poll_seconds / 5, 1.0)
        self._next_look = 0.0
        self._next_turn = 0.0
        self.problems: dict[str, str] = {}
        self.skipped: dict[str, str] = {}

    def run(self, keys: Sequence[str], deadline_seconds: float) -> Generator[Collected]:
        """Yields the rows that are stored, and those whose task ended, as it happens.

        After the deadline, what is not there yet is a problem, and stays adoptable. Raises RunStopped if the run is
        cancelled, within seconds, whatever it waits for.
        """
        try:
            yield from self._run(keys, deadline_seconds)
        finally:
            self._workers.leave()

    def _run(self, keys: Sequence[str], deadline_seconds: float) -> Iterator[Collected]:
        deadline = time.monotonic() + deadline_seconds
        yield from self._submit_rows(keys)
        check_stopped(self._session.stopped)
        while True:
            yield from self._look()
            if not (self._tasks or self._waits) or time.monotonic() >= deadline:
                break
            if self._waits and time.monotonic() >= self._next_turn:
                yield from self._submit_rows(list(self._waits))
            check_stopped(self._session.stopped)
            threading.Event().wait(self._pause_seconds)
        self._report_rest(deadline_seconds)

    def _submit_rows(self, keys: Sequence[str]) -> Iterator[Collected]:
        with closing(self._submit(keys)) as submissions:
            for submission in submissions:
                task = submission.task
                self._waits.pop(submission.row, None)
                if submission.skipped:
                    self.skipped[submission.row] = submission.skipped
                elif submission.waits:
                    self._waits[submission.row] = submission.waits
                # An open submit is waited for like any other task; a run that only submits would report it.
                elif task and (task.resolves_itself or not submission.problem):
                    self._tasks[task.id] = task
                else:
                    self.problems[submission.row] = submission.problem
                yield from self._look()
        pace = self._session.options.pace
        self._next_turn = time.monotonic() + pace.first_poll_seconds
        if self._waits:
            # Who waits here is submitted here, for as long as this run lives.
            until = self._session.clock() + pace.collect_lease_seconds
            self._session.ledger.queue.lease(self._session.pipeline.name, self._waits, until)

    def _look(self) -> Iterator[Collected]:
        """One look, unless the last was just now: store what is here, report what has ended, ask about what is due."""
        if time.monotonic() < self._next_look:
            return
        found = self._session.ledger.tasks.by_id(self._tasks)
        yield from self._store_what_is_here([task for task in found if task.state in HAS_RESULT])
        for task in found:
            if (trouble := describe_end(task, self._session.commands)) and not task.resolves_itself:
                del self._tasks[task.id]
                if may_attempt(self._session.ledger.tasks.claims(task), find_retries(self._session)):
                    self._waits[task.row] = trouble
                else:
                    self.problems[task.row] = trouble
                yield Collected(task, problem=trouble)
        if self._tasks:
            report = call_aside(lambda: poll_due(self._session, _POLL_SECONDS), self._session.stopped)
            self._replay([task.row for task in report.replayable])
        self._next_look = time.monotonic() + self._pause_seconds

    def _replay(self, rows: Sequence[str]) -> None:
        """A run may send again what a tick may not: beside the rest, for a host that hangs holds up no other clip.

        Nobody has to wait for it in the end: such a submit is of unknown outcome all the while.
        """
        if self._replays.done():
            self._replays.result()
            if rows:
                self._replays = self._workers.submit(lambda: list(resolve_rows(self._session, rows)))

    def _store_what_is_here(self, here: Sequence[Task]) -> Iterator[Collected]:
        due = [task for task in here if self._not_before.get(task.id, 0) <= time.monotonic()]
        for collected in collect_tasks(self._session, self._store, due):
            task = collected.task
            if collected.manifest is None and task.state is TaskState.SUCCEEDED:
                wait = self._session.options.pace.collect_wait(task.collects)
                self._not_before[task.id] = time.monotonic() + wait
                continue
            self._tasks.pop(task.id, None)
            if collected.manifest is None:
                self.problems[task.row] = collected.problem
            yield collected

    def _report_rest(self, deadline_seconds: float) -> None:
        for task in self._session.ledger.tasks.by_id(self._tasks):
            tells = task.note and (task.state is TaskState.SUCCEEDED or task.note == ASIDE_NOTE)
            what = task.note if tells else "is still being generated"
            self.problems[task.row] = (
                f"row {task.row!r} (task {task.task_id}) after {deadline_seconds:.0f} s: {what}. "
                "Nothing is lost: run it again to adopt the task, or leave it to the poll sensor"
            )
        for row, why in self._waits.items():
            self.problems[row] = (
                f"row {row!r} after {deadline_seconds:.0f} s: {why}. Nothing was sent; it keeps its place, and the "
                "sensor submits it when its turn comes"
            )
