"""Rows of prompt tables in the ledger: what a reading found, and the takes that people asked for."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.row import Problem, Row, changed_columns, retake
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.codec import read_row, row_values
from pixverse_dagster.ledger.engine import CHUNK, one_at_a_time, reading, select_chunked
from pixverse_dagster.ledger.schema import rows, snapshots, takes, tasks, waiting, withdrawals
from pixverse_dagster.ledger.worlds import Worlds, find_worlds, made_in

MAX_PROBLEMS_KEPT = 1000
MAX_SNAPSHOTS_KEPT = 20
_TICK_SECONDS = 0.001


@dataclass(frozen=True)
class SnapshotChange:
    """What a reading of the table changed. Row ids; of a changed row, the columns that changed."""

    new: tuple[str, ...]
    changed: Mapping[str, tuple[str, ...]]
    unchanged: int
    removed: tuple[str, ...]


class Rows:
    """Reads and writes the rows of a ledger. Every method is one transaction; safe to use from many threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def record(
        self, pipeline: str, table: Sequence[Row], problems: Sequence[Problem], run_id: str, now: float
    ) -> SnapshotChange:
        """Make this table the pipeline's current rows. Atomic; recording the same table again changes nothing.

        Who waits for a request that the row does not have any more waits no longer: nobody asked to pay for another. Of
        a take that a person asked for, a row keeps its place if only its images were read anew.
        """
        with self._engine.begin() as connection:
            one_at_a_time(connection)
            query = sa.select(rows.c.row, rows.c.digest).where(rows.c.pipeline == pipeline)
            before: dict[str, str] = {record.row: record.digest for record in connection.execute(query)}
            changed = [row.id for row in table if before.get(row.id, row.digest) != row.digest]
            old = {row.id: row for row in find_rows(connection, pipeline, changed)}
            connection.execute(sa.delete(rows).where(rows.c.pipeline == pipeline))
            for chunk in chunked(enumerate(table), CHUNK):
                connection.execute(sa.insert(rows), [row_values(pipeline, position, row) for position, row in chunk])
            _move_places(connection, pipeline, [(old[row.id], row) for row in table if row.id in old])
            _record_snapshot(connection, pipeline, table, problems, run_id, now)
        after = {row.id: row.digest for row in table}
        return SnapshotChange(
            new=tuple(row for row in after if row not in before),
            changed={row.id: changed_columns(old[row.id], row) for row in table if row.id in old},
            unchanged=sum(before.get(row) == digest for row, digest in after.items()),
            removed=tuple(row for row in before if row not in after),
        )

    def find(self, pipeline: str, keys: Iterable[str] | None = None) -> dict[str, Row]:
        """The pipeline's current rows, or those of them with these ids, in table order."""
        query = sa.select(rows).where(rows.c.pipeline == pipeline).order_by(rows.c.position)
        found = [read_row(record) for record in select_chunked(self._engine, query, rows.c.row, keys)]
        return {row.id: row for row in found}

    def ids(self, pipeline: str) -> list[str]:
        """The ids of the pipeline's current rows, in table order."""
        query = sa.select(rows.c.row).where(rows.c.pipeline == pipeline).order_by(rows.c.position)
        with reading(self._engine) as connection:
            return list(connection.execute(query).scalars())

    def unsubmitted(self, pipeline: str, limit: int, worlds: Worlds | None = None) -> list[str]:
        """Current rows, in table order, whose request was never claimed or withdrawn, and that do not wait.

        What was claimed in another world does not count: as given, or else as the ledger remembers it.
        """
        return list(self.page_unsubmitted(pipeline, -1, limit, worlds))

    def page_unsubmitted(
        self, pipeline: str, after: int, limit: int, worlds: Worlds | None = None, without: Collection[str] = ()
    ) -> dict[str, int]:
        """The same behind a position of the table, and not of the providers in `without`; each with its position."""
        if worlds is None:
            with reading(self._engine) as connection:
                worlds = find_worlds(connection, pipeline)
        attempted = sa.exists().where(
            tasks.c.pipeline == rows.c.pipeline,
            tasks.c.row == rows.c.row,
            tasks.c.digest == rows.c.digest,
            made_in(worlds),
        )
        waits = sa.exists().where(waiting.c.pipeline == rows.c.pipeline, waiting.c.row == rows.c.row)
        withdrawn = sa.exists().where(
            withdrawals.c.pipeline == rows.c.pipeline,
            withdrawals.c.row == rows.c.row,
            withdrawals.c.digest == rows.c.digest,
        )
        of_others = [~rows.c.model.startswith(f"{provider}/", autoescape=True) for provider in sorted(without)]
        query = sa.select(rows.c.row, rows.c.position).where(rows.c.pipeline == pipeline, rows.c.position > after)
        query = query.where(~attempted, ~waits, ~withdrawn, *of_others)
        with reading(self._engine) as connection:
            found = connection.execute(query.order_by(rows.c.position).limit(limit))
            return {record.row: record.position for record in found}

    def takes(self, pipeline: str) -> dict[str, int]:
        """The takes that a person asked for, by row; a table's own higher take counts before them."""
        with reading(self._engine) as connection:
            query = sa.select(takes.c.row, takes.c.take).where(takes.c.pipeline == pipeline)
            return {record.row: record.take for record in connection.execute(query)}

    def raise_take(self, pipeline: str, key: str) -> Row:
        """Ask for one more clip from a row's words: its current row gets the next take. Returns it as it is now."""
        with self._engine.begin() as connection:
            one_at_a_time(connection)
            row = find_rows(connection, pipeline, [key])[0]
            return set_take(connection, pipeline, retake(row, row.take + 1))

    def ask_takes(self, pipeline: str, asked: Mapping[str, int]) -> None:
        """Ask for at least these takes of rows, as `raise_take` does, also of rows that left the table. Repeatable."""
        with self._engine.begin() as connection:
            one_at_a_time(connection)
            query = sa.select(takes.c.row, takes.c.take).where(takes.c.pipeline == pipeline)
            there = {record.row: record.take for record in connection.execute(query)}
            higher = {row: take for row, take in asked.items() if take > there.get(row, 1)}
            values = [{"pipeline": pipeline, "row": row, "take": take} for row, take in higher.items()]
            for chunk in chunked(values, CHUNK):
                keys = [value["row"] for value in chunk]
                connection.execute(sa.delete(takes).where(takes.c.pipeline == pipeline, takes.c.row.in_(keys)))
                connection.execute(sa.insert(takes), chunk)
            for row in find_rows(connection, pipeline, list(higher)):
                if row.take < higher[row.id]:
                    set_take(connection, pipeline, retake(row, higher[row.id]))

    def keep_request(self, pipeline: str, digest: str, row: Row) -> None:
        """The row keeps the request of `row`, where it asks for the one with this digest now: it was paid for.

        As a reading of the table does it, for bytes that changed behind the address of an image. Repeatable.
        """
        values = row_values(pipeline, 0, row)
        kept = {name: values[name] for name in ("digest", "address_digest", "images")}
        same = (rows.c.pipeline == pipeline, rows.c.row == row.id, rows.c.digest == digest)
        with self._engine.begin() as connection:
            connection.execute(sa.update(rows).where(*same).values(kept))

    def withdraw(self, pipeline: str, key: str, now: float) -> Row | None:
        """Take back what was asked for and not sent: the row waits no longer, and no sensor asks for it again.

        A take that a person asked for is taken back with it. Returns the row as it is now, None if it left the table.
        A run that was to submit it does not any more, and no retry policy follows what was claimed before, which is not
        touched; a person may ask for the row again.
        """
        with self._engine.begin() as connection:
            one_at_a_time(connection)
            connection.execute(sa.delete(waiting).where(waiting.c.pipeline == pipeline, waiting.c.row == key))
            row = next(iter(find_rows(connection, pipeline, [key])), None)
            if row is None:
                return row
            if not _is_claimed(connection, pipeline, row):
                same = (takes.c.pipeline == pipeline, takes.c.row == key)
                asked = connection.execute(sa.select(takes.c.take).where(*same)).scalar()
                if asked == row.take and row.take > 1:
                    return set_take(connection, pipeline, retake(row, row.take - 1))
            # Of a claimed request, this is about the further attempt that a policy asked for, and would ask for again.
            withdraw_requests(connection, pipeline, {key: row.digest}, now)
            return row

    def latest_snapshot(self, pipeline: str) -> str:
        """The id of the latest reading of the table; empty if it was never read."""
        query = sa.select(snapshots.c.id).where(snapshots.c.pipeline == pipeline)
        with reading(self._engine) as connection:
            return connection.execute(query.order_by(snapshots.c.created_at.desc()).limit(1)).scalar() or ""

    def digests(self, pipeline: str) -> dict[str, str]:
        """The digest of each current row's request, by row id."""
        query = sa.select(rows.c.row, rows.c.digest).where(rows.c.pipeline == pipeline)
        with reading(self._engine) as connection:
            return {record.row: record.digest for record in connection.execute(query)}

    def read_at(self, pipeline: str) -> float | None:
        """When the table was last read, in seconds since the epoch; None if it never was."""
        query = sa.select(sa.func.max(snapshots.c.created_at)).where(snapshots.c.pipeline == pipeline)
        with reading(self._engine) as connection:
            return connection.execute(query).scalar()

    def problems(self, pipeline: str) -> list[Problem]:
        """The invalid rows of the table as it was last read (the first 1,000)."""
        query = sa.select(snapshots.c.problems).where(snapshots.c.pipeline == pipeline)
        with reading(self._engine) as connection:
            text = connection.execute(query.order_by(snapshots.c.created_at.desc()).limit(1)).scalar()
        return [Problem(*item) for item in json.loads(text or "[]")]


