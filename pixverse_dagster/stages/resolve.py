"""Submits of unknown outcome: found out about by asking the provider, or left to a person."""

from __future__ import annotations

import logging
import threading

from pixverse_dagster.core.errors import InvalidRow, NotSent, OutcomeUnknown, PixverseError, ReadFailed, Refused
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.outcomes import Accepted, Missing
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.ledger import LedgerFault
from pixverse_dagster.providers.base import TaskRef
from pixverse_dagster.stages.session import Session
from pixverse_dagster.transport.client import ProviderClient

_FIRST_WAIT_SECONDS = 0.2
_log = logging.getLogger("pixverse_dagster")


def resolve_unknown(session: Session, task: Task) -> Task:
    """Find out about a submit whose answer is missing, as far as the provider can tell. Never pays twice.

    A claim that has outlived its lease becomes `unknown`; a younger one is left to its process. Where the caller chose
    the task's id: ask for it, and within the replay window send the identical request again under the same id, which
    the provider refuses unpaid if it knows it.
    """
    client = session.clients.get(task.provider)
    now, pace = session.clock(), session.options.pace
    if task.state is TaskState.CLAIMED:
        if now < task.claimed_at + pace.claim_lease_seconds:
            return task
        # Marked before the replay: should that process live after all, its refusal must not free the request.
        reason = "the process that submitted it died before an answer came. It may have been charged"
        task = session.ledger.mark_unknown(task, reason, ask_again_at(session, client) if client else None).task
    if client is None or not client.provider.REPLAYABLE or task.state is not TaskState.UNKNOWN:
        return task
    try:
        fact = client.poll([TaskRef(task.client_reference, task.request.outputs_asked())])[task.client_reference]
        if not isinstance(fact, Missing):
            return accept(session, task, Accepted(task.client_reference))
        if now < task.claimed_at + pace.replay_window_seconds:
            return accept(session, task, _replay(session, client, task))
        reason = "no answer came, the provider does not show the task, and it is too late to replay it safely"
        return session.ledger.mark_unknown(task, reason, next_poll_at=None).task
    except (Refused, NotSent, OutcomeUnknown, ReadFailed, InvalidRow) as error:
        # A refused replay proves nothing about the first request; asked again at the next poll.
        _log.info("row %r: its outcome is still unknown: %s", task.row, error)
        return session.ledger.mark_unknown(task, task.reason or str(error), now + pace.first_poll_seconds).task


def ask_again_at(session: Session, client: ProviderClient) -> float | None:
    """When to ask about an unknown outcome by itself: None where only a person can tell."""
    return session.clock() + session.options.pace.first_poll_seconds if client.provider.REPLAYABLE else None


def _replay(session: Session, client: ProviderClient, task: Task) -> Accepted:
    images, rules = session.images(), task.request.IMAGE_RULES
    body = task.request.body(lambda reference: images.as_sent(reference, task.images[reference], rules))
    return client.submit(task.request, body, task.client_reference)


def accept(session: Session, task: Task, accepted: Accepted) -> Task:
    """Record that the provider has the task, and when it is first polled.

    The task is paid for: a ledger that cannot be written is tried again, and if it stays so, the error carries the id.
    """
    now = session.clock()
    first_poll_at = now + session.options.pace.first_poll_wait(accepted.wait_seconds)
    waited, wait_seconds = 0.0, _FIRST_WAIT_SECONDS
    while True:
        try:
            return session.ledger.accept(task, accepted, now, first_poll_at).task
        except LedgerFault as error:
            _log.critical("row %r is task %s at %s, not yet recorded", task.row, accepted.task_id, task.provider)
            if waited >= session.options.pace.record_seconds:
                raise PixverseError(
                    f"row {task.row!r} was accepted and paid for as task {accepted.task_id} at {task.provider}, but "
                    f"the ledger cannot be written ({type(error).__name__}). Keep the id; when the ledger is back: "
                    f"{session.commands.tasks('resolve', task.row, '--adopt', accepted.task_id)}"
                ) from error
        threading.Event().wait(wait_seconds)
        waited, wait_seconds = waited + wait_seconds, wait_seconds * 2
