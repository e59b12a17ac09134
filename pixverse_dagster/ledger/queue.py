"""The submit queue: rows that somebody asked to be submitted, and that wait for their provider account."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import ANSWERS_REQUEST, TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.row import retake
from pixverse_dagster.core.task import Place, QueuedRow
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.clocks import is_over
from pixverse_dagster.ledger.codec import writable
from pixverse_dagster.ledger.engine import CHUNK, one_at_a_time, reading
from pixverse_dagster.ledger.rows import find_rows, set_take, withdraw_requests
from pixverse_dagster.ledger.schema import rows, tasks, waiting, withdrawals
from pixverse_dagster.ledger.worlds import Worlds, find_worlds, made_in
from pixverse_dagster.policy.timing import MAX_PLACE_SECONDS

_FIELDS = tuple(field.name for field in fields(QueuedRow))


class SubmitQueue:
    """Reads and writes the queue. Every method is one transaction; safe to use from many threads.

    An entry stands for a person's decision to spend: any run that has room may submit the row. A claim removes it, a
    refusal that says nothing final of the request puts it back, and a change of the row's request makes it void,
    because nobody asked to pay for the new one.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, pipeline: str, entries: Sequence[QueuedRow], next_submit_at: float) -> None:
        """Queue rows; a row that is queued for the same request already keeps its place. Undoes a withdrawal."""
        if not entries:
            return
        with self._engine.begin() as connection:
            one_at_a_time(connection)
            add_places(connection, pipeline, entries, next_submit_at)

    def add_retakes(
        self, pipeline: str, entries: Sequence[QueuedRow], asked_of: Mapping[str, str], next_submit_at: float
    ) -> list[str]:
        """Rows get the next take and a place in the queue together, if they ask for what they did when it was planned.

        `asked_of` is the digest that each row had then, and its entry has that of the next take. A row that asks for
        something else is left as it is: somebody else was faster, or its words changed. Returns the rows that were
        asked for: the same again asks for nothing.
        """
        with self._engine.begin() as connection:
            one_at_a_time(connection)
            wanted = {entry.row: entry for entry in entries}
            asked: list[QueuedRow] = []
            for row in find_rows(connection, pipeline, list(wanted)):
                further = retake(row, row.take + 1)
                if (row.digest, further.digest) == (asked_of[row.id], wanted[row.id].digest):
                    set_take(connection, pipeline, further)
                    asked.append(wanted[row.id])
            add_places(connection, pipeline, asked, next_submit_at)
            return [entry.row for entry in asked]

    def ask(
        self,
        pipeline: str,
        entries: Sequence[QueuedRow],
        until: float,
        worlds: Worlds | None = None,
        again: Collection[str] = (),
    ) -> dict[str, QueuedRow]:
        """Ask for rows on behalf of the run that their entries name, which has them to itself until `until`.

        Returns the places by row: a row that is queued for the same request keeps its own, and what is known of it.
        Left out is a row that asks for something else now, or that needs no submit. Asking undoes a withdrawal, except
        for the rows in `again`: this run asked for them before, and those that were withdrawn since are left out too.
        """
        found: dict[str, QueuedRow] = {}
        with self._engine.begin() as connection:
            one_at_a_time(connection)
            worlds = find_worlds(connection, pipeline) if worlds is None else worlds
            for chunk in chunked(entries, CHUNK):
                found |= _ask(connection, pipeline, chunk, until, worlds, frozenset(again))
        return found

    def put_off(self, pipeline: str, places: Sequence[Place]) -> None:
        """Rows stay in the queue, with what they wait for; one that was claimed or withdrawn since is not put back."""
        names = ("run_id", "reason", "since", "refusals", "answer", "trouble")
        new: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in names}
        new["next_submit_at"] = sa.bindparam("new_at")
        same = (waiting.c.row == sa.bindparam("of_row"), waiting.c.digest == sa.bindparam("of_digest"))
        values = [
            {f"new_{name}": _plain(name, getattr(place.entry, name)) for name in names}
            | {"new_at": place.next_submit_at, "of_row": place.entry.row, "of_digest": place.entry.digest}
            for place in places
        ]
        for chunk in chunked(values, CHUNK):
            with self._engine.begin() as connection:
                connection.execute(sa.update(waiting).where(waiting.c.pipeline == pipeline, *same).values(new), chunk)

    def renew(self, pipeline: str, keys: Iterable[str], run_id: str, until: float) -> None:
        """Take the lease of rows again; of those that this run still has."""
        mine = sa.update(waiting).where(waiting.c.run_id == run_id)
        self._each(mine.values(next_submit_at=until), pipeline, keys)

    def leave(self, pipeline: str, keys: Iterable[str], run_id: str) -> None:
        """Remove rows of this run from the queue: there is nothing to submit, or it would only be refused again.

        Another run that asked for a row meanwhile has it now, and it stays.
        """
        self._each(sa.delete(waiting).where(waiting.c.run_id == run_id), pipeline, keys)

    def due(
        self, pipeline: str, now: float, worlds: Worlds | None = None, longest_seconds: float = MAX_PLACE_SECONDS
    ) -> list[QueuedRow]:
        """Entries that no run has leased, the longest wait first; only of requests that are current.

        One that would wait for longer than `longest_seconds` does not: a wrong clock set its time.
        """
        return self._find(pipeline, worlds, is_over(waiting.c.next_submit_at, now, longest_seconds))

    def find(self, pipeline: str, worlds: Worlds | None = None) -> list[QueuedRow]:
        """All entries of current requests, the longest wait first."""
        return self._find(pipeline, worlds)

    def count(self, pipeline: str) -> tuple[int, str]:
        """How many rows wait, due or not, and what the first of them waits for: cheap, however many these are."""
        mine = waiting.c.pipeline == pipeline
        with reading(self._engine) as connection:
            count = connection.execute(sa.select(sa.func.count()).select_from(waiting).where(mine)).scalar() or 0
            query = sa.select(waiting.c.reason).where(mine).order_by(waiting.c.since).limit(1)
            return count, (connection.execute(query).scalar() or "") if count else ""

    def runs(self, pipeline: str, reason: str, now: float) -> list[str]:
        """The runs whose lease of rows with this reason is over."""
        over = (waiting.c.pipeline == pipeline, waiting.c.reason == reason, waiting.c.next_submit_at <= now)
        with reading(self._engine) as connection:
            return list(connection.execute(sa.select(waiting.c.run_id).where(*over).distinct()).scalars())

    def counts(self, pipeline: str) -> dict[str, int]:
        """How many rows wait, by provider."""
        query = sa.select(waiting.c.provider, sa.func.count()).where(waiting.c.pipeline == pipeline)
        with reading(self._engine) as connection:
            return {record[0]: record[1] for record in connection.execute(query.group_by(waiting.c.provider))}

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

    def extend(self, pipeline: str, keys: Iterable[str], until: float) -> None:
        """Leave these rows to one run for longer; never for less than they are already."""
        self._each(
            sa.update(waiting).where(waiting.c.next_submit_at < until).values(next_submit_at=until), pipeline, keys
        )

    def drop(self, pipeline: str, keys: Iterable[str]) -> None:
        """Remove rows: nobody wants them submitted any more."""
        self._each(sa.delete(waiting), pipeline, keys)

    def drop_run(self, run_id: str, now: float) -> int:
        """Remove what this run queued; returns how many. No retry policy asks for it again: a person stopped it."""
        failed = sa.exists().where(
            *(tasks.c[name] == waiting.c[name] for name in ("pipeline", "row", "digest")),
            tasks.c.state == TaskState.FAILED,
        )
        query = sa.select(waiting.c.pipeline, waiting.c.row, waiting.c.digest).where(waiting.c.run_id == run_id, failed)
        with self._engine.begin() as connection:
            for pipeline, row, digest in connection.execute(query).all():
                withdraw_requests(connection, pipeline, {row: digest}, now)
            return connection.execute(sa.delete(waiting).where(waiting.c.run_id == run_id)).rowcount

    def _each(self, statement: sa.Update | sa.Delete, pipeline: str, keys: Iterable[str]) -> None:
        wanted = list(keys)
        if not wanted:
            return  # a tick with nothing to say takes no writer's lock
        with self._engine.begin() as connection:
            for chunk in chunked(wanted, CHUNK):
                connection.execute(statement.where(waiting.c.pipeline == pipeline, waiting.c.row.in_(chunk)))


