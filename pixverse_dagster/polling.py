"""Asking the providers about tasks that are due, within a time budget, and recording what they say."""

from __future__ import annotations

import functools
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pixverse_dagster.clip import Ended, FailureKind, Finished, Missing, PollFact, Running, TaskState
from pixverse_dagster.errors import NotSent, ReadFailed
from pixverse_dagster.ledger import Task, Waiting, chunked
from pixverse_dagster.pace import Pace
from pixverse_dagster.pipeline import Workshop
from pixverse_dagster.providers.base import TaskRef
from pixverse_dagster.retry import may_attempt
from pixverse_dagster.settlement import settle
from pixverse_dagster.wire import Account

DUE_LIMIT = 2000
_MISSING = "the provider does not show the task"


@dataclass(frozen=True)
class PollReport:
    """What one round of polling saw. `unread` polls failed, which says nothing about their tasks."""

    asked: int
    running: int
    succeeded: int
    ended: tuple[Task, ...]
    unread: int
    last_error: str = ""

    def __str__(self) -> str:
        text = (
            f"{self.asked} due: {self.running} running, {self.succeeded} ready, {len(self.ended)} ended without a clip"
        )
        return text + (f", {self.unread} could not be read ({self.last_error})" if self.unread else "")


def poll_due(shop: Workshop, budget_seconds: float) -> PollReport:
    """Poll the tasks that are due, the longest overdue first, starting no request after the budget.

    Free and repeatable.
    """
    deadline = time.monotonic() + budget_seconds
    due = shop.ledger.due(shop.pipeline.name, shop.clock(), DUE_LIMIT)
    tally: Counter[str] = Counter()
    ended: list[Task] = []
    errors: list[str] = []
    by_provider = itertools.groupby(sorted(due, key=lambda task: task.provider), key=lambda task: task.provider)
    batches: list[tuple[Account, list[Task]]] = []
    for provider, group in by_provider:
        account = shop.accounts.get(provider)
        if account is None:
            errors.append(f"no resource for provider {provider!r}")
            for task in group:
                # Out of the way of the others, which would never be reached behind them.
                shop.ledger.keep_polling(task, errors[-1], shop.clock() + shop.pipeline.pace.max_poll_seconds)
            continue
        batches += [(account, batch) for batch in chunked(group, account.provider.POLL_BATCH)]
    batches.sort(key=lambda item: item[1][0].next_poll_at or 0)
    with ThreadPoolExecutor(max((a.wire.limits.max_concurrency for a, _ in batches), default=1)) as pool:
        ask = functools.partial(_poll_batch, shop, deadline=deadline)
        for seen, error in pool.map(ask, *zip(*batches, strict=True)) if batches else ():
            errors += [error] if error else []
            tally.update(task.state for task in seen)
            ended += [task for task in seen if task.state is TaskState.FAILED or _is_lost(task)]
    _let_retries_wait(shop, ended)
    asked = tally.total()
    return PollReport(
        asked=asked,
        running=tally[TaskState.SUBMITTED] + tally[TaskState.CLAIMED],
        succeeded=tally[TaskState.SUCCEEDED],
        ended=tuple(ended),
        unread=len(errors),
        last_error=errors[-1] if errors else "",
    )


def _let_retries_wait(shop: Workshop, ended: Sequence[Task]) -> None:
    """Put rows on the waiting list whose failure the retry policy answers with another paid attempt."""
    ledger, pipeline, now = shop.ledger, shop.pipeline, shop.clock()
    again = [
        Waiting(t.row, t.digest, t.account, t.run_id, f"attempt {t.attempt} failed ({t.kind}): its retry is due", now)
        for t in ended
        if t.state is TaskState.FAILED and may_attempt(ledger.attempts(t), pipeline.retry)
    ]
    ledger.waiting.add(pipeline.name, again, now)


def _is_lost(task: Task) -> bool:
    return task.state is TaskState.UNKNOWN and not task.settling


def _poll_batch(shop: Workshop, account: Account, batch: Sequence[Task], *, deadline: float) -> tuple[list[Task], str]:
    """The tasks that an answer came for, as they are now, and why there was none for the others."""
    if time.monotonic() > deadline:
        return [], ""
    unsettled = [task for task in batch if task.state is not TaskState.SUBMITTED]
    seen = [settle(shop, task) for task in unsettled]
    asked = [task for task in batch if task.state is TaskState.SUBMITTED]
    if not asked:
        return seen, ""
    try:
        facts = account.poll([TaskRef(task.task_id or "", task.request.outputs_asked()) for task in asked])
    except (ReadFailed, NotSent) as error:
        wait = shop.pipeline.pace.first_poll_seconds
        for task in asked:
            shop.ledger.keep_polling(task, f"last poll failed: {error}"[:300], shop.clock() + wait)
        return seen, str(error)
    return seen + [_record(shop, task, facts.get(task.task_id or "", Missing())) for task in asked], ""


def refresh(shop: Workshop, task: Task) -> Task:
    """Ask once about one task and record the answer, new result URLs included. Raises ReadFailed or NotSent."""
    account = shop.accounts.get(task.provider)
    if account is None or task.task_id is None:
        raise ReadFailed(f"no resource for provider {task.provider!r}: the task cannot be asked about")
    fact = account.poll([TaskRef(task.task_id, task.request.outputs_asked())])[task.task_id]
    if isinstance(fact, Finished):
        return shop.ledger.finish(task, fact, shop.clock())
    return task


def _record(shop: Workshop, task: Task, fact: PollFact) -> Task:
    now = shop.clock()
    fact = judge(task, fact, now, shop.pipeline.pace)
    if isinstance(fact, Finished):
        return shop.ledger.finish(task, fact, now)
    if isinstance(fact, Ended):
        return shop.ledger.end(task, fact, now)
    note = fact.note if isinstance(fact, Running) else _MISSING
    return shop.ledger.keep_polling(task, note, now + shop.pipeline.pace.poll_wait(task.polls))


def judge(task: Task, fact: PollFact, now: float, pace: Pace) -> PollFact:
    """What a poll fact means at this age of the task: past its limits, waiting becomes an end. Pure.

    Once is not enough for a task to be missing: after a long outage of ours, the first answer may be a provider's slip.
    """
    age = now - (task.submitted_at or task.claimed_at)
    if isinstance(fact, Running) and fact.so_far and age > pace.partial_seconds:
        return fact.so_far
    missed_before = task.note == _MISSING
    if isinstance(fact, Missing) and missed_before and age > min(pace.missing_seconds, pace.task_deadline_seconds):
        return Ended(FailureKind.LOST, f"the provider has not known the task for {age / 60:.0f} min")
    if isinstance(fact, Running) and age > pace.task_deadline_seconds:
        return Ended(FailureKind.LOST, f"still unfinished after {age / 3600:.1f} h")
    return fact
