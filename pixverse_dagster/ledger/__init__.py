"""The ledger: the durable record of every row and task, the one truth about money and about what is pending."""

from __future__ import annotations

import atexit
import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from pixverse_dagster.budget import Spent
from pixverse_dagster.clip import Accepted, Ended, Finished, TaskState
from pixverse_dagster.ledger import claims
from pixverse_dagster.ledger.database import chunked, open_engine
from pixverse_dagster.ledger.records import Intent, Task, plain, read_row, read_task, row_values
from pixverse_dagster.ledger.schema import meta, rows, snapshots, takes, tasks
from pixverse_dagster.ledger.schema import waiting as queue
from pixverse_dagster.ledger.waiting import Hold, Waiting, WaitingList
from pixverse_dagster.prompts import Problem, Row, changed_columns, retake

__all__ = ["Hold", "Intent", "Ledger", "LedgerFault", "SnapshotChange", "Task", "Waiting", "chunked", "open_ledger"]

LedgerFault = SQLAlchemyError
"""What any method of the ledger raises when its database fails."""

MAX_PROBLEMS_KEPT = 1000
_CHUNK = 500


@dataclass(frozen=True)
class SnapshotChange:
    """What a reading of the table changed. Row ids; of a changed row, the columns that changed."""

    new: tuple[str, ...]
    changed: Mapping[str, tuple[str, ...]]
    unchanged: int
    removed: tuple[str, ...]