def _move_places(connection: sa.Connection, pipeline: str, changed: Sequence[tuple[Row, Row]]) -> None:
    """The places in the queue, after rows changed from the first of each pair to the second."""
    query = sa.select(waiting.c.row, waiting.c.digest).where(waiting.c.pipeline == pipeline)
    queued = {(record.row, record.digest) for record in connection.execute(query)}
    if not queued:
        return
    query = sa.select(takes.c.row, takes.c.take).where(takes.c.pipeline == pipeline)
    asked = {record.row: record.take for record in connection.execute(query)}
    for old, new in changed:
        kept = new.take == asked.get(new.id) and new.address_digest == old.address_digest
        if kept and (old.id, old.digest) in queued:
            same = (waiting.c.pipeline == pipeline, waiting.c.row == old.id)
            connection.execute(sa.update(waiting).where(*same).values(digest=new.digest))
    same = (rows.c.pipeline == waiting.c.pipeline, rows.c.row == waiting.c.row, rows.c.digest == waiting.c.digest)
    void = (waiting.c.pipeline == pipeline, ~sa.exists().where(*same))
    connection.execute(sa.delete(waiting).where(*void))


def _record_snapshot(
    connection: sa.Connection, pipeline: str, table: Sequence[Row], problems: Sequence[Problem], run_id: str, now: float
) -> None:
    """Keep what a reading found, as the newest of the last few. Problems that did not change are kept once.

    A snapshot without problems has those of the one after it, so that the newest always has its own. Snapshots are in
    the order in which they were recorded, whatever a machine's clock says.
    """
    mine = snapshots.c.pipeline == pipeline
    newest_first = sa.select(snapshots.c.id, snapshots.c.created_at).where(mine).order_by(snapshots.c.created_at.desc())
    last = connection.execute(newest_first.limit(1)).first()
    text = json.dumps([[p.line, p.row, p.column, redact_text(p.message)] for p in problems[:MAX_PROBLEMS_KEPT]])
    if last:
        same = (snapshots.c.id == last.id, snapshots.c.problems == text)
        connection.execute(sa.update(snapshots).where(*same).values(problems=""))
    connection.execute(
        sa.insert(snapshots).values(
            id=uuid.uuid4().hex,
            pipeline=pipeline,
            table_digest=hashlib.sha256("\n".join(f"{row.id}\t{row.digest}" for row in table).encode()).hexdigest(),
            row_count=len(table),
            problem_count=len(problems),
            problems=text,
            run_id=run_id,
            created_at=max(now, last.created_at + _TICK_SECONDS) if last else now,
        )
    )
    kept = [one.id for one in connection.execute(newest_first.limit(MAX_SNAPSHOTS_KEPT))]
    connection.execute(sa.delete(snapshots).where(mine, snapshots.c.id.not_in(kept)))


