"""Submitting rows, once each: permit, claim, call, and the record of the answer before anything else."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

from pixverse_dagster.core.errors import (
    InvalidRow,
    NoSlot,
    NotSent,
    OutcomeUnknown,
    OutOfCredit,
    OverBudget,
    Paused,
    PixverseError,
    RateLimited,
    Refused,
    RowChanged,
    Unauthorized,
)
from pixverse_dagster.core.lifecycle import OPEN_SUBMIT, TaskState
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import QueuedRow, RateLimitHold, Task
from pixverse_dagster.policy.advice import describe_trouble
from pixverse_dagster.policy.plan import SUBMITTED, PlanLine, Verdict
from pixverse_dagster.stages.ask import end_paying
from pixverse_dagster.stages.queue import queued_row
from pixverse_dagster.stages.resolve import ask_again_at, record_acceptance, resolve_unknown
from pixverse_dagster.stages.sending import NotNow, Sending
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submission import Submission, ask_store_first
from pixverse_dagster.transport.client import ProviderClient


def submit_rows(session: Session, keys: Sequence[str]) -> Generator[Submission]:
    """Submit these rows, yielding each as soon as its outcome is known.

    Billed at most once per request, whatever is repeated: also where this ledger does not know of it, for the store is
    asked first, and what is there is taken in. Where nobody can tell, nothing is paid, and the row keeps its place in
    the queue if it has one.

    A row with a task already keeps it. One row's failure is that row's; a provider that refuses the key or has no
    credit left is not asked again in this call. Rows whose account is busy are queued. Raises StoreConflict, before
    anything is paid for, where the store is of an earlier or a later form. Close the iterator to stop: what has left is
    waited for and recorded, nothing further leaves.
    """
    name, ledger = session.pipeline.name, session.ledger
    ledger.worlds.set(name, session.worlds)
    rows = {row.id: row for row in sorted(ledger.rows.find(name, keys).values(), key=lambda row: row.line)}
    yield from _unknown_rows(session, [key for key in keys if key not in rows])
    by_provider: dict[str, list[PlanLine]] = {}
    done_with: list[str] = []
    # What the store has is taken in, and nothing is paid for that it could not keep or that others may have paid for.
    lines = yield from ask_store_first(session, rows)
    for line in lines:
        if line.verdict is Verdict.OVER_BUDGET:
            done_with.append(line.row)
            yield Submission(line.row, None, problem=f"row {line.row!r} {line.note}. Nothing was sent")
        else:
            by_provider.setdefault(rows[line.row].request.provider(), []).append(line)
    submitters = [_AccountSubmitter(session, provider) for provider in by_provider]
    pools = [ThreadPoolExecutor(submitter.concurrency) for submitter in submitters]
    pending: list[Future[Submission]] = []
    finished = sent = False
    try:
        for submitter, pool in zip(submitters, pools, strict=True):
            lines = by_provider[submitter.provider]
            pending += [pool.submit(submitter.submit, rows[line.row], line) for line in lines]
        for done in as_completed(pending):
            submission = done.result()
            done_with += [] if submission.waits else [submission.row]
            sent = sent or submission.sent
            yield submission
        finished = True
    finally:
        # First nothing further is sent, whatever becomes of the ledger. Then rows that wait are queued, and rows that
        # have a task now, or need a person, are removed from the queue.
        for submitter in submitters:
            submitter.close(stop=not finished)
        for pool in pools:
            pool.shutdown(cancel_futures=True)
        ledger.queue.drop(name, done_with)
        ledger.queue.add(name, [entry for submitter in submitters for entry in submitter.queued], session.clock())
        if sent:
            end_paying(session)


def _unknown_rows(session: Session, keys: Sequence[str]) -> Iterator[Submission]:
    problems = {p.row: p for p in session.ledger.rows.problems(session.pipeline.name)} if keys else {}
    for key in keys:
        why = f"is invalid: {problems[key]}" if key in problems else "is not in the prompt table as it was last read"
        yield Submission(key, None, problem=f"row {key!r} {why}. Nothing was sent")


class _AccountSubmitter:
    """Submits the rows of one provider account."""

    def __init__(self, session: Session, provider: str) -> None:
        self.provider = provider
        self._session = session
        self._client = session.clients.get(provider)
        self.concurrency = self._client.sender.limits.max_concurrency if self._client else 1
        self._account = self._client.account if self._client else ""
        self._closed = ""
        self._busy = ""
        self._hold = session.ledger.accounts.held(self._account)
        if self._client and not self._client.unusable:
            key = self._client.provider.fingerprint(session.ledger.salt)
            session.ledger.accounts.see_key(self._account, key, session.clock())
        if session.clock() < self._hold.until:
            self._busy = self._hold.reason
        self.queued: list[QueuedRow] = []
        self._lock = threading.Lock()

    def submit(self, row: Row, line: PlanLine) -> Submission:
        known = line.task
        if line.verdict in SUBMITTED:
            return self._submit_anew(row, known)
        if known is not None and known.state in OPEN_SUBMIT:
            known = resolve_unknown(self._session, known)
        words = describe_trouble(known, self._session.commands) if known else ""
        if known is not None and known.state is TaskState.FORGOTTEN:
            return Submission(row.id, known, skipped=words)  # as a person wanted it: nothing that fails a run
        return Submission(row.id, known, problem=words)

    def close(self, *, stop: bool) -> None:
        """Send nothing further; `stop` also wakes those that wait for their turn to send."""
        if stop:
            self._closed = self._closed or "the run was stopped"
            if self._client:
                self._client.sender.stop()

    def _submit_anew(self, row: Row, known: Task | None) -> Submission:
        client = self._client
        if client is None:
            return self._not_sent(row, known, f"no resource for {self.provider!r}: add one")
        try:
            self._check_open()
            sending = Sending(self._session, client, row, self._check_open)
        except NotNow as error:
            return self._not_now(row, known, error)
        except InvalidRow as error:
            return Submission(row.id, known, problem=f"row {row.id!r}: {error}")
        return self._send(client, row, known, sending)

    def _check_open(self) -> None:
        """Asked before the row is looked at, and again with the permit: meanwhile others have had answers."""
        if self._closed or self._session.stopped():
            raise NotNow(self._closed or "the run was stopped")
        if self._busy:
            raise NotNow(self._busy, waits=True)

    def _send(self, client: ProviderClient, row: Row, known: Task | None, sending: Sending) -> Submission:
        session = self._session
        try:
            accepted = client.submit(sending.begin)
        except (NotNow, NoSlot, Paused, RowChanged, OverBudget, Refused, NotSent) as error:
            return self._not_accepted(row, known, sending.give_back(str(error)), error)
        except OutcomeUnknown as error:
            task = resolve_unknown(session, sending.doubt(str(error), ask_again_at(session, client)))
        except BaseException as error:
            if sending.task is None:
                raise
            why = f"the submit was interrupted ({type(error).__name__}); it may have left"
            sending.doubt(why, ask_again_at(session, client))
            raise
        else:
            try:
                task = record_acceptance(session, sending.claimed, accepted)
            except PixverseError as error:
                return Submission(row.id, sending.claimed, sent=True, problem=str(error))
            self._speed_up()
        return Submission(row.id, task, sent=True, problem=describe_trouble(task, session.commands))

    def _not_accepted(self, row: Row, known: Task | None, claimed: Task | None, error: Exception) -> Submission:
        """Nothing was paid: `claimed` is the claim that was given back, or None if there was none."""
        task, why = claimed or known, str(error)
        if isinstance(error, NotNow):
            return self._not_now(row, task, error)
        if isinstance(error, RowChanged):
            return Submission(row.id, task, skipped=f"row {row.id!r}: {why}")
        if isinstance(error, RateLimited):
            self._slow_down(error)
        if isinstance(error, NoSlot | Paused | RateLimited):
            return self._wait(row, task, why)
        if claimed is None:
            return self._not_sent(row, known, why)
        if isinstance(error, Unauthorized | OutOfCredit | NotSent):
            self._closed = why  # the answer would be the same for every row
        return Submission(row.id, claimed, sent=True, problem=describe_trouble(claimed, self._session.commands))

    def _not_now(self, row: Row, task: Task | None, error: NotNow) -> Submission:
        if error.answer is not None:
            return Submission(row.id, error.answer, problem=describe_trouble(error.answer, self._session.commands))
        return self._wait(row, task, str(error)) if error.waits else self._not_sent(row, task, str(error))

    def _not_sent(self, row: Row, task: Task | None, why: str) -> Submission:
        return Submission(row.id, task, problem=f"row {row.id!r} was not sent: {why}")

    def _wait(self, row: Row, task: Task | None, why: str) -> Submission:
        with self._lock:
            self._busy = self._busy or why
            self.queued.append(queued_row(self._session, row, self._busy))
        return Submission(row.id, task, waits=self._busy)

    def _slow_down(self, error: RateLimited) -> None:
        """Leave the account alone, in every process: the sender has already tried patiently."""
        session = self._session
        with self._lock:
            if self._busy:
                return
            rest = max(session.options.pace.hold_wait(self._hold.refusals), error.retry_after_seconds or 0)
            reason = f"{self.provider} asked to slow down: left alone for {rest:.0f} s"
            self._hold = RateLimitHold(session.clock() + rest, self._hold.refusals + 1, reason)
            self._busy = reason
        session.ledger.accounts.hold(self._account, self._hold)

    def _speed_up(self) -> None:
        with self._lock:
            forgiven, self._hold = self._hold.refusals, RateLimitHold() if not self._busy else self._hold
        if forgiven and not self._busy:
            self._session.ledger.accounts.release(self._account)
