"""Submitting rows, once each: claim in the ledger, send, record the answer before anything else happens."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from pixverse_dagster.budget import NOTHING_SPENT
from pixverse_dagster.clip import TaskState
from pixverse_dagster.errors import (
    InvalidRow,
    NotSent,
    OutcomeUnknown,
    OutOfCredit,
    OverBudget,
    PixverseError,
    RateLimited,
    Refused,
    Unauthorized,
)
from pixverse_dagster.ledger import Intent, Task
from pixverse_dagster.pipeline import Workshop
from pixverse_dagster.plan import Plan, Purse, Verdict, make_plan
from pixverse_dagster.prices import estimate_usd
from pixverse_dagster.prompts import Problem, Row
from pixverse_dagster.settlement import accept, ask_again_at, describe_trouble, settle
from pixverse_dagster.wire import Account

_LIMITED_ROWS = 3
"""After so many rows in a row that the provider refused for their pace, the others are left for a later run."""


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
            try:
                task = self._send(account, task, body)
            except PixverseError as error:
                return Submission(row.id, task, sent=True, problem=str(error))
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
            return settle(shop, ledger.doubt(task, str(error), ask_again_at(shop, account)))
        except BaseException as error:
            why = f"the submit was interrupted ({type(error).__name__}); it may have left"
            ledger.doubt(task, why, ask_again_at(shop, account))
            raise
        task = accept(shop, task, accepted)
        self._limited = 0
        return task

    def _close_after(self, error: Refused | NotSent) -> None:
        """Stop asking where the answer would be the same for every row."""
        self._limited += isinstance(error, RateLimited)
        hopeless = isinstance(error, Unauthorized | OutOfCredit | NotSent)
        if hopeless or self._limited >= _LIMITED_ROWS:
            self._why_closed = str(error)
            self._closed.set()
