"""Submitting rows, once each: claim in the ledger, send, record the answer before anything else happens."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from pixverse_dagster.budget import NOTHING_SPENT
from pixverse_dagster.clip import TaskState
from pixverse_dagster.errors import (
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
from pixverse_dagster.ledger import Hold, Intent, Task, Waiting
from pixverse_dagster.pipeline import Workshop
from pixverse_dagster.plan import SUBMITTED, Plan, PlanLine, Terms, Verdict, make_plan
from pixverse_dagster.prices import estimate_usd
from pixverse_dagster.prompts import Problem, Row
from pixverse_dagster.settlement import accept, ask_again_at, describe_trouble, settle
from pixverse_dagster.wire import Account

_NEW = "new, and asked for by the sensor that submits new rows"


@dataclass(frozen=True)
class Submission:
    """What became of one row. All is well, `waits` says why its turn has not come, or `problem` what is wrong."""

    row: str
    task: Task | None
    sent: bool = False
    problem: str = ""
    waits: str = ""


def submit_rows(shop: Workshop, keys: Sequence[str]) -> Generator[Submission]:
    """Submit these rows, yielding each as it settles. Billed at most once per request, whatever is repeated.

    A row with a task already keeps it. One row's failure is that row's; a provider that refuses the key or has no
    credit left is not asked again in this call. Rows whose account is busy go on the waiting list. Close the iterator
    to stop: what has left is waited for and recorded, nothing further leaves.
    """
    name, ledger = shop.pipeline.name, shop.ledger
    rows = {row.id: row for row in sorted(ledger.rows(name, keys).values(), key=lambda row: row.line)}
    yield from _unknown_rows(shop, [key for key in keys if key not in rows])
    by_provider: dict[str, list[PlanLine]] = {}
    over: list[str] = []
    for line in plan_rows(shop, rows.values()).lines:
        if line.verdict is Verdict.OVER_BUDGET:
            over.append(line.row)
            yield Submission(line.row, None, problem=f"row {line.row!r} {line.note}. Nothing was sent")
        else:
            by_provider.setdefault(rows[line.row].request.provider(), []).append(line)
    desks = [_Desk(shop, provider) for provider in by_provider]
    pools = [ThreadPoolExecutor(desk.concurrency) for desk in desks]
    waiting: list[Future[Submission]] = []
    finished = False
    try:
        for desk, pool in zip(desks, pools, strict=True):
            lines = by_provider[desk.provider]
            waiting += [pool.submit(desk.submit, rows[line.row], line) for line in lines]
        for done in as_completed(waiting):
            submission = done.result()
            over += [] if submission.waits else [submission.row]
            yield submission
        finished = True
    finally:
        # First nothing further leaves, whatever becomes of the ledger; then it is written down who waits, and that
        # whoever has a task, or needs a person now, is not offered to another run.
        for desk in desks:
            desk.close(stop=not finished)
        for pool in pools:
            pool.shutdown(cancel_futures=True)
        ledger.waiting.drop(name, over)
        ledger.waiting.add(name, [entry for desk in desks for entry in desk.waiting], shop.clock())


def plan_rows(shop: Workshop, rows: Iterable[Row], problems: Iterable[Problem] = ()) -> Plan:
    """What submitting these rows, given in table order, would do: what `plan` shows is what a submission goes by."""
    pipeline, ledger = shop.pipeline, shop.ledger
    rows = list(rows)
    spent = ledger.spent(pipeline.name, shop.run_id, shop.clock()) if pipeline.budget.limits else NOTHING_SPENT
    tasks = ledger.find(pipeline.name, keys=[row.id for row in rows])
    waits = {entry.row: entry.reason for entry in ledger.waiting.find(pipeline.name)}
    return make_plan(rows, problems, tasks, Terms(pipeline.prices, pipeline.budget, spent, pipeline.retry, waits))


def ask_for_new_rows(shop: Workshop, limit: int) -> tuple[list[str], Plan]:
    """Put rows whose request was never attempted on the waiting list, as far as the budget goes. Sends nothing.

    Returns their ids, and the plan that says why others were left.
    """
    name = shop.pipeline.name
    # Those that wait come first: what is left of the budget is theirs.
    waiting = shop.ledger.rows(name, [entry.row for entry in shop.ledger.waiting.find(name)])
    rows = shop.ledger.rows(name, shop.ledger.unsubmitted(name, limit))
    lines = plan_rows(shop, [*waiting.values(), *rows.values()]).lines
    plan = Plan(tuple(line for line in lines if line.row not in waiting))
    wanted = [line.row for line in plan.lines if line.verdict in SUBMITTED]
    shop.ledger.waiting.add(name, [wait(shop, rows[key], _NEW) for key in wanted], shop.clock())
    return wanted, plan


def wait(shop: Workshop, row: Row, reason: str) -> Waiting:
    """A row's place on the waiting list, as from now."""
    account = shop.account_name(row.request.provider())
    return Waiting(row.id, row.digest, account, shop.run_id, reason, shop.clock())


def find_room(shop: Workshop) -> dict[str, float]:
    """How many more tasks each of the shop's provider accounts takes now, by its name in the ledger."""
    now, waiting = shop.clock(), shop.ledger.waiting
    names = {shop.account_name(provider): account for provider, account in shop.accounts.items()}
    taken = waiting.open_tasks(list(names), now)
    room = {
        name: float("inf") if account.max_open_tasks is None else account.max_open_tasks - taken.get(name, 0)
        for name, account in names.items()
    }
    return {name: 0.0 if now < waiting.held(name).until else free for name, free in room.items()}


