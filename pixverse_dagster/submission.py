"""Submitting rows, once each: claim in the ledger, send, record the answer before anything else happens."""

from __future__ import annotations

import logging
import shlex
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from pixverse_dagster.budget import NOTHING_SPENT
from pixverse_dagster.clip import Accepted, Missing, TaskState
from pixverse_dagster.errors import (
    InvalidRow,
    NotSent,
    OutcomeUnknown,
    OutOfCredit,
    OverBudget,
    RateLimited,
    ReadFailed,
    Refused,
    Unauthorized,
)
from pixverse_dagster.ledger import Intent, Task
from pixverse_dagster.pipeline import Workshop
from pixverse_dagster.plan import Plan, Purse, Verdict, make_plan
from pixverse_dagster.prices import estimate_usd
from pixverse_dagster.prompts import Problem, Row
from pixverse_dagster.providers.base import TaskRef
from pixverse_dagster.wire import Account

_LIMITED_ROWS = 3
"""After so many rows in a row that the provider refused for their pace, the others are left for a later run."""

_log = logging.getLogger("pixverse_dagster")


@dataclass(frozen=True)
class Submission:
    """What became of one row. `problem` is empty when the row has a task that is under way or done."""

    row: str
    task: Task | None
    sent: bool = False
    problem: str = ""


def submit_rows(shop: Workshop, keys: Sequence[str]) -> Iterator[Submission]:
    """Submit these rows, yielding each as it settles. Billed at most once per request, whatever is repeated.

    A row with a task already keeps it. One row's failure is that row's; a provider that refuses the key or has no
    credit left is not asked again in this call.
    """
    name, ledger = shop.pipeline.name, shop.ledger
    rows = {row.id: row for row in sorted(ledger.rows(name, keys).values(), key=lambda row: row.line)}
    known = ledger.current(name, keys)
    yield from _unknown_rows(shop, [key for key in keys if key not in rows])
    by_provider: dict[str, list[Row]] = {}
    for line in plan_rows(shop, rows.values()).lines:
        if line.verdict is Verdict.OVER_BUDGET:
            yield Submission(line.row, None, problem=f"row {line.row!r} {line.note}. Nothing was sent")
        else:
            by_provider.setdefault(rows[line.row].request.provider(), []).append(rows[line.row])
    pools: list[ThreadPoolExecutor] = []
    waiting: list[Future[Submission]] = []
    try:
        for provider, batch in by_provider.items():
            account = shop.accounts.get(provider)
            desk = _Desk(shop, provider, account)
            pool = ThreadPoolExecutor(account.wire.limits.max_concurrency if account else 1)
            pools.append(pool)
            waiting += [pool.submit(desk.submit, row, known.get(row.id)) for row in batch]
        for done in as_completed(waiting):
            yield done.result()
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)


def plan_rows(shop: Workshop, rows: Iterable[Row], problems: Iterable[Problem] = ()) -> Plan:
    """What submitting these rows, given in table order, would do: what `plan` shows is what a submission goes by."""
    name, budget = shop.pipeline.name, shop.pipeline.budget
    rows = list(rows)
    spent = shop.ledger.spent(name, shop.run_id, shop.clock()) if budget.limits else NOTHING_SPENT
    tasks = shop.ledger.find(name, keys=[row.id for row in rows])
    return make_plan(rows, problems, tasks, Purse(shop.pipeline.prices, budget, spent))


def _unknown_rows(shop: Workshop, keys: Sequence[str]) -> Iterator[Submission]:
    problems = {p.row: p for p in shop.ledger.problems(shop.pipeline.name)} if keys else {}
    for key in keys:
        why = f"is invalid: {problems[key]}" if key in problems else "is not in the prompt table as it was last read"
        yield Submission(key, None, problem=f"row {key!r} {why}. Nothing was sent")


