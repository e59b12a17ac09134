"""Submits whose outcome is open: settled by asking the provider, or described for the person who has to."""

from __future__ import annotations

import logging
import shlex
import threading

from pixverse_dagster.clip import Accepted, Missing, TaskState
from pixverse_dagster.errors import InvalidRow, NotSent, OutcomeUnknown, PixverseError, ReadFailed, Refused
from pixverse_dagster.ledger import LedgerFault, Task
from pixverse_dagster.pipeline import Workshop
from pixverse_dagster.providers.base import TaskRef
from pixverse_dagster.wire import Account

_FIRST_WAIT_SECONDS = 0.2

_log = logging.getLogger("pixverse_dagster")


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
        task = shop.ledger.doubt(task, reason, ask_again_at(shop, account) if account else None)
    if account is None or not account.provider.REPLAYABLE or task.state is not TaskState.UNKNOWN:
        return task
    try:
        fact = account.poll([TaskRef(task.client_reference, task.request.outputs_asked())])[task.client_reference]
        if not isinstance(fact, Missing):
            return accept(shop, task, Accepted(task.client_reference))
        if now < task.claimed_at + pace.replay_window_seconds:
            return accept(shop, task, _replay(shop, account, task))
        reason = "no answer came, the provider does not show the task, and it is too late to replay it safely"
        return shop.ledger.doubt(task, reason, next_poll_at=None)
    except (Refused, NotSent, OutcomeUnknown, ReadFailed, InvalidRow) as error:
        # A refused replay proves nothing about the first request; asked again at the next poll.
        _log.info("row %r: still not settled: %s", task.row, error)
        return shop.ledger.doubt(task, task.reason or str(error), now + pace.first_poll_seconds)


def ask_again_at(shop: Workshop, account: Account) -> float | None:
    """When to ask about an unknown outcome by itself: None where only a person can tell."""
    return shop.clock() + shop.pipeline.pace.first_poll_seconds if account.provider.REPLAYABLE else None


def _replay(shop: Workshop, account: Account, task: Task) -> Accepted:
    book, rules = shop.images(), task.request.IMAGE_RULES
    body = task.request.body(lambda reference: book.wire_value(reference, task.images[reference], rules))
    return account.submit(task.request, body, task.client_reference)


def accept(shop: Workshop, task: Task, accepted: Accepted) -> Task:
    """Record that the provider has the task, and when it is first polled.

    The task is paid for: a ledger that cannot be written is tried again, and if it stays so, the error carries the id.
    """
    now = shop.clock()
    first_poll_at = now + shop.pipeline.pace.first_poll_wait(accepted.wait_seconds)
    waited, wait_seconds = 0.0, _FIRST_WAIT_SECONDS
    while True:
        try:
            return shop.ledger.accept(task, accepted, now, first_poll_at)
        except LedgerFault as error:
            _log.critical("row %r is task %s at %s, not yet recorded", task.row, accepted.task_id, task.provider)
            if waited >= shop.pipeline.pace.record_seconds:
                raise PixverseError(
                    f"row {task.row!r} was accepted and paid for as task {accepted.task_id} at {task.provider}, but "
                    f"the ledger cannot be written ({type(error).__name__}). Keep the id; when the ledger is back: "
                    f"pixverse-dagster tasks resolve {shlex.quote(task.row)} --adopt {shlex.quote(accepted.task_id)}"
                ) from error
        threading.Event().wait(wait_seconds)
        waited, wait_seconds = waited + wait_seconds, wait_seconds * 2


def describe_trouble(task: Task) -> str:
    """Why a person should look at this task, what it means for their money and what to do; empty if all is well."""
    who = f"row {task.row!r} ({task.request.MODEL}, attempt {task.attempt})"
    stake = "a price that nobody publishes" if task.estimate_usd is None else f"about {task.estimate_usd:.3f} USD"
    match task.state:
        case TaskState.REFUSED:
            return f"{who} was not accepted: {task.reason} Fix the cause and run the row again"
        case TaskState.FAILED:
            return (
                f"{who} failed at the provider ({task.kind}): {task.reason}. Task {task.task_id} may have been "
                f"charged ({stake}). It is not submitted again by itself; to pay for another attempt: "
                f"pixverse-dagster tasks retry {shlex.quote(task.row)}"
            )
        case TaskState.UNKNOWN:
            return (
                f"{who} has an unknown outcome: {task.reason}. At stake: {stake}; "
                f"it counts as spent and is never sent again. Look for it in {task.provider}'s console, then: "
                f"{settling_command(task)}"
            )
        case TaskState.CLAIMED:
            return f"{who} is being submitted by run {task.run_id}; run it again when that run has ended"
        case TaskState.ABANDONED:
            return f"{who} was abandoned: {task.reason}"
        case _:
            return ""


def settling_command(task: Task) -> str:
    """What a person runs once the provider's console has told them about a submit of unknown outcome."""
    return f"pixverse-dagster tasks resolve {shlex.quote(task.row)} --adopt TASK_ID | --not-accepted | --abandon"
