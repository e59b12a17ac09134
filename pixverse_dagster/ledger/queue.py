"""The waiting list: rows that somebody asked to be submitted, and that had to wait for their provider account."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import ANSWERS_REQUEST
from pixverse_dagster.core.task import QueuedRow
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.engine import CHUNK, one_at_a_time, reading
from pixverse_dagster.ledger.schema import rows, tasks, waiting


class SubmitQueue:
    """Reads and writes the waiting list. Every method is one transaction.

    Being on the list is a person's decision to spend, remembered: whoever has room may submit the row. A claim takes
    it off, and so does a change of the row's request, which nobody asked to pay for.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, pipeline: str, entries: Sequence[QueuedRow], next_submit_at: float) -> None:
        """Put rows on the list; a row that is there for the same request keeps its place."""
        if not entries:
            return
        with self._engine.begin() as connection:
            one_at_a_time(connection)
            query = sa.select(waiting.c.row, waiting.c.digest, waiting.c.since).where(waiting.c.pipeline == pipeline)
            there = {(r.row, r.digest): r.since for r in connection.execute(query)}
            for chunk in chunked(entries, CHUNK):
                keys = [entry.row for entry in chunk]
                same = (waiting.c.pipeline == pipeline, waiting.c.row.in_(keys))
                connection.execute(sa.delete(waiting).where(*same))
                values = [
                    asdict(entry)
                    | {"pipeline": pipeline, "next_submit_at": next_submit_at}
                    | {"since": there.get((entry.row, entry.digest), entry.since)}
                    for entry in chunk
                ]
                connection.execute(sa.insert(waiting), values)

    def due(self, pipeline: str, now: float) -> list[QueuedRow]:
        """Who waits and is offered to no run, those of the longest wait first; of rows as they now are in the table."""
        return self._find(pipeline, waiting.c.next_submit_at <= now)

    def find(self, pipeline: str) -> list[QueuedRow]:
        """Everybody who waits, the longest first."""
        return self._find(pipeline)

    def _find(self, pipeline: str, *where: sa.ColumnElement[bool]) -> list[QueuedRow]:
        same = sa.and_(
            rows.c.pipeline == waiting.c.pipeline, rows.c.row == waiting.c.row, rows.c.digest == waiting.c.digest
        )
        # A slower process may have put a row here that another one had just claimed.
        has_task = sa.exists().where(
            tasks.c.pipeline == waiting.c.pipeline,
            tasks.c.row == waiting.c.row,
            tasks.c.digest == waiting.c.digest,
            tasks.c.state.in_(sorted(ANSWERS_REQUEST)),
        )
        query = sa.select(waiting).join(rows, same).where(waiting.c.pipeline == pipeline, ~has_task, *where)
        with reading(self._engine) as connection:
            found = connection.execute(query.order_by(waiting.c.since, rows.c.position))
            return [QueuedRow(r.row, r.digest, r.account, r.run_id, r.reason, r.since) for r in found]

    def lease(self, pipeline: str, keys: Iterable[str], until: float) -> None:
        """Leave these rows to the run that was just asked for; after `until` they are offered again."""
        self._each(sa.update(waiting).values(next_submit_at=until), pipeline, keys)

    def drop(self, pipeline: str, keys: Iterable[str]) -> None:
        """Take rows off the list: nobody wants them submitted any more."""
        self._each(sa.delete(waiting), pipeline, keys)

    def drop_run(self, run_id: str) -> int:
        """Take off what this run put there; returns how many."""
        with self._engine.begin() as connection:
            return connection.execute(sa.delete(waiting).where(waiting.c.run_id == run_id)).rowcount

    def _each(self, statement: sa.Update | sa.Delete, pipeline: str, keys: Iterable[str]) -> None:
        wanted = list(keys)
        if not wanted:
            return  # a tick with nothing to say takes no writer's lock
        with self._engine.begin() as connection:
            for chunk in chunked(wanted, CHUNK):
                connection.execute(statement.where(waiting.c.pipeline == pipeline, waiting.c.row.in_(chunk)))
