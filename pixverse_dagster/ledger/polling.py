"""When tasks are asked about next, for many at once: single writes of a full tick would take longer than the tick."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import POLLED, TaskState
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.clocks import is_over
from pixverse_dagster.ledger.codec import plain
from pixverse_dagster.ledger.engine import CHUNK, reading
from pixverse_dagster.ledger.queries import of_provider
from pixverse_dagster.ledger.schema import tasks


class Heard(NamedTuple):
    """What is written of a task that was asked about, and that nothing was decided about."""

    id: str
    note: str
    next_poll_at: float
    unread_since: float | None = None
    stalled_at: float | None = None


class Waits(NamedTuple):
    """Until when tasks are left that nobody can ask about; `slow` for those submitted before `overdue`.

    `longest_seconds` is the longest wait for a poll: a later time was written under a wrong clock.
    """

    now: float
    longest_seconds: float
    until: float
    overdue: float
    slow: float


class Left(NamedTuple):
    """The tasks that nobody can ask about: their models, the ids of those that a person is to look at now, and all."""

    models: list[str]
    stalled: list[str]
    number: int


class Polling:
    """Writes the times of the next polls. Every method is one transaction; safe to use from many threads.

    Nothing here changes a task's state, and nothing gives a time to a task that a person is asked to look at.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def soon(self, ids: Sequence[str], note: str, now: float) -> None:
        """Have tasks with this note asked about now: what they were left alone for is over."""
        for chunk in chunked(ids, CHUNK):
            with self._engine.begin() as connection:
                same = (tasks.c.id.in_(chunk), tasks.c.note == note, tasks.c.next_poll_at.is_not(None))
                connection.execute(sa.update(tasks).where(*same).values(next_poll_at=now, note=""))

    def leave_open(self, until: Mapping[str, float]) -> None:
        """Leave open submits, by their ids, to the run that finds out about them; afterwards they are due again."""
        if not until:
            return
        same = (tasks.c.id == sa.bindparam("of_id"), tasks.c.state == TaskState.UNKNOWN)
        query = sa.update(tasks).where(*same, tasks.c.next_poll_at.is_not(None)).values(next_poll_at=sa.bindparam("at"))
        with self._engine.begin() as connection:
            connection.execute(query, [{"of_id": one, "at": at} for one, at in until.items()])

    def keep(self, heard: Sequence[Heard]) -> None:
        """Polls that brought no decision: the tasks are asked about again later."""
        if not heard:
            return
        columns = ("note", "next_poll_at", "unread_since", "stalled_at")
        new = {name: sa.bindparam(f"new_{name}", type_=tasks.c[name].type) for name in columns}
        # Not an IN, which no statement may have that is executed for many at once.
        polled = sa.or_(*[tasks.c.state == state for state in sorted(POLLED)])
        same = (tasks.c.id == sa.bindparam("of_id"), polled, tasks.c.next_poll_at.is_not(None))
        query = sa.update(tasks).where(*same).values(new | {"polls": tasks.c.polls + 1})
        with self._engine.begin() as connection:
            values = [{"of_id": one.id} | {f"new_{name}": getattr(one, name) for name in columns} for one in heard]
            connection.execute(query, [{**one, "new_note": plain("note", one["new_note"])} for one in values])

    def put_off(self, pipeline: str, provider: str, now: float, until: float, longest_seconds: float) -> None:
        """Leave what is due at a provider for a while, all of it at once; it comes before what could not be read."""
        is_due = is_over(tasks.c.next_poll_at, now, longest_seconds)
        same = (tasks.c.pipeline == pipeline, tasks.c.state.in_(sorted(POLLED)), is_due)
        with self._engine.begin() as connection:
            connection.execute(sa.update(tasks).where(*same, of_provider(provider)).values(next_poll_at=until))

    def leave_unreadable(
        self, pipeline: str, providers: Collection[str], note: str, waits: Waits, *, besides: bool = False
    ) -> Left:
        """Leave what is due at providers that nobody can ask, all of it at once: at these, or at all besides these.

        Tasks that were submitted before `waits.overdue` are to be looked at by a person.
        """
        there = [of_provider(name) for name in sorted(providers)]
        where = [sa.not_(one) for one in there] if besides else [sa.or_(sa.false(), *there)]
        is_due = is_over(tasks.c.next_poll_at, waits.now, waits.longest_seconds)
        same = (tasks.c.pipeline == pipeline, tasks.c.state == TaskState.SUBMITTED, is_due, *where)
        old = sa.func.coalesce(tasks.c.submitted_at, tasks.c.claimed_at) < waits.overdue
        new = sa.and_(old, tasks.c.stalled_at.is_(None))
        values = {
            "note": plain("note", note),
            "next_poll_at": sa.case((old, waits.slow), else_=waits.until),
            "unread_since": sa.func.coalesce(tasks.c.unread_since, waits.now),
            "stalled_at": sa.case((new, waits.now), else_=tasks.c.stalled_at),
        }
        with reading(self._engine) as connection:
            models = list(connection.execute(sa.select(tasks.c.model).where(*same).distinct()).scalars())
        if not models:
            return Left([], [], 0)
        with self._engine.begin() as connection:
            stalled = list(connection.execute(sa.select(tasks.c.id).where(*same, new)).scalars())
            count = connection.execute(sa.update(tasks).where(*same).values(values)).rowcount
        return Left(models, stalled, count)
