"""Asking the providers about tasks that are due, for a bounded time, and recording what they say."""

from __future__ import annotations

import functools
import itertools
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pixverse_dagster.core.errors import NotSent, ReadFailed
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.outcomes import Failed, Missing, PollFact, Running, Succeeded
from pixverse_dagster.core.task import MoveRefused, QueuedRow, Task, latest
from pixverse_dagster.core.text import shorten
from pixverse_dagster.core.values import chunked
from pixverse_dagster.policy.deadlines import MISSING_NOTE, judge_answer
from pixverse_dagster.policy.identity import Standing
from pixverse_dagster.policy.retry import may_attempt
from pixverse_dagster.providers.base import TaskRef
from pixverse_dagster.stages.resolve import resolve_unknown
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.standing import find_standing, look_at_keys, set_aside, split_by_standing
from pixverse_dagster.transport.client import ProviderClient
from pixverse_dagster.transport.logs import get_logger

DUE_LIMIT = 2000
_RETRY = "attempt {} failed ({}): its retry is due"
_log = get_logger()


@dataclass(frozen=True)
class PollReport:
    """What one round of polling saw. `unread` polls failed, which says nothing about their tasks."""

    asked: int
    running: int
    succeeded: int
    ended: tuple[Task, ...]
    unread: int
    last_error: str = ""
    aside: str = ""
    """Which tasks are of another account, or of a key that is not known to be of the same one; empty if none are."""

    def __str__(self) -> str:
        text = (
            f"{self.asked} due: {self.running} running, {self.succeeded} ready, {len(self.ended)} ended without a clip"
        )
        text += f", {self.unread} could not be read ({self.last_error})" if self.unread else ""
        return f"{text}. {self.aside}".removesuffix(".") if self.aside else text


def poll_due(session: Session, within_seconds: float) -> PollReport:
    """Poll the tasks that are due, the longest overdue first; no request is started after `within_seconds`.

    Repeatable. Free, but for one case: a submit of unknown outcome may be replayed under its own id (`stages.resolve`),
    and is paid for then if it had never arrived.
    """
    deadline = time.monotonic() + within_seconds
    aside = look_at_keys(session)
    due = session.ledger.tasks.due(session.pipeline.name, session.clock(), DUE_LIMIT, session.worlds)
    tally: Counter[str] = Counter()
    ended: list[Task] = []
    errors: list[str] = []
    by_provider = itertools.groupby(sorted(due, key=lambda task: task.provider), key=lambda task: task.provider)
    batches: list[tuple[ProviderClient, Standing, list[Task]]] = []
    for provider, group in by_provider:
        client = session.clients.get(provider)
        if client is None:
            errors.append(f"no resource for provider {provider!r}")
            ended += _leave(session, group, errors[-1])
            continue
        # By themselves: what is said of another account's task is not to spoil the answer about one's own.
        for standing, of_one in split_by_standing(session, list(group)).items():
            batches += [(client, standing, batch) for batch in chunked(of_one, client.provider.POLL_BATCH)]
    batches.sort(key=lambda item: item[2][0].next_poll_at or 0)
    with ThreadPoolExecutor(max((client.sender.limits.max_concurrency for client, _, _ in batches), default=1)) as pool:
        ask = functools.partial(_poll_batch, session, deadline=deadline)
        for seen, error in pool.map(ask, *zip(*batches, strict=True)) if batches else ():
            errors += [error] if error else []
            tally.update(task.state for task in seen)
            ended += [task for task in seen if task.state is TaskState.FAILED or _is_lost(task)]
    _queue_retries(session, ended)
    asked = tally.total()
    return PollReport(
        asked=asked,
        running=tally[TaskState.SUBMITTED] + tally[TaskState.CLAIMED],
        succeeded=tally[TaskState.SUCCEEDED],
        ended=tuple(ended),
        unread=len(errors),
        last_error=errors[-1] if errors else "",
        aside=aside,
    )


