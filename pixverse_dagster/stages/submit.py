"""Submitting rows, once each: claim in the ledger, send, record the answer before anything else happens."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from pixverse_dagster.core.errors import (
    InvalidRow,
    NoSlot,
    NotSent,
    OutcomeUnknown,
    OutOfCredit,
    OverBudget,
    PixverseError,
    RateLimited,
    Refused,
    Unauthorized,
)
from pixverse_dagster.core.lifecycle import OPEN_SUBMIT
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import QueuedRow, RateLimitHold, Task
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.policy.advice import describe_trouble
from pixverse_dagster.policy.plan import SUBMITTED, PlanLine, Verdict
from pixverse_dagster.policy.prices import estimate_usd
from pixverse_dagster.stages.plan import plan_rows
from pixverse_dagster.stages.queue import queued_row
from pixverse_dagster.stages.resolve import accept, ask_again_at, resolve_unknown
from pixverse_dagster.stages.session import Session
from pixverse_dagster.transport.client import ProviderClient


@dataclass(frozen=True)
class Submission:
    """What became of one row. All is well, `waits` says why its turn has not come, or `problem` what is wrong."""

    row: str
    task: Task | None
    sent: bool = False
    problem: str = ""
    waits: str = ""


def submit_rows(session: Session, keys: Sequence[str]) -> Generator[Submission]:
    """Submit these rows, yielding each as soon as its outcome is known.

    Billed at most once per request, whatever is repeated.

    A row with a task already keeps it. One row's failure is that row's; a provider that refuses the key or has no
    credit left is not asked again in this call. Rows whose account is busy are queued. Close the iterator
    to stop: what has left is waited for and recorded, nothing further leaves.
    """
    name, ledger = session.pipeline.name, session.ledger
    rows = {row.id: row for row in sorted(ledger.rows.find(name, keys).values(), key=lambda row: row.line)}
    yield from _unknown_rows(session, [key for key in keys if key not in rows])
    by_provider: dict[str, list[PlanLine]] = {}
    done_with: list[str] = []
    for line in plan_rows(session, rows.values()).lines:
        if line.verdict is Verdict.OVER_BUDGET:
            done_with.append(line.row)
            yield Submission(line.row, None, problem=f"row {line.row!r} {line.note}. Nothing was sent")
        else:
            by_provider.setdefault(rows[line.row].request.provider(), []).append(line)
    submitters = [_AccountSubmitter(session, provider) for provider in by_provider]
    pools = [ThreadPoolExecutor(submitter.concurrency) for submitter in submitters]
    pending: list[Future[Submission]] = []
    finished = False
    try:
        for submitter, pool in zip(submitters, pools, strict=True):
            lines = by_provider[submitter.provider]
            pending += [pool.submit(submitter.submit, rows[line.row], line) for line in lines]
        for done in as_completed(pending):
            submission = done.result()
            done_with += [] if submission.waits else [submission.row]
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
        self._name = session.account_name(provider)
        self._closed = ""
        self._busy = ""
        self._hold = session.ledger.accounts.held(self._name)
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
        return Submission(row.id, known, problem=describe_trouble(known, self._session.commands) if known else "")

    def close(self, *, stop: bool) -> None:
        """Send nothing further; `stop` also wakes those that wait for their turn to send."""
        if stop:
            self._closed = self._closed or "the run was stopped"
            if self._client:
                self._client.sender.stop()

    def _submit_anew(self, row: Row, known: Task | None) -> Submission:
        session, client = self._session, self._client
        if client is None or self._closed or session.stopped():
            why = self._closed or ("the run was stopped" if client else f"no resource for {self.provider!r}: add one")
            return Submission(row.id, known, problem=f"row {row.id!r} was not sent: {why}")
        if self._busy:
            return self._wait(row, known, self._busy)
        try:
            body = row.request.body(lambda reference: self._as_sent(row, reference))
            task, mine = session.ledger.claim(session.pipeline.name, row, self._terms(client, row))
        except NoSlot as error:
            return self._wait(row, known, str(error))
        except (InvalidRow, OverBudget) as error:
            return Submission(row.id, known, problem=f"row {row.id!r}: {error}")
        if not mine:
            return Submission(row.id, task, problem=describe_trouble(task, session.commands))
        return self._send(client, row, task, body)

    def _terms(self, client: ProviderClient, row: Row) -> ClaimTerms:
        session, pipeline = self._session, self._session.pipeline
        return ClaimTerms(
            run_id=session.run_id,
            now=session.clock(),
            lease_seconds=pipeline.options.pace.claim_lease_seconds,
            estimate_usd=estimate_usd(row.request, pipeline.options.prices),
            budget=pipeline.options.budget,
            retry=pipeline.options.retry,
            account=self._name,
            max_open_tasks=client.max_open_tasks,
        )

    def _as_sent(self, row: Row, reference: str) -> str:
        return self._session.images().as_sent(reference, row.images[reference], row.request.IMAGE_RULES)

    def _send(self, client: ProviderClient, row: Row, task: Task, body: dict[str, object]) -> Submission:
        session, ledger = self._session, self._session.ledger
        try:
            accepted = client.submit(task.request, body, task.client_reference)
        except (Refused, NotSent) as error:
            task = ledger.refuse(task, str(error), late=not client.provider.REPLAYABLE).task
            if isinstance(error, RateLimited):
                self._slow_down(error)
                return self._wait(row, task, str(error))
            if isinstance(error, Unauthorized | OutOfCredit | NotSent):
                self._closed = str(error)  # the answer would be the same for every row
        except OutcomeUnknown as error:
            task = resolve_unknown(session, ledger.mark_unknown(task, str(error), ask_again_at(session, client)).task)
        except BaseException as error:
            why = f"the submit was interrupted ({type(error).__name__}); it may have left"
            ledger.mark_unknown(task, why, ask_again_at(session, client))
            raise
        else:
            try:
                task = accept(session, task, accepted)
            except PixverseError as error:
                return Submission(row.id, task, sent=True, problem=str(error))
            self._speed_up()
        return Submission(row.id, task, sent=True, problem=describe_trouble(task, session.commands))

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
            rest = max(session.options.pace.hold_wait(self._hold.strikes), error.retry_after_seconds or 0)
            reason = f"{self.provider} asked to slow down: left alone for {rest:.0f} s"
            self._hold = RateLimitHold(session.clock() + rest, self._hold.strikes + 1, reason)
            self._busy = reason
        session.ledger.accounts.hold(self._name, self._hold)

    def _speed_up(self) -> None:
        with self._lock:
            forgiven, self._hold = self._hold.strikes, RateLimitHold() if not self._busy else self._hold
        if forgiven and not self._busy:
            self._session.ledger.accounts.release(self._name)
