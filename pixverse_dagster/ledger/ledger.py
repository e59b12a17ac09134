"""The moves of tasks in the ledger, which is the one truth about money and about what is pending."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from pixverse_dagster.core.lifecycle import Event
from pixverse_dagster.core.manifest import World
from pixverse_dagster.core.outcomes import Accepted, Failed, Succeeded
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Acceptance, Move, Place, Task
from pixverse_dagster.ledger.acceptance import adopt_task, record_acceptance
from pixverse_dagster.ledger.account_facts import AccountFactsLog
from pixverse_dagster.ledger.accounts import Accounts
from pixverse_dagster.ledger.check_results import CheckResults
from pixverse_dagster.ledger.claims import ClaimTerms, check_current, claim
from pixverse_dagster.ledger.collecting import Collecting
from pixverse_dagster.ledger.consistency import Consistency
from pixverse_dagster.ledger.costs import Costs
from pixverse_dagster.ledger.engine import open_engine, reading
from pixverse_dagster.ledger.files import Files
from pixverse_dagster.ledger.forgetting import forget_words
from pixverse_dagster.ledger.giving_up import give_up, give_up_for_another
from pixverse_dagster.ledger.history import History
from pixverse_dagster.ledger.images import Images
from pixverse_dagster.ledger.ledgers import Ledgers
from pixverse_dagster.ledger.marks import Marks
from pixverse_dagster.ledger.moves import Unless, lock_task, make_move
from pixverse_dagster.ledger.overview import Overview
from pixverse_dagster.ledger.pauses import Pauses, check_pauses
from pixverse_dagster.ledger.policies import Policies
from pixverse_dagster.ledger.polling import Polling
from pixverse_dagster.ledger.prices import Prices
from pixverse_dagster.ledger.queries import TaskQueries
from pixverse_dagster.ledger.queue import SubmitQueue, keep_place
from pixverse_dagster.ledger.renaming import Renamings
from pixverse_dagster.ledger.restoring import find_clip, restore_task, take_in
from pixverse_dagster.ledger.rows import Rows
from pixverse_dagster.ledger.spending import sum_account, sum_spent
from pixverse_dagster.ledger.staged import StagedImages
from pixverse_dagster.ledger.succeeding import succeed
from pixverse_dagster.ledger.totals import Totals
from pixverse_dagster.ledger.worlds import PipelineWorlds
from pixverse_dagster.policy.budget import Spent

T = TypeVar("T")
_TRIES = 3


class Ledger:
    """The moves of tasks, one method for each event of `core.lifecycle`; and the ledger's other parts.

    Every method is one transaction; safe to use from many threads, processes and machines. A move that its event does
    not allow changes nothing and is a `MoveRefused`.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self.rows = Rows(engine)
        self.tasks = TaskQueries(engine)
        self.polling = Polling(engine)
        self.collecting = Collecting(engine)
        self.queue = SubmitQueue(engine)
        self.accounts = Accounts(engine)
        self.pauses = Pauses(engine)
        self.policies = Policies(engine)
        self.history = History(engine)
        self.overview = Overview(engine)
        self.costs = Costs(engine)
        self.totals = Totals(engine)
        self.checks = CheckResults(engine)
        self.files = Files(engine)
        self.marks = Marks(engine)
        self.images = Images(engine)
        self.names = Renamings(engine)
        self.ledgers = Ledgers(engine)
        self.id = self.ledgers.id
        self.salt = self.ledgers.salt
        self.worlds = PipelineWorlds(engine)
        self.staged = StagedImages(engine)
        self.prices = Prices(engine)
        self.facts = AccountFactsLog(engine)
        self.consistency = Consistency(engine)

    def claim(self, pipeline: str, row: Row, terms: ClaimTerms) -> tuple[Task, bool]:
        """Claim the row's request for one paid submit. Returns the task and whether this call claimed it.

        Not claimed means that the request has a task already: it was paid for, is being paid for, or may have been.
        A new claim begins only after a refusal, which costs nothing, or where the retry policy or a person allows
        it. Decided by a unique constraint, so that of any number of processes at the same time exactly one may send.
        In the same transaction the row is compared with the table as it was last read, pauses are honoured, the
        estimate is reserved where there is a budget, and a slot where there is a limit on open tasks, so that all
        processes together cannot pass them. Raises RowChanged, Paused, OverBudget or NoSlot, and then claims nothing.
        """
        # Another claim of the same number was faster: it answers for the request, or it is of the other world.
        return self._retried(lambda connection: claim(connection, self.id, pipeline, row, terms))

    def renew(self, task: Task, until: float, *, now: float | None = None, replay: bool = False) -> Move:
        """Take the lease again before the claim's submit is sent once more. Refused: it must not be sent.

        For the owner of a claim it is refused if the claim is no longer the one that `task` shows. With `replay`, for a
        submit of unknown outcome, it is refused while anybody else is sending. Raises Paused, or RowChanged where the
        owner's row asks for something else now.
        """
        with self._engine.begin() as connection:
            check_pauses(connection, task.pipeline, task.account)
            if not replay:
                check_current(connection, task.pipeline, task.row, task.digest)
            # The poller looks at a claim when its lease ends; at an unknown task at its own time.
            values = {"lease_until": until} if replay else {"lease_until": until, "next_poll_at": until}
            return make_move(connection, task, Event.RENEW, values, now=now, replay=replay)

    def accept(self, task: Task, accepted: Accepted, now: float, next_poll_at: float) -> Acceptance:
        """The provider has the task, and it is paid for: this is recorded whatever the task's state is.

        The attempt's number and folder are given here. An acceptance that the task cannot take (a person settled it,
        it has another id, the id is another task's) is kept as a task of its own that waits for a person. Repeatable.
        """
        return self._retried(lambda connection: record_acceptance(connection, task, accepted, now, next_poll_at))

    def adopt(self, task: Task, task_id: str, now: float, decision: str) -> Move:
        """A person says that the provider has the task under this id: it is polled and stored like any other.

        Also after `refused`, `failed` (lost, expired) and `abandoned`: what was paid for is paid for. A further attempt
        that waits is taken off; one that is under way or stored is kept. Raises IntegrityError if another task has it.
        """
        return self._retried(lambda connection: adopt_task(connection, task, task_id, now, decision))

    def refuse(self, task: Task, reason: str, *, late: bool = False, place: Place | None = None) -> Move:
        """The submit was not sent or was declined: not paid, and no attempt. A later run may claim the request again.

        With `late`, also from `unknown`: right only where nobody else can have replayed the submit in the meantime.
        With a `place`, its row is back in the queue with the same transaction, if it still asks for this request.
        """
        event = Event.REFUSE_LATE if late else Event.REFUSE
        values = {"reason": reason, "next_poll_at": None, "lease_until": None, "body": None}

        def record(connection: sa.Connection) -> Move:
            if place is not None and lock_task(connection, task).allows(event):
                keep_place(connection, task.pipeline, place)
            return make_move(connection, task, event, values)

        return self._retried(record)

    def set_not_accepted(self, task: Task, reason: str, now: float, decision: str) -> Move:
        """A person found no such task at the provider: not paid. Refused while a poll or a replay may still tell."""
        with self._engine.begin() as connection:
            values = {"reason": reason, "lease_until": None, "body": None, "decision": decision}
            return make_move(connection, task, Event.NOT_ACCEPTED, values, now=now)

    def mark_unknown(self, task: Task, reason: str, next_poll_at: float | None) -> Move:
        """Nobody knows whether the submit was accepted. Never sent again blindly; counts as spent.

        Without a time for the next poll it waits for a person, and only a person or the provider's acceptance ends it.
        """
        return self._apply(task, Event.MARK_UNKNOWN, reason=reason, next_poll_at=next_poll_at, lease_until=None)

    def abandon(self, task: Task, reason: str, decision: str) -> Move:
        """A person gives the task up. Not polled, collected or submitted again; what it cost stays spent."""
        with self._engine.begin() as connection:
            return give_up(connection, task, reason, decision)

    def replace(self, task: Task, reason: str, decision: str) -> Move:
        """A person gives the task up and allows one more paid attempt in its place: both, or neither."""
        with self._engine.begin() as connection:
            return give_up_for_another(connection, task, reason, decision)

    def release(self, task: Task, decision: str) -> Move:
        """A person allows one more paid attempt after this one, which ended without a clip and is the newest."""
        return self._apply(task, Event.RELEASE, released=True, decision=decision)

    def withdraw(self, task: Task, decision: str) -> Move:
        """A person takes back the further attempt that was allowed after this one."""
        return self._apply(task, Event.WITHDRAW, released=False, decision=decision)

    def keep_polling(self, task: Task, note: str, next_poll_at: float) -> Move:
        """A poll that brought no decision; asked again later."""
        values: dict[str, Any] = {"note": note, "next_poll_at": next_poll_at, "polls": task.polls + 1}
        return self._apply(task, Event.KEEP_POLLING, **values)

    def succeed(self, task: Task, fact: Succeeded, now: float) -> Move:
        """The provider has the clips. Also renews the URLs of a task that had succeeded, and revives a failed one.

        What it charged corrects the estimates of what follows. Where that is more than was reserved, it also counts for
        all that is under way at the account, before the task's own state says so.
        """
        return succeed(self._engine, task, fact, now)

    def fail(self, task: Task, fact: Failed, now: float) -> Move:
        """The task ended without a clip. Perhaps paid; `policy.retry` says whether another attempt may follow.

        Never of a task whose clips are there: a poll that was overtaken says nothing about them.
        """
        return self._end(Event.FAIL, task, fact, now)

    def expire(self, task: Task, fact: Failed, now: float) -> Move:
        """The clips of a succeeded task are gone from the provider before they were stored."""
        return self._end(Event.EXPIRE, task, fact, now)

    def _end(self, event: Event, task: Task, fact: Failed, now: float) -> Move:
        values: dict[str, Any] = {"next_poll_at": None, "next_collect_at": None, "urls": ()}
        ended_at = task.finished_at or now
        return self._apply(task, event, kind=fact.kind, reason=fact.reason, finished_at=ended_at, **values)

    def retry_collect(self, task: Task, problem: str, at: float, stalled_at: float | None = None) -> Move:
        """A collect failed, which changes nothing at the provider; the task is ready again at that time.

        With `stalled_at` a person is to look from then on, until the clip is stored or the task is given up.
        """
        values: dict[str, Any] = {"note": problem, "next_collect_at": at, "collects": task.collects + 1}
        if stalled_at is not None:
            values["stalled_at"] = Unless(stalled_at)
        return self._apply(task, Event.RETRY_COLLECT, **values)

    def store(self, task: Task, now: float, manifest_sha256: str | None = None) -> Move:
        """Every byte, the manifest and the event are in place: true, whatever another process said of the task since.

        The result URLs are forgotten. The clips are in the folder that `task` shows.
        """
        return self._apply(
            task,
            Event.STORE,
            **({"folder": task.folder} if task.folder else {}),
            manifest_sha256=manifest_sha256,
            kind=None,
            reason=None,
            stored_at=now,
            next_poll_at=None,
            next_collect_at=None,
            urls=(),
        )

    def relocate(self, task: Task, folder: str) -> Move:
        """The task's clips go to another folder: something else stands in the one that it had.

        Refused if another collector has moved them since: then both go on in the folder that the ledger has.
        """
        return self._apply(task, Event.RELOCATE, folder=folder)

    def describe(self, task: Task, manifest_sha256: str) -> Move:
        """The manifest of a stored clip is about to be written again, for it is gone and all files are there.

        Refused if another collector was faster.
        """
        return self._apply(task, Event.DESCRIBE, manifest_sha256=manifest_sha256)

    def restore(self, task: Task) -> Move:
        """Take in a task that the store, or a search at its provider, shows, in the state that it is given in.

        Refused, with the task that is there, if the ledger knows it by its account and id or by its client reference.
        It counts as spent for the day of its claim. A row that waited for this request waits no longer. Repeatable.
        """
        return self._retried(lambda connection: restore_task(connection, task))

    def find(self, task: Task, found: Task) -> Move:
        """The task's own manifest is in the store: it is stored, whatever was last heard of it.

        `found` is the task as the manifest has it: the same account, task id and client reference. The caller has
        compared them.
        """
        return self._retried(lambda connection: find_clip(connection, task, found))

    def take_in(self, found: Sequence[Task]) -> list[Move]:
        """Take in the tasks that one manifest of the store tells of, its own last: `restore` or `find`, for each.

        One transaction: never an earlier attempt without the clip that came of the request. Repeatable.
        """
        return self._retried(lambda connection: take_in(connection, found))

    def forget(self, task: Task, decision: str) -> Move:
        """A person wants the clip deleted: the request keeps what it cost, is not shown, and is not paid for again."""
        return self._apply(task, Event.FORGET, decision=decision)

    def forget_words(self, pipeline: str, row: str, take: int | None = None) -> bool:
        """Take the words of a row, or of one take, out of the ledger. As `ledger.forgetting.forget_words`."""
        with self._engine.begin() as connection:
            return forget_words(connection, pipeline, row, take)

    def take_over(self, ledger_id: str, epoch: int, pipeline: str, others: Collection[str] = ()) -> None:
        """Go on as another ledger, which is lost. As `Ledgers.take_over`."""
        self.ledgers.take_over(ledger_id, epoch, pipeline, others)
        self.id = ledger_id

    def spent(self, pipeline: str, run_id: str, now: float, world: World = "live") -> Spent:
        """What the pipeline has spent or reserved: in this run, today (UTC), and ever. Refused submits cost nothing."""
        with reading(self._engine) as connection:
            return sum_spent(connection, pipeline, run_id, now, world)

    def spent_at(self, account: str, now: float) -> Spent:
        """What was spent or reserved at an account, by all pipelines: today (UTC), and ever."""
        with reading(self._engine) as connection:
            return sum_account(connection, account, now)

    def _apply(self, task: Task, event: Event, **values: Any) -> Move:
        with self._engine.begin() as connection:
            return make_move(connection, task, event, values)

    def _retried(self, record: Callable[[sa.Connection], T]) -> T:
        """One transaction, made again if another one gave the same number or id at the same moment."""
        for _ in range(_TRIES - 1):
            with suppress(IntegrityError), self._engine.begin() as connection:
                return record(connection)
        with self._engine.begin() as connection:
            return record(connection)


@lru_cache(maxsize=8)
def open_ledger(url: str) -> Ledger:
    """The ledger at this URL, opened once per process; created or migrated on first use."""
    engine = open_engine(url)
    # Closing the last connection makes SQLite fold its log into the file, where forgotten result URLs leave no bytes.
    atexit.register(engine.dispose)
    return Ledger(engine)
