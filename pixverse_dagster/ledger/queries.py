"""Looking at tasks: what is due, what is ready, what a row has. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import MAY_STALL, OCCUPIES_SLOT, POLLED, TaskState
from pixverse_dagster.core.task import Task, governing
from pixverse_dagster.ledger.clocks import is_over
from pixverse_dagster.ledger.codec import TASK_COLUMNS, read_task
from pixverse_dagster.ledger.engine import reading, select_chunked
from pixverse_dagster.ledger.retries import select_due
from pixverse_dagster.ledger.schema import rows, tasks
from pixverse_dagster.ledger.worlds import Worlds, find_worlds, made_in
from pixverse_dagster.policy.identity import Holder
from pixverse_dagster.policy.retry import Retries
from pixverse_dagster.policy.timing import MAX_WAIT_SECONDS

# Statements of a claim are made once: putting one together takes longer than its execution.
_CLAIMS = (
    sa.select(*TASK_COLUMNS)
    .where(
        tasks.c.pipeline == sa.bindparam("of_pipeline"),
        tasks.c.row == sa.bindparam("of_row"),
        tasks.c.digest == sa.bindparam("of_digest"),
    )
    .order_by(tasks.c.claim)
)
_LOCKED_CLAIMS = _CLAIMS.with_for_update()
_NAMES = sa.select(tasks.c.pipeline, tasks.c.row, tasks.c.digest).where(tasks.c.id == sa.bindparam("of_id"))
_MOST_RENAMINGS = 5
_OWNER = sa.select(*TASK_COLUMNS).where(
    tasks.c.account == sa.bindparam("of_account"), tasks.c.task_id == sa.bindparam("of_task_id")
)


class Held(NamedTuple):
    """The ids of an account's tasks under one key, and of those among them that have a certain note."""

    ids: list[str]
    noted: list[str]