class Ledger:
    """Reads and writes the ledger.

    Every method is one transaction; safe to use from many threads, processes and machines.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self.waiting = WaitingList(engine)
        with self._read() as connection:
            self.id = str(connection.execute(sa.select(meta.c.value).where(meta.c.key == "ledger_id")).scalar_one())

    # Rows

    def record_snapshot(
        self, pipeline: str, table: Sequence[Row], problems: Sequence[Problem], run_id: str, now: float
    ) -> SnapshotChange:
        """Make this table the pipeline's current rows. Atomic; recording the same table again changes nothing."""
        with self._engine.begin() as connection:
            claims.one_at_a_time(connection)
            query = sa.select(rows.c.row, rows.c.digest).where(rows.c.pipeline == pipeline)
            before: dict[str, str] = {record.row: record.digest for record in connection.execute(query)}
            changed = [row.id for row in table if before.get(row.id, row.digest) != row.digest]
            old = {row.id: row for row in _read_rows(connection, pipeline, changed)}
            connection.execute(sa.delete(rows).where(rows.c.pipeline == pipeline))
            for chunk in chunked(enumerate(table), _CHUNK):
                connection.execute(sa.insert(rows), [row_values(pipeline, position, row) for position, row in chunk])
            digest = hashlib.sha256("\n".join(f"{row.id}\t{row.digest}" for row in table).encode()).hexdigest()
            kept = [[p.line, p.row, p.column, p.message] for p in problems[:MAX_PROBLEMS_KEPT]]
            connection.execute(
                sa.insert(snapshots).values(
                    id=uuid.uuid4().hex,
                    pipeline=pipeline,
                    table_digest=digest,
                    row_count=len(table),
                    problem_count=len(problems),
                    problems=json.dumps(kept),
                    run_id=run_id,
                    created_at=now,
                )
            )
        after = {row.id: row.digest for row in table}
        return SnapshotChange(
            new=tuple(row for row in after if row not in before),
            changed={row.id: changed_columns(old[row.id], row) for row in table if row.id in old},
            unchanged=sum(before.get(row) == digest for row, digest in after.items()),
            removed=tuple(row for row in before if row not in after),
        )

    def rows(self, pipeline: str, keys: Iterable[str] | None = None) -> dict[str, Row]:
        """The pipeline's current rows, or those of them with these ids, in table order."""
        query = sa.select(rows).where(rows.c.pipeline == pipeline).order_by(rows.c.position)
        found = [read_row(record) for record in self._select(query, rows.c.row, keys)]
        return {row.id: row for row in found}

    def takes(self, pipeline: str) -> dict[str, int]:
        """The takes that a person asked for, by row; a table's own higher take counts before them."""
        with self._read() as connection:
            query = sa.select(takes.c.row, takes.c.take).where(takes.c.pipeline == pipeline)
            return {record.row: record.take for record in connection.execute(query)}

    def raise_take(self, pipeline: str, key: str) -> Row:
        """Ask for one more clip from a row's words: its current row gets the next take. Returns it as it is now."""
        with self._engine.begin() as connection:
            claims.one_at_a_time(connection)
            row = _read_rows(connection, pipeline, [key])[0]
            row = retake(row, row.take + 1)
            same = (takes.c.pipeline == pipeline, takes.c.row == key)
            connection.execute(sa.delete(takes).where(*same))
            connection.execute(sa.insert(takes).values(pipeline=pipeline, row=key, take=row.take))
            same = (rows.c.pipeline == pipeline, rows.c.row == key)
            connection.execute(sa.update(rows).where(*same).values(take=row.take, digest=row.digest))
            return row

    def problems(self, pipeline: str) -> list[Problem]:
        """The invalid rows of the table as it was last read (the first 1,000)."""
        query = sa.select(snapshots.c.problems).where(snapshots.c.pipeline == pipeline)
        with self._read() as connection:
            text = connection.execute(query.order_by(snapshots.c.created_at.desc()).limit(1)).scalar()
        return [Problem(*item) for item in json.loads(text or "[]")]

    # Tasks: the way of one task

    def claim(self, pipeline: str, row: Row, intent: Intent) -> tuple[Task, bool]:
        """Claim the row's request for one paid submit. Returns the task and whether this call claimed it.

        Not claimed means that the request has a task already: it was paid for, is being paid for, or may have been.
        A new attempt begins only after a refusal, which costs nothing, or where the retry policy or a person allows
        it. Decided by a unique constraint, so that of any number of processes at the same time exactly one may send.
        With a budget, the estimate is reserved in the same transaction, and with a limit on open tasks a slot, so
        that all processes together cannot pass it. Raises OverBudget or NoSlot, and then claims nothing.
        """
        try:
            with self._engine.begin() as connection:
                return claims.claim(connection, self.id, pipeline, row, intent)
        except IntegrityError:
            with self._read() as connection:
                attempts = claims.find_attempts(connection, pipeline, row.id, row.digest)
            if not attempts:
                raise
            return attempts[-1], False

    def accept(
        self, task: Task, accepted: Accepted, now: float, next_poll_at: float, settled: str | None = None
    ) -> Task:
        """The provider has the task. Also from `unknown`: a late answer is the truth."""
        return self._move(
            task,
            (TaskState.CLAIMED, TaskState.UNKNOWN),
            state=TaskState.SUBMITTED,
            task_id=accepted.task_id,
            submitted_at=now,
            next_poll_at=next_poll_at,
            reason=None,
            note="",
            settled=settled,
        )

    def refuse(self, task: Task, reason: str, *, late: bool = False, settled: str | None = None) -> Task:
        """The submit was not sent or was declined: not paid. A later run may make a new attempt.

        With `late`, also from `unknown`: right only where nobody else can have replayed the submit in the meantime.
        """
        states = (TaskState.CLAIMED, TaskState.UNKNOWN) if late else (TaskState.CLAIMED,)
        return self._move(task, states, state=TaskState.REFUSED, reason=reason, next_poll_at=None, settled=settled)

    def doubt(self, task: Task, reason: str, next_poll_at: float | None) -> Task:
        """Nobody knows whether the submit was accepted. Never sent again blindly; counts as spent."""
        return self._move(
            task,
            (TaskState.CLAIMED, TaskState.UNKNOWN),
            state=TaskState.UNKNOWN,
            reason=reason,
            next_poll_at=next_poll_at,
        )

    def abandon(self, task: Task, reason: str, settled: str | None = None) -> Task:
        """A person gives the task up. Not polled, collected or submitted again; what it cost stays spent."""
        states = (TaskState.UNKNOWN, TaskState.SUBMITTED)
        return self._move(task, states, state=TaskState.ABANDONED, reason=reason, next_poll_at=None, settled=settled)

    def release(self, task: Task, settled: str) -> Task:
        """A person allows one more paid attempt after this one, which ended without a clip."""
        return self._move(task, (TaskState.FAILED, TaskState.ABANDONED), released=True, settled=settled)

    def keep_polling(self, task: Task, note: str, next_poll_at: float) -> Task:
        """A poll that settled nothing."""
        values: dict[str, Any] = {"note": note, "next_poll_at": next_poll_at, "polls": task.polls + 1}
        return self._move(task, (TaskState.SUBMITTED, TaskState.UNKNOWN, TaskState.CLAIMED), **values)

    def finish(self, task: Task, fact: Finished, now: float) -> Task:
        """The provider has the clips. Also renews the URLs of a task that had succeeded before."""
        return self._move(
            task,
            (TaskState.SUBMITTED, TaskState.SUCCEEDED),
            state=TaskState.SUCCEEDED,
            urls=fact.urls,
            seeds=fact.seeds,
            note=fact.note,
            cost_usd=task.cost_usd if fact.cost_usd is None else fact.cost_usd,
            finished_at=task.finished_at or now,
            next_poll_at=None,
            # Renewed URLs leave the lease of whoever collects the task as it is.
            next_collect_at=sa.func.coalesce(tasks.c.next_collect_at, now),
            polls=task.polls + 1,
        )

    def end(self, task: Task, fact: Ended, now: float) -> Task:
        """The task ended without a clip. Perhaps paid; a new attempt needs a new take."""
        return self._move(
            task,
            (TaskState.SUBMITTED, TaskState.SUCCEEDED),
            state=TaskState.FAILED,
            kind=fact.kind,
            reason=fact.reason,
            finished_at=task.finished_at or now,
            next_poll_at=None,
            next_collect_at=None,
            urls=(),
        )

    def lease_collect(self, batch: Sequence[Task], until: float) -> None:
        """Leave these succeeded tasks to whoever collects them now; after `until` they are offered again."""
        with self._engine.begin() as connection:
            for chunk in chunked([task.id for task in batch], _CHUNK):
                query = sa.update(tasks).where(tasks.c.id.in_(chunk), tasks.c.state == TaskState.SUCCEEDED)
                connection.execute(query.values(next_collect_at=until))

    def retry_collect(self, task: Task, problem: str, at: float) -> Task:
        """A collect failed, which changes nothing at the provider; the task is offered again."""
        values: dict[str, Any] = {"note": problem, "next_collect_at": at, "collects": task.collects + 1}
        return self._move(task, (TaskState.SUCCEEDED,), **values)

    def store(self, task: Task, now: float) -> Task:
        """Every byte, the manifest and the event are in place. The result URLs are forgotten."""
        return self._move(
            task,
            (TaskState.SUBMITTED, TaskState.SUCCEEDED),
            state=TaskState.STORED,
            stored_at=now,
            next_poll_at=None,
            next_collect_at=None,
            urls=(),
        )

    # Tasks: looking

    def due(self, pipeline: str, now: float, limit: int) -> list[Task]:
        """Tasks whose poll, or whose stale claim or doubt, is due: the longest overdue first, so that none starves."""
        states = (TaskState.CLAIMED, TaskState.SUBMITTED, TaskState.UNKNOWN)
        query = sa.select(tasks).where(
            tasks.c.pipeline == pipeline, tasks.c.state.in_(states), tasks.c.next_poll_at <= now
        )
        return self._tasks(query.order_by(tasks.c.next_poll_at).limit(limit))

    def ready(self, pipeline: str, now: float, limit: int) -> list[Task]:
        """Succeeded tasks that wait to be collected, the oldest result first: its URL expires first."""
        query = sa.select(tasks).where(
            tasks.c.pipeline == pipeline, tasks.c.state == TaskState.SUCCEEDED, tasks.c.next_collect_at <= now
        )
        return self._tasks(query.order_by(tasks.c.finished_at).limit(limit))

    def current(self, pipeline: str, keys: Iterable[str] | None = None) -> dict[str, Task]:
        """The newest attempt at each current row's request, by row id; rows never attempted are absent."""
        same = sa.and_(rows.c.pipeline == tasks.c.pipeline, rows.c.row == tasks.c.row, rows.c.digest == tasks.c.digest)
        query = sa.select(tasks).join(rows, same).where(tasks.c.pipeline == pipeline).order_by(tasks.c.attempt)
        return {task.row: task for task in self._tasks(query, keys=keys)}

    def unsubmitted(self, pipeline: str, limit: int) -> list[str]:
        """Current rows, in table order, whose request was never attempted and that do not wait for their turn."""
        attempted = sa.exists().where(
            tasks.c.pipeline == rows.c.pipeline, tasks.c.row == rows.c.row, tasks.c.digest == rows.c.digest
        )
        waits = sa.exists().where(queue.c.pipeline == rows.c.pipeline, queue.c.row == rows.c.row)
        query = sa.select(rows.c.row).where(rows.c.pipeline == pipeline, ~attempted, ~waits)
        with self._read() as connection:
            return list(connection.execute(query.order_by(rows.c.position).limit(limit)).scalars())

    def collectable(self, pipeline: str, keys: Iterable[str]) -> list[Task]:
        """Every succeeded task of these rows, also of requests that left the table: they were paid for."""
        query = sa.select(tasks).where(tasks.c.pipeline == pipeline, tasks.c.state == TaskState.SUCCEEDED)
        return self._tasks(query.order_by(tasks.c.finished_at), keys=keys)

    def newest_stored(self, pipeline: str, keys: Iterable[str]) -> dict[str, Task]:
        """The stored task of each of these rows that has one: of its current request, else the one stored last."""
        keys = list(keys)
        query = sa.select(tasks).where(tasks.c.pipeline == pipeline, tasks.c.state == TaskState.STORED)
        stored = {task.row: task for task in self._tasks(query.order_by(tasks.c.stored_at), keys=keys)}
        current = self.current(pipeline, keys)
        return stored | {row: task for row, task in current.items() if task.state is TaskState.STORED}

    def attempts(self, task: Task) -> list[Task]:
        """Every attempt at the same request, the first one first."""
        with self._read() as connection:
            return claims.find_attempts(connection, task.pipeline, task.row, task.digest)

    def find(self, pipeline: str, states: Sequence[TaskState] = (), keys: Iterable[str] | None = None) -> list[Task]:
        """The pipeline's tasks, of these states and rows where given, the oldest first."""
        query = sa.select(tasks).where(tasks.c.pipeline == pipeline).order_by(tasks.c.claimed_at)
        query = query.where(tasks.c.state.in_(states)) if states else query
        return self._tasks(query, keys=keys)

    def undecided(self, pipeline: str) -> list[Task]:
        """Tasks of unknown outcome that will not settle by themselves: a person has to look."""
        return [task for task in self.find(pipeline, (TaskState.UNKNOWN,)) if not task.settling]

    def counts(self, pipeline: str) -> dict[TaskState, int]:
        """How many tasks are in each state."""
        query = sa.select(tasks.c.state, sa.func.count()).where(tasks.c.pipeline == pipeline).group_by(tasks.c.state)
        with self._read() as connection:
            return {TaskState(state): count for state, count in connection.execute(query)}

    def spent(self, pipeline: str, run_id: str, now: float) -> Spent:
        """What the pipeline has spent or reserved: in this run, today (UTC), and ever. Refused submits cost nothing."""
        with self._read() as connection:
            return claims.sum_spent(connection, pipeline, run_id, now)

    def by_id(self, ids: Iterable[str]) -> list[Task]:
        """These tasks as they are now."""
        return self._tasks(sa.select(tasks), tasks.c.id, ids)

    def refresh(self, task: Task) -> Task:
        """The task as it is now."""
        return self.by_id([task.id])[0]

    # Inside

    def _read(self) -> sa.Connection:
        return self._engine.connect().execution_options(read_only=True)

    def _tasks(
        self, query: sa.Select[Any], column: sa.Column[Any] = tasks.c.row, keys: Iterable[str] | None = None
    ) -> list[Task]:
        return [read_task(record) for record in self._select(query, column, keys)]

    def _select(self, query: sa.Select[Any], column: sa.Column[Any], keys: Iterable[str] | None) -> Iterator[Any]:
        with self._read() as connection:
            if keys is None:
                yield from connection.execute(query)
                return
            for chunk in chunked(keys, _CHUNK):
                yield from connection.execute(query.where(column.in_(chunk)))

    def _move(self, task: Task, states: Sequence[TaskState], **values: Any) -> Task:
        """Change the task if it is in one of these states; whoever came first wins. Returns the task as it is."""
        columns = {name: plain(name, value) for name, value in values.items()}
        with self._engine.begin() as connection:
            where = (tasks.c.id == task.id, tasks.c.state.in_(states))
            moved = connection.execute(sa.update(tasks).where(*where).values(columns).returning(tasks)).first()
        return read_task(moved) if moved else self.refresh(task)


def _read_rows(connection: sa.Connection, pipeline: str, keys: Sequence[str]) -> list[Row]:
    query = sa.select(rows).where(rows.c.pipeline == pipeline)
    return [
        read_row(record)
        for chunk in chunked(keys, _CHUNK)
        for record in connection.execute(query.where(rows.c.row.in_(chunk)))
    ]


@lru_cache(maxsize=8)
def open_ledger(url: str) -> Ledger:
    """The ledger at this URL, opened once per process; created or migrated on first use."""
    engine = open_engine(url)
    # Closing the last connection makes SQLite fold its log into the file, where forgotten result URLs leave no bytes.
    atexit.register(engine.dispose)
    return Ledger(engine)
