"""Submitting the rows of one provider account, and leaving it alone while it takes none."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager

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
from pixverse_dagster.core.task import AccountHold, HoldCause, Place, Task
from pixverse_dagster.media.reading import ImageUnread
from pixverse_dagster.policy.advice import describe_end, describe_refusal
from pixverse_dagster.policy.plan import SUBMITTED, PlanLine
from pixverse_dagster.stages.balance import look_first
from pixverse_dagster.stages.places import BUDGET_SECONDS, Places
from pixverse_dagster.stages.resolve import ask_again_at, record_acceptance, resolve_unknown
from pixverse_dagster.stages.sending import NotNow, Sending
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submission import Submission, not_sent
from pixverse_dagster.stages.thumbnails import Thumbnails
from pixverse_dagster.stages.waiting import Workers
from pixverse_dagster.transport.client import ProviderClient

STOPPED = "the run was stopped"
_NO_RESOURCE_SECONDS = 60
_UNREAD_SECONDS = 300
_ALONE_SECONDS = 1800
"""A row is tried again after so long that meets trouble with its account where others meet none."""
_OF_ACCOUNT = (NotSent, RateLimited, Unauthorized, OutOfCredit)
_CAUSES: dict[type[PixverseError], HoldCause] = {
    Unauthorized: HoldCause.KEY,
    OutOfCredit: HoldCause.BALANCE,
    NotSent: HoldCause.UNREACHABLE,
}


class AccountSubmitter:
    """Submits the rows of one provider account, in threads: `rows` are those that were started.

    Trouble with the key, the balance, the pace or the way there is the account's: no other row is sent in this run,
    and all processes leave the account alone for a while. After trouble one row goes ahead, and the others follow
    when it was accepted. What is said of a row is the row's.
    """

    def __init__(self, session: Session, provider: str, places: Places) -> None:
        self.provider = provider
        self._session = session
        self._places = places
        self._client = session.clients.get(provider)
        self._workers = Workers(self._client.sender.limits.max_concurrency if self._client else 1)
        self._account = self._client.account if self._client else ""
        self._key = ""
        self._stopped = False
        self._trouble = self._client.unusable if self._client else ""
        self._busy = ""
        self._hold = session.ledger.accounts.held(self._account, session.clock(), session.options.pace.longest_hold)
        if self._client and not self._client.unusable:
            self._key = self._client.provider.fingerprint(session.ledger.salt)
            session.ledger.accounts.see_key(self._account, self._key, session.clock())
        if self._hold.forbids(session.clock()):
            self._busy = self._hold.reason
        self.rows: dict[str, Future[Submission]] = {}
        self._paying: set[str] = set()
        self._thumbnails = Thumbnails(session)
        self._lock = threading.RLock()
        self._ahead = threading.Lock()
        self._looking = threading.Lock()
        self._looked = False

    def start(self, rows: Sequence[tuple[Row, PlanLine]]) -> None:
        """Begin to submit these rows."""
        for row, line in rows:
            self.rows[row.id] = self._workers.submit(self._submit, row, line)

    def close(self, *, stop: bool) -> None:
        """Send nothing further; `stop` also wakes those that wait for their turn to send."""
        if stop:
            with self._lock:
                self._stopped = True
            if self._client:
                self._client.sender.stop()

    def finish(self) -> None:
        """Wait for what may have left until its answer is recorded, and for nothing else; after `close`."""
        with self._lock:
            paying = [self.rows[row] for row in self._paying]
        wait(paying)
        self._workers.leave()
        self._thumbnails.close()

    def _submit(self, row: Row, line: PlanLine) -> Submission:
        try:
            submission = self._decide(row, line)
        finally:
            with self._lock:
                self._paying.discard(row.id)
        if submission.sent:
            self._thumbnails.add(row)
        return submission

    def _begin(self, row: Row) -> None:
        """Asked with the permit to send: meanwhile others have had answers. From here on, the row is waited for."""
        with self._lock:
            self._check_open()
            self._paying.add(row.id)

    def _decide(self, row: Row, line: PlanLine) -> Submission:
        known = line.task
        if line.verdict in SUBMITTED:
            return self._submit_anew(row, known)
        self._places.leave(row.id)
        if known is not None and known.state in OPEN_SUBMIT and not self._stopped:
            with self._lock:
                self._paying.add(row.id)
            known = resolve_unknown(self._session, known)
        words = describe_end(known, self._session.commands) if known else ""
        if known is not None and known.state is TaskState.FORGOTTEN:
            return Submission(row.id, known, skipped=words)  # as a person wanted it: nothing that fails a run
        return Submission(row.id, known, problem=words)

    def _submit_anew(self, row: Row, known: Task | None) -> Submission:
        client = self._client
        if client is None:
            why = f"no resource for {self.provider!r}: add one"
            self._places.keep(row, why, _NO_RESOURCE_SECONDS)
            return Submission(row.id, known, problem=not_sent(row.id, why))
        try:
            self._check_open()
            self._look_first(client)
            self._check_open()
            sending = Sending(self._session, client, row, lambda: self._begin(row))
        except (NotNow, *_OF_ACCOUNT) as error:
            return self._not_accepted(row, known, None, error)
        except ImageUnread as error:
            self._places.keep(row, str(error), _UNREAD_SECONDS)
            return Submission(row.id, known, problem=not_sent(row.id, str(error)))
        except InvalidRow as error:
            self._places.leave(row.id)
            return Submission(row.id, known, problem=f"row {row.id!r}: {error}")
        with self._turn():
            return self._send(client, row, known, sending)

    def _look_first(self, client: ProviderClient) -> None:
        """Try the key before anything is claimed with it; those that come meanwhile wait for what is found."""
        with self._looking:
            if not self._looked:
                look_first(self._session, client)
                self._looked = True

    @contextmanager
    def _turn(self) -> Generator[None]:
        """One row alone, while it is not known whether the account takes rows again; else all at once."""
        with self._ahead:
            if self._hold.refusals:
                yield
                return
        yield

    def _check_open(self) -> None:
        if self._stopped or self._session.stopped():
            raise NotNow(STOPPED)
        if self._trouble:
            raise NotNow(self._trouble)
        if self._busy:
            raise NotNow(self._busy, waits=True)

    def _send(self, client: ProviderClient, row: Row, known: Task | None, sending: Sending) -> Submission:
        session = self._session
        try:
            accepted = client.submit(sending.begin)
        except (NotNow, NoSlot, Paused, RowChanged, OverBudget, Refused, NotSent) as error:
            return self._not_accepted(row, known, sending, error)
        except OutcomeUnknown as error:
            self._places.written(row.id)
            task = resolve_unknown(session, sending.doubt(str(error), ask_again_at(session, client)))
        except BaseException as error:
            if sending.task is None:
                raise
            self._places.written(row.id)
            why = f"the submit was interrupted ({type(error).__name__}); it may have left"
            sending.doubt(why, ask_again_at(session, client))
            raise
        else:
            self._places.written(row.id)
            try:
                task = record_acceptance(session, sending.claimed, accepted)
            except PixverseError as error:
                return Submission(row.id, sending.claimed, sent=True, problem=str(error))
            self._speed_up()
        return Submission(row.id, task, sent=True, problem=describe_end(task, session.commands))

    def _not_accepted(self, row: Row, known: Task | None, sending: Sending | None, error: Exception) -> Submission:
        """Nothing was paid. The claim, if there is one, is given back, and with it the row has its place again."""
        place = self._find_place(row, error, sending)
        claimed = sending.give_back(str(error), place) if sending else None
        if claimed is None:
            if not self._session.stopped():
                self._places.settle(row.id, place)
        else:
            self._places.written(row.id)
        task, commands = claimed or known, self._session.commands
        if isinstance(error, NotNow) and error.answer is not None:
            return Submission(row.id, error.answer, problem=describe_end(error.answer, commands))
        if isinstance(error, RowChanged):
            return Submission(row.id, task, skipped=f"row {row.id!r}: {error}")
        if isinstance(error, NoSlot | Paused | RateLimited) or (isinstance(error, NotNow) and error.waits):
            with self._lock:
                self._busy = self._busy or str(error)
            return Submission(row.id, task, waits=self._busy)
        if claimed is None:
            return Submission(row.id, task, problem=not_sent(row.id, str(error), kept=place is not None))
        words = describe_refusal(claimed, place, unclear=_is_unclear(error))
        return Submission(row.id, claimed, sent=True, problem=words)

    def _find_place(self, row: Row, error: Exception, sending: Sending | None) -> Place | None:
        """The place that the row keeps after this; None if it leaves the queue."""
        if isinstance(error, RowChanged) or (isinstance(error, NotNow) and error.answer is not None):
            return None
        if self._session.stopped():
            return None  # as a person wants it
        if isinstance(error, _OF_ACCOUNT) and not self._stopped:
            return self._find_place_after_trouble(row, error)
        if isinstance(error, Refused):
            return self._find_place_after_refusal(row, error, sending)
        return self._places.make(row, str(error), BUDGET_SECONDS if isinstance(error, OverBudget) else 0)

    def _find_place_after_refusal(self, row: Row, error: Refused, sending: Sending | None) -> Place | None:
        """None where it is final, but for images that the provider may have lost: those are brought there anew."""
        if not isinstance(error, _OF_ACCOUNT) and sending is not None and sending.forget_reused():
            return self._places.make(row, f"its images are uploaded anew: {error}")
        return self._places.make_last(row, str(error)) if _is_unclear(error) else None

    def _find_place_after_trouble(self, row: Row, error: PixverseError) -> Place:
        """Another row goes ahead after the rest: should this one be what is wrong, it keeps none from its turn."""
        with self._lock:
            is_well = not (self._hold.refusals or self._busy or self._trouble)
        if is_well and self._places.had_trouble(row, str(error)):
            # Others were accepted since it was told the same: then it is alone in that.
            return self._places.make(row, str(error), _ALONE_SECONDS)
        return self._places.make_after_trouble(row, str(error), 2 * self._rest(error))

    def _rest(self, error: PixverseError) -> float:
        """Leave the account alone, in every process: the sender has already tried patiently. For how many seconds."""
        session, now = self._session, self._session.clock()
        with self._lock:
            if self._busy or self._trouble:
                return max(self._hold.until - now, 0.0)
            rest = session.options.pace.hold_wait(self._hold.refusals)
            cause, reason = _CAUSES.get(type(error), HoldCause.PACE), str(error)
            if isinstance(error, RateLimited):
                # However long it asks for: one row tries earlier, and is told again.
                rest = min(max(rest, error.retry_after_seconds or 0), session.options.pace.longest_hold)
                reason = f"{self.provider} asked to slow down: left alone for {rest:.0f} s"
                self._busy = reason
            else:
                self._trouble = reason
            self._hold = AccountHold(now + rest, self._hold.refusals + 1, reason, cause, self._key)
        session.ledger.accounts.hold(self._account, self._hold, now, session.options.pace.longest_hold)
        return rest

    def _speed_up(self) -> None:
        with self._lock:
            forgiven = self._hold.refusals and not (self._busy or self._trouble)
            self._hold = AccountHold() if forgiven else self._hold
        if forgiven:
            self._session.ledger.accounts.release(self._account)


def _is_unclear(error: Exception) -> bool:
    """Whether it is a refusal that no code explains: it may be about the row, or about anything else."""
    return isinstance(error, Refused) and not isinstance(error, _OF_ACCOUNT) and not error.is_final