class TaskQueries:
    """Reads the tasks of a ledger. Safe to use from many threads.

    Where a method takes `worlds`, what was made in another world than the provider's present one does not count: as
    given, or else as the ledger remembers it of the pipeline.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def due(  # noqa: PLR0913 - each narrows what is asked for
        self,
        pipeline: str,
        now: float,
        limit: int,
        worlds: Worlds | None = None,
        longest_seconds: float = MAX_WAIT_SECONDS,
        provider: str | None = None,
        *,
        besides: Collection[str] = (),
    ) -> list[Task]:
        """Tasks that are to be asked about now, the longest overdue first, so that none starves.

        Of all providers besides these, or of this one. Those of which the last answer could not be read come after the
        others, and those that would wait for longer than `longest_seconds` before them: a wrong clock set their time.
        """
        ahead = sa.case((tasks.c.next_poll_at > now, 0), else_=1)
        is_due = is_over(tasks.c.next_poll_at, now, longest_seconds)
        same = (tasks.c.pipeline == pipeline, tasks.c.state.in_(sorted(POLLED)))
        query = sa.select(*TASK_COLUMNS).where(*same, is_due)
        query = query.where(self._made_in(pipeline, worlds))
        query = query.where(*[sa.not_(of_provider(name)) for name in sorted(besides)])
        query = query if provider is None else query.where(of_provider(provider))
        order = (tasks.c.unread_since.is_not(None), ahead, tasks.c.next_poll_at)
        return self._tasks(query.order_by(*order).limit(limit))

    def ready(
        self,
        pipeline: str,
        now: float,
        limit: int,
        worlds: Worlds | None = None,
        longest_seconds: float = MAX_WAIT_SECONDS,
    ) -> list[Task]:
        """Succeeded tasks that wait to be collected, the oldest result first: its URL expires first.

        Those that could not be stored for long come after the others, so that they take nobody's place.
        What a real provider made was paid for, and is there also while the pipeline works with a simulator. A task that
        would wait for longer than `longest_seconds` does not: a wrong clock set its time.
        """
        query = sa.select(*TASK_COLUMNS).where(
            tasks.c.pipeline == pipeline,
            tasks.c.state == TaskState.SUCCEEDED,
            is_over(tasks.c.next_collect_at, now, longest_seconds),
        )
        query = query.where(self._made_in(pipeline, worlds, or_live=True))
        return self._tasks(query.order_by(tasks.c.stalled_at.is_not(None), tasks.c.finished_at).limit(limit))

    def current(
        self, pipeline: str, keys: Iterable[str] | None = None, worlds: Worlds | None = None
    ) -> dict[str, Task]:
        """The task that answers for each current row's request, by row id; rows never claimed are absent."""
        same = sa.and_(rows.c.pipeline == tasks.c.pipeline, rows.c.row == tasks.c.row, rows.c.digest == tasks.c.digest)
        query = sa.select(*TASK_COLUMNS).join(rows, same).where(tasks.c.pipeline == pipeline).order_by(tasks.c.claim)
        query = query.where(self._made_in(pipeline, worlds))
        claims: dict[str, list[Task]] = {}
        for task in self._tasks(query, keys=keys):
            claims.setdefault(task.row, []).append(task)
        return {row: answer for row, of_row in claims.items() if (answer := governing(of_row))}

    def collectable(self, pipeline: str, keys: Iterable[str], worlds: Worlds | None = None) -> list[Task]:
        """Every succeeded task of these rows, also of requests that left the table: they were paid for."""
        query = sa.select(*TASK_COLUMNS).where(tasks.c.pipeline == pipeline, tasks.c.state == TaskState.SUCCEEDED)
        query = query.where(self._made_in(pipeline, worlds, or_live=True))
        return self._tasks(query.order_by(tasks.c.finished_at), keys=keys)

    def to_retry(self, pipeline: str, retries: Retries, limit: int, worlds: Worlds | None = None) -> list[Task]:
        """Failed tasks whose rows are due for a further attempt that nobody asked for yet; so many of each kind."""
        found: list[Task] = []
        for kind in sorted(retries.since):
            query = select_due(pipeline, kind, retries).where(self._made_in(pipeline, worlds))
            found += self._tasks(query.limit(limit))
        return found

    def newest_stored(
        self, pipeline: str, keys: Iterable[str], worlds: Worlds | None = None, among: Collection[str] | None = None
    ) -> dict[str, Task]:
        """The stored task of each of these rows that has one: of its current request, else the one stored last.

        With `among`, only tasks with these ids count.
        """
        keys = list(keys)
        query = sa.select(*TASK_COLUMNS).where(tasks.c.pipeline == pipeline, tasks.c.state == TaskState.STORED)
        query = query.where(self._made_in(pipeline, worlds))
        answers = self.current(pipeline, keys, worlds).values()
        found = [*self._tasks(query.order_by(tasks.c.stored_at), keys=keys), *answers]
        return {
            task.row: task for task in found if task.state is TaskState.STORED and (among is None or task.id in among)
        }

    def claims(self, task: Task) -> list[Task]:
        """Every claim of the same request in the task's world, the first one first: attempts, refusals, open ones."""
        with reading(self._engine) as connection:
            found = find_claims_of(connection, task)
        return [claim for claim in found if claim.world == task.world]

    def with_task_id(self, account: str, task_id: str) -> Task | None:
        """The task that has this id at this account, of whichever pipeline."""
        with reading(self._engine) as connection:
            return find_task_id(connection, account, task_id)

    def in_folders(self, folders: Iterable[str]) -> list[Task]:
        """The tasks that were given these folders of a store, of whichever pipeline."""
        return self._tasks(sa.select(*TASK_COLUMNS), tasks.c.folder, folders)

    def body(self, task: Task) -> str | None:
        """The submit of a task as it was sent; None where its outcome is known, or where it cannot be replayed."""
        with reading(self._engine) as connection:
            return connection.execute(sa.select(tasks.c.body).where(tasks.c.id == task.id)).scalar()

    def find(self, pipeline: str, states: Collection[TaskState] = (), keys: Iterable[str] | None = None) -> list[Task]:
        """The pipeline's tasks, of these states and rows where given, the oldest first."""
        query = sa.select(*TASK_COLUMNS).where(tasks.c.pipeline == pipeline).order_by(tasks.c.claimed_at)
        query = query.where(tasks.c.state.in_(sorted(states))) if states else query
        return self._tasks(query, keys=keys)

    def everywhere(self, states: Collection[TaskState]) -> list[Task]:
        """The tasks of these states of every pipeline that the ledger keeps, by pipeline, the oldest first."""
        query = sa.select(*TASK_COLUMNS).where(tasks.c.state.in_(sorted(states)))
        return self._tasks(query.order_by(tasks.c.pipeline, tasks.c.claimed_at))

    def pipelines(self) -> list[str]:
        """The names of all pipelines that have a task in the ledger."""
        with reading(self._engine) as connection:
            query = sa.select(tasks.c.pipeline).distinct().order_by(tasks.c.pipeline)
            return list(connection.execute(query).scalars())

    def unresolved(self, pipeline: str, worlds: Worlds | None = None) -> list[Task]:
        """Tasks whose outcome stays unknown until a person looks. Those of a real provider cost money in any case."""
        query = sa.select(*TASK_COLUMNS).where(tasks.c.pipeline == pipeline, tasks.c.state == TaskState.UNKNOWN)
        query = query.where(self._made_in(pipeline, worlds, or_live=True)).order_by(tasks.c.claimed_at)
        return [task for task in self._tasks(query) if not task.resolves_itself]

    def stalled(self, pipeline: str, worlds: Worlds | None = None) -> list[Task]:
        """Tasks that do not come on, though they may: a person is to look, the longest stalled first."""
        query = sa.select(*TASK_COLUMNS).where(
            tasks.c.pipeline == pipeline, tasks.c.state.in_(sorted(MAY_STALL)), tasks.c.stalled_at.is_not(None)
        )
        query = query.where(self._made_in(pipeline, worlds, or_live=True))
        return self._tasks(query.order_by(tasks.c.stalled_at))

    def counts(
        self, pipeline: str, worlds: Worlds | None = None, states: Collection[TaskState] = ()
    ) -> dict[TaskState, int]:
        """How many tasks are in each state, or in each of these: few are looked at where these are few."""
        query = sa.select(tasks.c.state, sa.func.count()).where(tasks.c.pipeline == pipeline).group_by(tasks.c.state)
        query = query.where(tasks.c.state.in_(sorted(states))) if states else query
        query = query.where(self._made_in(pipeline, worlds))
        with reading(self._engine) as connection:
            return {TaskState(state): count for state, count in connection.execute(query)}

    def expected(self, pipeline: str, worlds: Worlds | None = None) -> int:
        """How many tasks are under way whose provider answers: of the others nobody knows when they come on."""
        answered = tasks.c.unread_since.is_(None) & tasks.c.stalled_at.is_(None)
        query = sa.select(sa.func.count()).where(tasks.c.pipeline == pipeline, answered)
        query = query.where(tasks.c.state.in_(sorted(OCCUPIES_SLOT)), self._made_in(pipeline, worlds))
        with reading(self._engine) as connection:
            return connection.execute(query).scalar_one()

    def holders(self, pipeline: str, note: str = "") -> dict[tuple[str, Holder], Held]:
        """Whose the tasks are that the poller asks about: by provider, account, world and key."""
        columns = (tasks.c.id, tasks.c.model, tasks.c.account, tasks.c.world, tasks.c.key, tasks.c.note)
        query = sa.select(*columns).where(
            tasks.c.pipeline == pipeline, tasks.c.state.in_(sorted(POLLED)), tasks.c.next_poll_at.is_not(None)
        )
        found: dict[tuple[str, Holder], Held] = {}
        with reading(self._engine) as connection:
            for record in connection.execute(query):
                holder = Holder(record.account, record.world, record.key)
                held = found.setdefault((record.model.partition("/")[0], holder), Held([], []))
                held.ids.append(record.id)
                if note and record.note == note:
                    held.noted.append(record.id)
        return found

    def by_id(self, ids: Iterable[str]) -> list[Task]:
        """These tasks as they are now."""
        return self._tasks(sa.select(*TASK_COLUMNS), tasks.c.id, ids)

    def refresh(self, task: Task) -> Task:
        """The task as it is now."""
        return self.by_id([task.id])[0]

    def _made_in(self, pipeline: str, worlds: Worlds | None, *, or_live: bool = False) -> sa.ColumnElement[bool]:
        if worlds is None:
            with reading(self._engine) as connection:
                worlds = find_worlds(connection, pipeline)
        return made_in(worlds, or_live=or_live)

    def _tasks(
        self, query: sa.Select[Any], column: sa.Column[Any] = tasks.c.row, keys: Iterable[str] | None = None
    ) -> list[Task]:
        return [read_task(record) for record in select_chunked(self._engine, query, column, keys)]


