"""The submit queue: rows that somebody asked to be submitted, and that wait for their provider account."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import ANSWERS_REQUEST
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import QueuedRow
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.engine import CHUNK, one_at_a_time, reading
from pixverse_dagster.ledger.schema import rows, tasks, waiting
from pixverse_dagster.ledger.worlds import Worlds, find_worlds, made_in

_FIELDS = tuple(field.name for field in fields(QueuedRow))


class SubmitQueue:
    """Reads and writes the queue. Every method is one transaction; safe to use from many threads.

    An entry stands for a person's decision to spend: any run that has room may submit the row. A claim removes it, and
    a change of the row's request makes it void, because nobody asked to pay for the new one.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, pipeline: str, entries: Sequence[QueuedRow], next_submit_at: float) -> None:
        """Queue rows; a row that is queued for the same request already keeps its place."""
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
                    | {"reason": redact_text(entry.reason)}
                    | {"since": there.get((entry.row, entry.digest), entry.since)}
                    for entry in chunk
                ]
                connection.execute(sa.insert(waiting), values)

    def due(self, pipeline: str, now: float, worlds: Worlds | None = None) -> list[QueuedRow]:
        """Entries that no run has leased, the longest wait first; only of requests that are current."""
        return self._find(pipeline, worlds, waiting.c.next_submit_at <= now)

    def find(self, pipeline: str, worlds: Worlds | None = None) -> list[QueuedRow]:
        """All entries of current requests, the longest wait first."""
        return self._find(pipeline, worlds)

    def _find(self, pipeline: str, worlds: Worlds | None, *where: sa.ColumnElement[bool]) -> list[QueuedRow]:
        if worlds is None:
            with reading(self._engine) as connection:
                worlds = find_worlds(connection, pipeline)
        same = sa.and_(
            rows.c.pipeline == waiting.c.pipeline, rows.c.row == waiting.c.row, rows.c.digest == waiting.c.digest
        )
        # A slower process may have put a row here that another one had just claimed.
        has_task = sa.exists().where(
            tasks.c.pipeline == waiting.c.pipeline,
            tasks.c.row == waiting.c.row,
            tasks.c.digest == waiting.c.digest,
            tasks.c.state.in_(sorted(ANSWERS_REQUEST)),
            made_in(worlds),
        )
        query = sa.select(waiting).join(rows, same).where(waiting.c.pipeline == pipeline, ~has_task, *where)
        with reading(self._engine) as connection:
            found = connection.execute(query.order_by(waiting.c.since, rows.c.position))
            return [QueuedRow(*(getattr(record, name) for name in _FIELDS)) for record in found]

    def lease(self, pipeline: str, keys: Iterable[str], until: float) -> None:
        """Leave these rows to one run; after `until` they are due again."""
        self._each(sa.update(waiting).values(next_submit_at=until), pipeline, keys)

    def drop(self, pipeline: str, keys: Iterable[str]) -> None:
        """Remove rows: nobody wants them submitted any more."""
        self._each(sa.delete(waiting), pipeline, keys)

    def drop_run(self, run_id: str) -> int:
        """Remove what this run queued; returns how many."""
        with self._engine.begin() as connection:
            return connection.execute(sa.delete(waiting).where(waiting.c.run_id == run_id)).rowcount

    def _each(self, statement: sa.Update | sa.Delete, pipeline: str, keys: Iterable[str]) -> None:
        wanted = list(keys)
        if not wanted:
            return  # a tick with nothing to say takes no writer's lock
        with self._engine.begin() as connection:
            for chunk in chunked(wanted, CHUNK):
                connection.execute(statement.where(waiting.c.pipeline == pipeline, waiting.c.row.in_(chunk)))
