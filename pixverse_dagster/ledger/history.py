"""What happened to tasks, in order: written with every transition, never changed."""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import Event
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.text import shorten
from pixverse_dagster.ledger.codec import writable
from pixverse_dagster.ledger.engine import reading
from pixverse_dagster.ledger.schema import counters, history

HISTORY = "history"
RENAME = "rename"
"""What happened where a row or a pipeline got another name: about no task alone."""
_MAX_DETAIL = 1000
_SILENT = frozenset({Event.KEEP_POLLING, Event.RETRY_COLLECT, Event.RENEW})
"""Repeated as often as the clock ticks, and about nothing that happened."""

_COUNT = (
    sa.update(counters).where(counters.c.name == HISTORY).values(value=counters.c.value + 1).returning(counters.c.value)
)
_WRITE = sa.insert(history)


@dataclass(frozen=True)
class HistoryEntry:
    """One thing that happened to a task. Positions count from 1 without a gap; `at` is in seconds since the epoch."""

    position: int
    at: float
    pipeline: str
    row: str
    task: str
    event: str
    state: str
    detail: str


class History:
    """Reads the history of a ledger. Safe to use from many threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def after(self, position: int, limit: int, pipeline: str | None = None) -> list[HistoryEntry]:
        """The entries after a position, in order. Nothing is ever added before an entry that was read."""
        query = sa.select(history).where(history.c.position > position).order_by(history.c.position).limit(limit)
        return self._read(query if pipeline is None else query.where(history.c.pipeline == pipeline))

    def of_row(self, pipeline: str, row: str) -> list[HistoryEntry]:
        """All that happened to a row's tasks, in order."""
        query = sa.select(history).where(history.c.pipeline == pipeline, history.c.row == row)
        return self._read(query.order_by(history.c.position))

    def _read(self, query: sa.Select[tuple[object, ...]]) -> list[HistoryEntry]:
        with reading(self._engine) as connection:
            return [HistoryEntry(*record) for record in connection.execute(query)]


def remember(connection: sa.Connection, event: Event, task: Task, before: Task | None = None) -> int | None:
    """Write an entry; as the last step of a transaction, because all writers wait for the counter's row.

    Returns its position; None of what is not kept.
    """
    if event in _SILENT or (event is Event.SUCCEED and before is not None and before.state is task.state):
        return None
    position = connection.execute(_COUNT).scalar_one()
    detail = task.decision if task.decision and (before is None or before.decision != task.decision) else task.reason
    entry = {"position": position, "at": time.time(), "pipeline": task.pipeline, "row": task.row, "task": task.id}
    what = {"event": event, "state": task.state, "detail": shorten(writable(detail or task.task_id or ""), _MAX_DETAIL)}
    connection.execute(_WRITE, entry | what)
    return int(position)


def note_renaming(connection: sa.Connection, pipeline: str, row: str, detail: str) -> None:
    """Write that a row, or a pipeline, has this name from now on; as the last step of a transaction."""
    position = connection.execute(_COUNT).scalar_one()
    entry = {"position": position, "at": time.time(), "pipeline": pipeline, "row": row, "task": ""}
    connection.execute(_WRITE, entry | {"event": RENAME, "state": "", "detail": writable(detail)[:_MAX_DETAIL]})