class _Desk:
    """Submits the rows of one provider account."""

    def __init__(self, shop: Workshop, provider: str, account: Account | None) -> None:
        self._shop = shop
        self._provider = provider
        self._account = account
        self._closed = threading.Event()
        self._why_closed = ""
        self._limited = 0

    def submit(self, row: Row, known: Task | None) -> Submission:
        if known is None or known.state is TaskState.REFUSED:
            return self._submit_anew(row, known)
        if known.state in {TaskState.CLAIMED, TaskState.UNKNOWN}:
            known = settle(self._shop, known)
        return Submission(row.id, known, problem=describe_trouble(known))

    def _submit_anew(self, row: Row, known: Task | None) -> Submission:
        shop, account = self._shop, self._account
        if account is None:
            why = f"there is no resource for provider {self._provider!r}: configure one"
            return Submission(row.id, known, problem=f"row {row.id!r} was not sent: {why}")
        if self._closed.is_set():
            return Submission(row.id, known, problem=f"row {row.id!r} was not sent: {self._why_closed}")
        try:
            body = row.request.body(lambda reference: self._wire_value(row, reference))
        except InvalidRow as error:
            return Submission(row.id, known, problem=f"row {row.id!r}: {error}")
        lease, price = shop.pipeline.pace.claim_lease_seconds, estimate_usd(row.request, shop.pipeline.prices)
        intent = Intent(shop.run_id, shop.clock(), lease, price, shop.pipeline.budget)
        try:
            task, mine = shop.ledger.claim(shop.pipeline.name, row, intent)
        except OverBudget as error:
            return Submission(row.id, known, problem=str(error))
        if mine:
            task = self._send(account, task, body)
        return Submission(row.id, task, sent=mine, problem=describe_trouble(task))

    def _wire_value(self, row: Row, reference: str) -> str:
        return self._shop.images().wire_value(reference, row.images[reference], row.request.IMAGE_RULES)

    def _send(self, account: Account, task: Task, body: dict[str, object]) -> Task:
        shop, ledger = self._shop, self._shop.ledger
        try:
            accepted = account.submit(task.request, body, task.client_reference)
        except (Refused, NotSent) as error:
            self._close_after(error)
            return ledger.refuse(task, str(error), late=not account.provider.REPLAYABLE)
        except OutcomeUnknown as error:
            return settle(shop, ledger.doubt(task, str(error), _ask_again_at(shop, account)))
        except BaseException as error:
            why = f"the submit was interrupted ({type(error).__name__}); it may have left"
            ledger.doubt(task, why, _ask_again_at(shop, account))
            raise
        task = _accept(shop, task, accepted)
        self._limited = 0
        return task

    def _close_after(self, error: Refused | NotSent) -> None:
        """Stop asking where the answer would be the same for every row."""
        self._limited += isinstance(error, RateLimited)
        hopeless = isinstance(error, Unauthorized | OutOfCredit | NotSent)
        if hopeless or self._limited >= _LIMITED_ROWS:
            self._why_closed = str(error)
            self._closed.set()


def settle(shop: Workshop, task: Task) -> Task:
    """Find out about a submit whose answer is missing, as far as the provider can tell. Never pays twice.

    A claim that has outlived its lease becomes `unknown`; a younger one is left to its process. Where the caller chose
    the task's id: ask for it, and within the replay window send the identical request again under the same id, which
    the provider refuses unpaid if it knows it.
    """
    account = shop.accounts.get(task.provider)
    now, pace = shop.clock(), shop.pipeline.pace
    if task.state is TaskState.CLAIMED:
        if now < task.claimed_at + pace.claim_lease_seconds:
            return task
        # Doubt comes before the replay: should that process live after all, its refusal must not free the request.
        reason = "the process that submitted it died before an answer came. It may have been charged"
        task = shop.ledger.doubt(task, reason, _ask_again_at(shop, account) if account else None)
    if account is None or not account.provider.REPLAYABLE or task.state is not TaskState.UNKNOWN:
        return task
    try:
        fact = account.poll([TaskRef(task.client_reference, task.request.outputs_asked())])[task.client_reference]
        if not isinstance(fact, Missing):
            return _accept(shop, task, Accepted(task.client_reference))
        if now < task.claimed_at + pace.replay_window_seconds:
            return _accept(shop, task, _replay(shop, account, task))
        reason = "no answer came, the provider does not show the task, and it is too late to replay it safely"
        return shop.ledger.doubt(task, reason, next_poll_at=None)
    except (Refused, NotSent, OutcomeUnknown, ReadFailed, InvalidRow) as error:
        # A refused replay proves nothing about the first request; asked again at the next poll.
        _log.info("row %r: still not settled: %s", task.row, error)
        return shop.ledger.doubt(task, task.reason or str(error), now + pace.first_poll_seconds)


def _ask_again_at(shop: Workshop, account: Account) -> float | None:
    return shop.clock() + shop.pipeline.pace.first_poll_seconds if account.provider.REPLAYABLE else None


def _replay(shop: Workshop, account: Account, task: Task) -> Accepted:
    book, rules = shop.images(), task.request.IMAGE_RULES
    body = task.request.body(lambda reference: book.wire_value(reference, task.images[reference], rules))
    return account.submit(task.request, body, task.client_reference)


def _accept(shop: Workshop, task: Task, accepted: Accepted) -> Task:
    now = shop.clock()
    return shop.ledger.accept(task, accepted, now, now + shop.pipeline.pace.first_poll_wait(accepted.wait_seconds))


def describe_trouble(task: Task) -> str:
    """Why a person should look at this task, what it means for their money and what to do; empty if all is well."""
    who = f"row {task.row!r} ({task.request.MODEL}, attempt {task.attempt})"
    price = "" if task.estimate_usd is None else f", about {task.estimate_usd:.3f} USD"
    match task.state:
        case TaskState.REFUSED:
            return f"{who} was not accepted: {task.reason} Fix the cause and run the row again"
        case TaskState.FAILED:
            return (
                f"{who} failed at the provider ({task.kind}): {task.reason}. Task {task.task_id}{price} may have been "
                "charged. It is not submitted again; raise the row's take to pay for another try"
            )
        case TaskState.UNKNOWN:
            return (
                f"{who} has an unknown outcome: {task.reason}. At stake{price or ', a price that nobody publishes'}; "
                f"it counts as spent and is never sent again. Look for it in {task.provider}'s console, then: "
                f"pixverse-dagster tasks resolve {shlex.quote(task.row)} --adopt TASK_ID | --not-accepted | --abandon"
            )
        case TaskState.CLAIMED:
            return f"{who} is being submitted by run {task.run_id}; run it again when that run has ended"
        case TaskState.ABANDONED:
            return f"{who} was abandoned: {task.reason}"
        case _:
            return ""