def add_places(connection: sa.Connection, pipeline: str, entries: Sequence[QueuedRow], next_submit_at: float) -> None:
    """Queue rows, as `SubmitQueue.add` does, in a transaction that no other such one is in."""
    query = sa.select(waiting.c.row, waiting.c.digest, waiting.c.since).where(waiting.c.pipeline == pipeline)
    there = {(r.row, r.digest): r.since for r in connection.execute(query)}
    for chunk in chunked(entries, CHUNK):
        keys = [entry.row for entry in chunk]
        same = (waiting.c.pipeline == pipeline, waiting.c.row.in_(keys))
        connection.execute(sa.delete(waiting).where(*same))
        undone = (withdrawals.c.pipeline == pipeline, withdrawals.c.row.in_(keys))
        connection.execute(sa.delete(withdrawals).where(*undone))
        values = [
            _values(pipeline, entry, next_submit_at) | {"since": there.get((entry.row, entry.digest), entry.since)}
            for entry in chunk
        ]
        connection.execute(sa.insert(waiting), values)


def keep_place(connection: sa.Connection, pipeline: str, place: Place) -> None:
    """Put a row back in the queue whose claim was given back; not if it changed, left or was withdrawn meanwhile.

    IntegrityError if another transaction queued it at the same moment: to be made again.
    """
    entry = place.entry
    current = sa.select(rows.c.digest).where(rows.c.pipeline == pipeline, rows.c.row == entry.row)
    if connection.execute(current).scalar() != entry.digest:
        return
    if (entry.row, entry.digest) in _pairs(connection, withdrawals, pipeline, [entry.row]):
        return
    same = (waiting.c.pipeline == pipeline, waiting.c.row == entry.row)
    connection.execute(sa.delete(waiting).where(*same))
    connection.execute(sa.insert(waiting).values(_values(pipeline, entry, place.next_submit_at)))