def _leave(session: Session, tasks: Iterable[Task], why: str) -> list[Task]:
    """Put tasks that cannot be asked about out of the way of the others, which would never be reached behind them.

    A lease ends all the same: those whose outcome nobody can tell now, a person has to look at. Returns these.
    """
    need_person: list[Task] = []
    for task in tasks:
        if task.state is TaskState.SUBMITTED:
            session.ledger.keep_polling(task, why, session.clock() + session.options.pace.max_poll_seconds)
        elif _is_lost(after := resolve_unknown(session, task)):
            need_person.append(after)
    return need_person


def _queue_retries(session: Session, ended: Sequence[Task]) -> None:
    """Queue the rows whose failure the retry policy answers with another paid attempt."""
    ledger, pipeline, now = session.ledger, session.pipeline, session.clock()
    again = [
        QueuedRow(t.row, t.digest, t.provider, t.run_id, _RETRY.format(t.attempt, t.kind), now)
        for t in ended
        if t.state is TaskState.FAILED and may_attempt(ledger.tasks.claims(t), pipeline.options.retry)
    ]
    ledger.queue.add(pipeline.name, again, now)


def _is_lost(task: Task) -> bool:
    return task.state is TaskState.UNKNOWN and not task.resolves_itself


def _poll_batch(
    session: Session, client: ProviderClient, standing: Standing, batch: Sequence[Task], *, deadline: float
) -> tuple[list[Task], str]:
    """The tasks that an answer came for, as they are now, and why there was none for the others."""
    if time.monotonic() > deadline:
        return [], ""
    open_submits = [task for task in batch if task.state is not TaskState.SUBMITTED]
    seen = [resolve_unknown(session, task) for task in open_submits]
    asked = [task for task in batch if task.state is TaskState.SUBMITTED]
    if standing is Standing.FOREIGN:
        return seen + [set_aside(session, task) for task in asked], ""
    if not asked:
        return seen, ""
    try:
        facts = client.poll([TaskRef(task.task_id or "", task.request.outputs_asked()) for task in asked])
    except (ReadFailed, NotSent) as error:
        wait = session.options.pace.first_poll_seconds
        for task in asked:
            if standing is not Standing.OWN:
                set_aside(session, task)
                continue
            session.ledger.keep_polling(task, shorten(f"last poll failed: {error}", 300), session.clock() + wait)
        return seen, str(error)
    return seen + [_record(session, task, facts.get(task.task_id or "", Missing())) for task in asked], ""


def refresh(session: Session, task: Task) -> Task:
    """Ask once about one task and record the answer, new result URLs included. Raises ReadFailed or NotSent."""
    client = session.clients.get(task.provider)
    if client is None or task.task_id is None:
        raise ReadFailed(f"no resource for provider {task.provider!r}: the task cannot be asked about")
    if find_standing(session, task) is Standing.FOREIGN:
        raise ReadFailed(f"it is of account {task.account}, which is not the present one")
    fact = client.poll([TaskRef(task.task_id, task.request.outputs_asked())])[task.task_id]
    if isinstance(fact, Succeeded) and find_standing(session, task, fact) is Standing.OWN:
        return latest(session.ledger.succeed(task, fact, session.clock()))
    return task


def _record(session: Session, task: Task, fact: PollFact) -> Task:
    if find_standing(session, task, fact) is not Standing.OWN:
        return set_aside(session, task)
    now = session.clock()
    fact = judge_answer(task, fact, now, session.options.pace)
    if isinstance(fact, Succeeded):
        move = session.ledger.succeed(task, fact, now)
    elif isinstance(fact, Failed):
        move = session.ledger.fail(task, fact, now)
    else:
        note = fact.note if isinstance(fact, Running) else MISSING_NOTE
        move = session.ledger.keep_polling(task, note, now + session.options.pace.poll_wait(task.polls))
    if isinstance(move, MoveRefused):
        # Another process was faster: what it recorded stands, and is what this poll reports.
        _log.info("row %r: a poll that was overtaken (%s) changes nothing", task.row, move.event)
    return latest(move)
