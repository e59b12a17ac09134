"""Waiting for clips in person: what a direct materialisation does, where the sensor would otherwise come by."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

from pixverse_dagster.clip import TaskState
from pixverse_dagster.collection import Collected, collect_tasks
from pixverse_dagster.ledger import Task
from pixverse_dagster.pipeline import Workshop
from pixverse_dagster.polling import poll_due
from pixverse_dagster.settlement import describe_trouble
from pixverse_dagster.storage.base import ClipStore

_HERE = {TaskState.SUCCEEDED, TaskState.STORED}
_POLL_BUDGET_SECONDS = 15.0


class Delivery:
    """Waits for tasks until each is stored or ended, and yields each once. Pays for nothing.

    Tasks may be added while others are still being submitted: what is finished early is stored early, before its link
    expires.
    """

    def __init__(self, shop: Workshop, store: ClipStore) -> None:
        self._shop = shop
        self._store = store
        self._waiting: dict[str, Task] = {}
        self._not_before: dict[str, float] = {}
        self._pause_seconds = min(shop.pipeline.pace.first_poll_seconds / 5, 1.0)
        self._next_look = 0.0

    def add(self, task: Task) -> None:
        """Wait for this task as well."""
        self._waiting[task.row] = task

    def look(self) -> Iterator[Collected]:
        """One look, unless the last was just now: store what is here, report what has ended, ask about what is due."""
        if time.monotonic() < self._next_look:
            return
        found = self._shop.ledger.by_id([task.id for task in self._waiting.values()])
        yield from self._store_what_is_here([task for task in found if task.state in _HERE])
        for task in found:
            if describe_trouble(task) and not task.settling:
                del self._waiting[task.row]
                yield Collected(task, problem=describe_trouble(task))
        if self._waiting:
            poll_due(self._shop, _POLL_BUDGET_SECONDS)
        self._next_look = time.monotonic() + self._pause_seconds

    def finish(self, deadline_seconds: float) -> Iterator[Collected]:
        """Look until nothing is waited for, or until the deadline: then the rest is reported, and stays adoptable."""
        deadline = time.monotonic() + deadline_seconds
        while True:
            yield from self.look()
            if not self._waiting or time.monotonic() >= deadline:
                break
            threading.Event().wait(self._pause_seconds)
        for task in self._shop.ledger.by_id([task.id for task in self._waiting.values()]):
            what = task.note if task.state is TaskState.SUCCEEDED and task.note else "is still being generated"
            yield Collected(
                task,
                problem=f"row {task.row!r} (task {task.task_id}) after {deadline_seconds:.0f} s: {what}. "
                "Nothing is lost: run it again to adopt the task, or leave it to the poll sensor",
            )

    def _store_what_is_here(self, here: Sequence[Task]) -> Iterator[Collected]:
        due = [task for task in here if self._not_before.get(task.row, 0) <= time.monotonic()]
        for collected in collect_tasks(self._shop, self._store, due):
            row = collected.task.row
            if collected.manifest is None and collected.task.state is TaskState.SUCCEEDED:
                wait = self._shop.pipeline.pace.collect_wait(collected.task.collects)
                self._not_before[row] = time.monotonic() + wait
                continue
            del self._waiting[row]
            yield collected
