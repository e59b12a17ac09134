"""The moves of tasks in the ledger, which is the one truth about money and about what is pending."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from pixverse_dagster.core.lifecycle import TRANSITIONS, Event, TaskState
from pixverse_dagster.core.outcomes import Accepted, Failed, Succeeded
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Applied, Move, MoveRefused, Task
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.accounts import Accounts
from pixverse_dagster.ledger.claims import ClaimTerms, claim
from pixverse_dagster.ledger.codec import plain, read_task
from pixverse_dagster.ledger.engine import CHUNK, open_engine, reading
from pixverse_dagster.ledger.queries import TaskQueries, find_attempts
from pixverse_dagster.ledger.queue import SubmitQueue
from pixverse_dagster.ledger.rows import Rows
from pixverse_dagster.ledger.schema import meta, tasks
from pixverse_dagster.ledger.spending import sum_spent
from pixverse_dagster.policy.budget import Spent

LedgerFault = SQLAlchemyError
"""What any method of the ledger raises when its database fails."""


class Ledger:
    """The moves of tasks, one method for each event of `core.lifecycle`; and the ledger's other parts.

    Every method is one transaction; safe to use from many threads, processes and machines. A move from a state that
    its event cannot leave changes nothing and is a `MoveRefused`.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self.rows = Rows(engine)
        self.tasks = TaskQueries(engine)
        self.queue = SubmitQueue(engine)
        self.accounts = Accounts(engine)
        with reading(self._engine) as connection:
            self.id = str(connection.execute(sa.select(meta.c.value).where(meta.c.key == "ledger_id")).scalar_one())

    def claim(self, pipeline: str, row: Row, terms: ClaimTerms) -> tuple[Task, bool]:
        """Claim the row's request for one paid submit. Returns the task and whether this call claimed it.

        Not claimed means that the request has a task already: it was paid for, is being paid for, or may have been.
        A new attempt begins only after a refusal, which costs nothing, or where the retry policy or a person allows
        it. Decided by a unique constraint, so that of any number of processes at the same time exactly one may send.
        With a budget, the estimate is reserved in the same transaction, and with a limit on open tasks a slot, so
        that all processes together cannot pass it. Raises OverBudget or NoSlot, and then claims nothing.
        """
        try:
            with self._engine.begin() as connection:
                return claim(connection, self.id, pipeline, row, terms)
        except IntegrityError:
            with reading(self._engine) as connection:
                attempts = find_attempts(connection, pipeline, row.id, row.digest)
            if not attempts:
                raise
            return attempts[-1], False

    def accept(
        self, task: Task, accepted: Accepted, now: float, next_poll_at: float, settled: str | None = None
    ) -> Move:
        """The provider has the task. Also from `unknown`: a late answer is the truth."""
        return self._apply(
            task,
            Event.ACCEPT,
            task_id=accepted.task_id,
            submitted_at=now,
            next_poll_at=next_poll_at,
            reason=None,
            note="",
            settled=settled,
        )

    def refuse(self, task: Task, reason: str, *, late: bool = False, settled: str | None = None) -> Move:
        """The submit was not sent or was declined: not paid. A later run may make a new attempt.

        With `late`, also from `unknown`: right only where nobody else can have replayed the submit in the meantime.
        """
        event = Event.REFUSE_LATE if late else Event.REFUSE
        return self._apply(task, event, reason=reason, next_poll_at=None, settled=settled)

    def mark_unknown(self, task: Task, reason: str, next_poll_at: float | None) -> Move:
        """Nobody knows whether the submit was accepted. Never sent again blindly; counts as spent."""
        return self._apply(
            task,
            Event.MARK_UNKNOWN,
            reason=reason,
            next_poll_at=next_poll_at,
        )

    def abandon(self, task: Task, reason: str, settled: str | None = None) -> Move:
        """A person gives the task up. Not polled, collected or submitted again; what it cost stays spent."""
        return self._apply(task, Event.ABANDON, reason=reason, next_poll_at=None, settled=settled)

    def release(self, task: Task, settled: str) -> Move:
        """A person allows one more paid attempt after this one, which ended without a clip."""
        return self._apply(task, Event.RELEASE, released=True, settled=settled)

    def keep_polling(self, task: Task, note: str, next_poll_at: float) -> Move:
        """A poll that brought no decision; asked again later."""
        values: dict[str, Any] = {"note": note, "next_poll_at": next_poll_at, "polls": task.polls + 1}
        return self._apply(task, Event.KEEP_POLLING, **values)

    def succeed(self, task: Task, fact: Succeeded, now: float) -> Move:
        """The provider has the clips. Also renews the URLs of a task that had succeeded before."""
        return self._apply(
            task,
            Event.SUCCEED,
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

    def fail(self, task: Task, fact: Failed, now: float) -> Move:
        """The task ended without a clip. Perhaps paid; `policy.retry` says whether another attempt may follow."""
        return self._apply(
            task,
            Event.FAIL,
            kind=fact.kind,
            reason=fact.reason,
            finished_at=task.finished_at or now,
            next_poll_at=None,
            next_collect_at=None,
            urls=(),
        )

    def lease_collect(self, batch: Sequence[Task], until: float) -> None:
        """Leave these succeeded tasks to one collector; after `until` they are ready for another one."""
        with self._engine.begin() as connection:
            for chunk in chunked([task.id for task in batch], CHUNK):
                query = sa.update(tasks).where(tasks.c.id.in_(chunk), tasks.c.state == TaskState.SUCCEEDED)
                connection.execute(query.values(next_collect_at=until))

    def retry_collect(self, task: Task, problem: str, at: float) -> Move:
        """A collect failed, which changes nothing at the provider; the task is ready again at that time."""
        values: dict[str, Any] = {"note": problem, "next_collect_at": at, "collects": task.collects + 1}
        return self._apply(task, Event.RETRY_COLLECT, **values)

    def store(self, task: Task, now: float) -> Move:
        """Every byte, the manifest and the event are in place. The result URLs are forgotten."""
        return self._apply(
            task,
            Event.STORE,
            stored_at=now,
            next_poll_at=None,
            next_collect_at=None,
            urls=(),
        )

    def spent(self, pipeline: str, run_id: str, now: float) -> Spent:
        """What the pipeline has spent or reserved: in this run, today (UTC), and ever. Refused submits cost nothing."""
        with reading(self._engine) as connection:
            return sum_spent(connection, pipeline, run_id, now)

    def _apply(self, task: Task, event: Event, **facts: Any) -> Move:
        """Change the task if it is in a state that the event leaves; whoever came first wins."""
        move = TRANSITIONS[event]
        columns = {name: plain(name, value) for name, value in facts.items()}
        if move.to is not None:
            columns["state"] = move.to
        with self._engine.begin() as connection:
            where = (tasks.c.id == task.id, tasks.c.state.in_(move.leaves))
            moved = connection.execute(sa.update(tasks).where(*where).values(columns).returning(tasks)).first()
        return Applied(read_task(moved)) if moved else MoveRefused(self.tasks.refresh(task), event)


@lru_cache(maxsize=8)
def open_ledger(url: str) -> Ledger:
    """The ledger at this URL, opened once per process; created or migrated on first use."""
    engine = open_engine(url)
    # Closing the last connection makes SQLite fold its log into the file, where forgotten result URLs leave no bytes.
    atexit.register(engine.dispose)
    return Ledger(engine)
