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
_POLL_BUDGET_SECONDS = 30.0


def deliver(shop: Workshop, store: ClipStore, batch: Sequence[Task], deadline_seconds: float) -> Iterator[Collected]:
    """Wait until each of these tasks is stored or ended, yielding each once, or until the deadline.

    Pays for nothing. Past the deadline a task is reported as not ready and stays adoptable: a later run or the poll
    sensor goes on with it.
    """
    deadline = time.monotonic() + deadline_seconds
    waiting = {task.row: task for task in batch}
    not_before: dict[str, float] = {}
    while waiting:
        found = {task.row: task for task in shop.ledger.by_id([task.id for task in waiting.values()])}
        here = [
            task for task in found.values() if task.state in _HERE and not_before.get(task.row, 0) <= time.monotonic()
        ]
        ended = [task for task in found.values() if describe_trouble(task) and not task.settling]
        if here:
            shop.ledger.lease_collect(here, shop.clock() + shop.pipeline.pace.collect_lease_seconds)
        for collected in collect_tasks(shop, store, here):
            again_at = time.monotonic() + shop.pipeline.pace.collect_wait(collected.task.collects)
            if collected.manifest is None and collected.task.state is TaskState.SUCCEEDED and again_at < deadline:
                not_before[collected.task.row] = again_at
                continue
            waiting.pop(collected.task.row, None)
            yield collected
        for task in ended:
            waiting.pop(task.row, None)
            yield Collected(task, problem=describe_trouble(task))
        if not waiting:
            return
        if time.monotonic() >= deadline:
            break
        poll_due(shop, min(_POLL_BUDGET_SECONDS, max(deadline - time.monotonic(), 0)))
        threading.Event().wait(min(shop.pipeline.pace.first_poll_seconds / 5, 1.0))
    for task in waiting.values():
        yield Collected(
            task,
            problem=f"row {task.row!r} (task {task.task_id}) is still being generated after {deadline_seconds:.0f} s. "
            "Nothing is lost: run it again to adopt the task, or leave it to the poll sensor",
        )