def withdraw_requests(connection: sa.Connection, pipeline: str, digests: Mapping[str, str], now: float) -> None:
    """No sensor asks for these requests again, by row and digest, until they are claimed. Repeatable."""
    for row, digest in digests.items():
        values = {"pipeline": pipeline, "row": row, "digest": digest}
        same = tuple(withdrawals.c[name] == value for name, value in values.items())
        connection.execute(sa.delete(withdrawals).where(*same))
        connection.execute(sa.insert(withdrawals).values(**values, at=now))


def set_take(connection: sa.Connection, pipeline: str, row: Row) -> Row:
    """Ask for the take that the row has; its record gets it too."""
    same = (takes.c.pipeline == pipeline, takes.c.row == row.id)
    connection.execute(sa.delete(takes).where(*same))
    connection.execute(sa.insert(takes).values(pipeline=pipeline, row=row.id, take=row.take))
    changed = {"take": row.take, "digest": row.digest, "address_digest": row.address_digest}
    same = (rows.c.pipeline == pipeline, rows.c.row == row.id)
    connection.execute(sa.update(rows).where(*same).values(changed))
    return row


def _is_claimed(connection: sa.Connection, pipeline: str, row: Row) -> bool:
    same = (tasks.c.pipeline == pipeline, tasks.c.row == row.id, tasks.c.digest == row.digest)
    query = sa.select(tasks.c.id).where(*same, made_in(find_worlds(connection, pipeline)))
    return connection.execute(query.limit(1)).first() is not None


def find_rows(connection: sa.Connection, pipeline: str, keys: Sequence[str]) -> list[Row]:
    """The current rows with these ids."""
    query = sa.select(rows).where(rows.c.pipeline == pipeline)
    return [
        read_row(record)
        for chunk in chunked(keys, CHUNK)
        for record in connection.execute(query.where(rows.c.row.in_(chunk)))
    ]
