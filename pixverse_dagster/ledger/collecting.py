"""Who has succeeded tasks to itself, to collect them: for many at once."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.engine import CHUNK
from pixverse_dagster.ledger.schema import tasks


class Collecting:
    """Writes the times of the next collects. Every method is safe to use from many threads, and changes no state."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def lease(self, batch: Sequence[Task], until: float) -> None:
        """Leave these succeeded tasks to one collector; after `until` they are ready for another one."""
        with self._engine.begin() as connection:
            for chunk in chunked([task.id for task in batch], CHUNK):
                query = sa.update(tasks).where(tasks.c.id.in_(chunk), tasks.c.state == TaskState.SUCCEEDED)
                connection.execute(query.values(next_collect_at=until))

    def extend(self, pipeline: str, rows: Sequence[str], until: float) -> None:
        """Leave the succeeded tasks of these rows to one collector for longer; never for less than they are already."""
        same = (tasks.c.pipeline == pipeline, tasks.c.state == TaskState.SUCCEEDED, tasks.c.next_collect_at < until)
        with self._engine.begin() as connection:
            for chunk in chunked(rows, CHUNK):
                query = sa.update(tasks).where(*same, tasks.c.row.in_(chunk))
                connection.execute(query.values(next_collect_at=until))