def _ask(
    connection: sa.Connection,
    pipeline: str,
    entries: Sequence[QueuedRow],
    until: float,
    worlds: Worlds,
    again: frozenset[str],
) -> dict[str, QueuedRow]:
    keys = [entry.row for entry in entries]
    query = sa.select(waiting).where(waiting.c.pipeline == pipeline, waiting.c.row.in_(keys))
    there = {(r.row, r.digest): QueuedRow(*(getattr(r, name) for name in _FIELDS)) for r in connection.execute(query)}
    current = _pairs(connection, rows, pipeline, keys)
    answered = _pairs(connection, tasks, pipeline, keys, tasks.c.state.in_(sorted(ANSWERS_REQUEST)), made_in(worlds))
    withdrawn = _pairs(connection, withdrawals, pipeline, [key for key in keys if key in again])
    left_out = answered | withdrawn
    asked: dict[str, QueuedRow] = {}
    for entry in entries:
        of = entry.row, entry.digest
        if of in current and of not in left_out:
            mine = {"run_id": entry.run_id, "provider": entry.provider}
            asked[entry.row] = replace(there[of], **mine) if of in there else entry
    if asked:
        same = (waiting.c.pipeline == pipeline, waiting.c.row.in_(list(asked)))
        connection.execute(sa.delete(waiting).where(*same))
        connection.execute(sa.insert(waiting), [_values(pipeline, entry, until) for entry in asked.values()])
    fresh = [key for key in asked if key not in again]
    undone = (withdrawals.c.pipeline == pipeline, withdrawals.c.row.in_(fresh))
    connection.execute(sa.delete(withdrawals).where(*undone))
    return asked


def _pairs(
    connection: sa.Connection, table: sa.Table, pipeline: str, keys: Sequence[str], *where: sa.ColumnElement[bool]
) -> set[tuple[str, str]]:
    """The rows of a table that are of these keys, each with its digest."""
    same = (table.c.pipeline == pipeline, table.c.row.in_(keys))
    return {(r.row, r.digest) for r in connection.execute(sa.select(table.c.row, table.c.digest).where(*same, *where))}


def _values(pipeline: str, entry: QueuedRow, next_submit_at: float) -> dict[str, Any]:
    """An entry as the columns have it."""
    values = {name: _plain(name, value) for name, value in asdict(entry).items()}
    return values | {"pipeline": pipeline, "next_submit_at": next_submit_at}


def _plain(name: str, value: Any) -> Any:
    return writable(redact_text(value)) if name in {"reason", "answer", "trouble"} else value