def _unknown_rows(shop: Workshop, keys: Sequence[str]) -> Iterator[Submission]:
    problems = {p.row: p for p in shop.ledger.problems(shop.pipeline.name)} if keys else {}
    for key in keys:
        why = f"is invalid: {problems[key]}" if key in problems else "is not in the prompt table as it was last read"
        yield Submission(key, None, problem=f"row {key!r} {why}. Nothing was sent")


class _Desk:
    """Submits the rows of one provider account."""

    def __init__(self, shop: Workshop, provider: str) -> None:
        self.provider = provider
        self._shop = shop
        self._account = shop.accounts.get(provider)
        self.concurrency = self._account.wire.limits.max_concurrency if self._account else 1
        self._name = shop.account_name(provider)
        self._closed = ""
        self._busy = ""
        self._hold = shop.ledger.waiting.held(self._name)
        if shop.clock() < self._hold.until:
            self._busy = self._hold.reason
        self.waiting: list[Waiting] = []
        self._lock = threading.Lock()

    def submit(self, row: Row, line: PlanLine) -> Submission:
        known = line.task
        if line.verdict in SUBMITTED:
            return self._submit_anew(row, known)
        if known is not None and known.state in {TaskState.CLAIMED, TaskState.UNKNOWN}:
            known = settle(self._shop, known)
        return Submission(row.id, known, problem=describe_trouble(known) if known else "")

    def close(self, *, stop: bool) -> None:
        """Send nothing further; `stop` also wakes those that stand in line to send."""
        if stop:
            self._closed = self._closed or "the run was stopped"
            if self._account:
                self._account.wire.stop()

    def _submit_anew(self, row: Row, known: Task | None) -> Submission:
        shop, account = self._shop, self._account
        if account is None or self._closed or shop.stopped():
            why = self._closed or ("the run was stopped" if account else f"no resource for {self.provider!r}: add one")
            return Submission(row.id, known, problem=f"row {row.id!r} was not sent: {why}")
        if self._busy:
            return self._wait(row, known, self._busy)
        try:
            body = row.request.body(lambda reference: self._wire_value(row, reference))
            task, mine = shop.ledger.claim(shop.pipeline.name, row, self._intent(account, row))
        except NoSlot as error:
            return self._wait(row, known, str(error))
        except (InvalidRow, OverBudget) as error:
            return Submission(row.id, known, problem=f"row {row.id!r}: {error}")
        if not mine:
            return Submission(row.id, task, problem=describe_trouble(task))
        return self._send(account, row, task, body)

    def _intent(self, account: Account, row: Row) -> Intent:
        shop, pipeline = self._shop, self._shop.pipeline
        return Intent(
            run_id=shop.run_id,
            now=shop.clock(),
            lease_seconds=pipeline.pace.claim_lease_seconds,
            estimate_usd=estimate_usd(row.request, pipeline.prices),
            budget=pipeline.budget,
            retry=pipeline.retry,
            account=self._name,
            max_open_tasks=account.max_open_tasks,
        )

    def _wire_value(self, row: Row, reference: str) -> str:
        return self._shop.images().wire_value(reference, row.images[reference], row.request.IMAGE_RULES)

    def _send(self, account: Account, row: Row, task: Task, body: dict[str, object]) -> Submission:
        shop, ledger = self._shop, self._shop.ledger
        try:
            accepted = account.submit(task.request, body, task.client_reference)
        except (Refused, NotSent) as error:
            task = ledger.refuse(task, str(error), late=not account.provider.REPLAYABLE)
            if isinstance(error, RateLimited):
                self._slow_down(error)
                return self._wait(row, task, str(error))
            if isinstance(error, Unauthorized | OutOfCredit | NotSent):
                self._closed = str(error)  # the answer would be the same for every row
        except OutcomeUnknown as error:
            task = settle(shop, ledger.doubt(task, str(error), ask_again_at(shop, account)))
        except BaseException as error:
            why = f"the submit was interrupted ({type(error).__name__}); it may have left"
            ledger.doubt(task, why, ask_again_at(shop, account))
            raise
        else:
            try:
                task = accept(shop, task, accepted)
            except PixverseError as error:
                return Submission(row.id, task, sent=True, problem=str(error))
            self._speed_up()
        return Submission(row.id, task, sent=True, problem=describe_trouble(task))

    def _wait(self, row: Row, task: Task | None, why: str) -> Submission:
        with self._lock:
            self._busy = self._busy or why
            self.waiting.append(wait(self._shop, row, self._busy))
        return Submission(row.id, task, waits=self._busy)

    def _slow_down(self, error: RateLimited) -> None:
        """Leave the account alone, in every process: the wire has already tried patiently."""
        shop = self._shop
        with self._lock:
            if self._busy:
                return
            rest = max(shop.pipeline.pace.hold_wait(self._hold.strikes), error.retry_after_seconds or 0)
            reason = f"{self.provider} asked to slow down: left alone for {rest:.0f} s"
            self._hold = Hold(shop.clock() + rest, self._hold.strikes + 1, reason)
            self._busy = reason
        shop.ledger.waiting.hold(self._name, self._hold)

    def _speed_up(self) -> None:
        with self._lock:
            forgiven, self._hold = self._hold.strikes, Hold() if not self._busy else self._hold
        if forgiven and not self._busy:
            self._shop.ledger.waiting.release(self._name)