def of_provider(name: str) -> sa.ColumnElement[bool]:
    """The condition that a task is at this provider."""
    return tasks.c.model.startswith(f"{name}/", autoescape=True)


def find_task_id(connection: sa.Connection, account: str, task_id: str) -> Task | None:
    """The task that has this id at this account."""
    found = connection.execute(_OWNER, {"of_account": account, "of_task_id": task_id}).first()
    return read_task(found) if found else None


def find_claims(connection: sa.Connection, pipeline: str, row: str, digest: str, *, lock: bool = False) -> list[Task]:
    """Every claim of a request, the first one first. With `lock`, they are this transaction's until it ends."""
    same = {"of_pipeline": pipeline, "of_row": row, "of_digest": digest}
    return [read_task(record) for record in connection.execute(_LOCKED_CLAIMS if lock else _CLAIMS, same)]


def find_claims_of(connection: sa.Connection, task: Task, *, lock: bool = False) -> list[Task]:
    """Every claim of a task's request, as `find_claims`; this task is among them if the ledger has it.

    Its row may have been renamed since the caller read it: the names that it has now count.
    """
    for _ in range(_MOST_RENAMINGS):
        names = connection.execute(_NAMES, {"of_id": task.id}).first()
        if names is None:
            break
        claims = find_claims(connection, *names, lock=lock)
        if any(claim.id == task.id for claim in claims):
            return claims
    return find_claims(connection, task.pipeline, task.row, task.digest, lock=lock)
