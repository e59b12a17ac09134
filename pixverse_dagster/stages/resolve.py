"""Submits of unknown outcome: found out about by asking the provider, or left to a person."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from pixverse_dagster.core.errors import (
    InvalidRow,
    NotSent,
    OutcomeUnknown,
    Paused,
    PixverseError,
    ReadFailed,
    Refused,
)
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.outcomes import Accepted, Failed, Missing, PollFact, Succeeded
from pixverse_dagster.core.submit_body import fill_body
from pixverse_dagster.core.task import KeptApart, MoveRefused, Task, latest
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.claims import client_reference
from pixverse_dagster.policy.identity import Standing
from pixverse_dagster.providers.base import TaskRef
from pixverse_dagster.stages.sending import NotNow, lease_seconds
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.standing import find_standing, set_aside
from pixverse_dagster.transport.client import Outgoing, ProviderClient
from pixverse_dagster.transport.logs import get_logger

_FIRST_WAIT_SECONDS = 0.2
_CLAIMS_ASKED = 3
"""Of a request whose ledger was lost: a refused submit, or a failed attempt that was followed, is a claim as well."""
_NEVER_SENT = "it may never have been sent"
_FOUND_NOTE = "asked about: nothing shows yet that it was ever sent"
_log = get_logger()


def resolve_unknown(session: Session, task: Task) -> Task:
    """Find out about a submit whose answer is missing, as far as the provider can tell. Never pays twice.

    A claim that has outlived its lease becomes `unknown`, whether or not its provider can still be asked; a younger one
    is left to its process. Where the caller chose the task's id: ask for it, and within the replay window send the
    identical request again under the same id, which the provider refuses unpaid if it knows it.
    """
    client = session.clients.get(task.provider)
    now = session.clock()
    if task.state is TaskState.CLAIMED:
        if now < (task.lease_until or task.claimed_at):
            return task
        # Marked before the replay: should that process live after all, its refusal must not free the request.
        reason = "the process that submitted it died before an answer came. It may have been charged"
        task = latest(session.ledger.mark_unknown(task, reason, ask_again_at(session, client) if client else None))
    if task.state is not TaskState.UNKNOWN or task.next_poll_at is None:
        return task
    if client is None or not client.provider.REPLAYABLE:
        reason = task.reason or f"no answer came, and {task.provider} cannot be asked about it"
        return latest(session.ledger.mark_unknown(task, reason, None))
    if task.found_at is not None:
        return _ask_found(session, client, task)
    if find_standing(session, task) is not Standing.OWN:
        return _ask_aside(session, client, task)
    return _ask(session, client, task, now)


def _ask_aside(session: Session, client: ProviderClient, task: Task) -> Task:
    """Ask about a submit of another key: only a terminal answer shows that it arrived. It is never sent again."""
    if find_standing(session, task) is Standing.UNPROVEN:
        try:
            fact = client.poll([TaskRef(task.client_reference, task.request.outputs_asked())])[task.client_reference]
        except (ReadFailed, NotSent) as error:
            _log.info("row %r: its outcome is still unknown: %s", task.row, error)
        else:
            if find_standing(session, task, fact) is Standing.OWN:
                return record_acceptance(session, task, Accepted(task.client_reference))
    return set_aside(session, task)


def _ask_found(session: Session, client: ProviderClient, task: Task) -> Task:
    """Ask about a submit that a lost ledger may have made, under the references of its next few claims.

    Only a terminal answer shows that there was one. It is never sent again, and past the deadline it needs a person.
    """
    pace, now = session.options.pace, session.clock()
    if now > task.claimed_at + pace.task_deadline_seconds:
        return latest(session.ledger.mark_unknown(task, task.reason or _NEVER_SENT, None))
    if find_standing(session, task) is not Standing.FOREIGN:
        same = (session.ledger.id, task.pipeline, task.row, task.digest)
        later = [client_reference(*same, claim) for claim in range(task.claim + 1, task.claim + _CLAIMS_ASKED)]
        refs = [TaskRef(one, task.request.outputs_asked()) for one in (task.client_reference, *later)]
        facts = _poll_each(client, task, refs)
        # A later attempt follows a failure, so of several answers a finished one counts, else the last.
        found = sorted(facts.items(), key=lambda one: isinstance(one[1], Succeeded))
        for reference, fact in reversed(found):
            terminal = isinstance(fact, Succeeded) or (isinstance(fact, Failed) and fact.names_task)
            if terminal and find_standing(session, task, fact) is Standing.OWN:
                return record_acceptance(session, task, Accepted(reference))
    again_at = now + pace.aside_wait(now - task.claimed_at)
    return latest(session.ledger.keep_polling(task, _FOUND_NOTE, again_at))


def _poll_each(client: ProviderClient, task: Task, refs: Sequence[TaskRef]) -> dict[str, PollFact]:
    """What the provider says of each reference; where it cannot be read, nothing is known."""
    facts: dict[str, PollFact] = {}
    for batch in chunked(refs, client.provider.POLL_BATCH):
        try:
            facts |= client.poll(batch)
        except (ReadFailed, NotSent) as error:
            _log.info("row %r: its outcome is still unknown: %s", task.row, error)
    return facts


def _ask(session: Session, client: ProviderClient, task: Task, now: float) -> Task:
    pace = session.options.pace
    try:
        fact = client.poll([TaskRef(task.client_reference, task.request.outputs_asked())])[task.client_reference]
        if not isinstance(fact, Missing):
            return record_acceptance(session, task, Accepted(task.client_reference))
        if now < task.claimed_at + pace.replay_window_seconds:
            return record_acceptance(session, task, _replay(session, client, task))
        reason = "no answer came, the provider does not show the task, and it is too late to replay it safely"
        return latest(session.ledger.mark_unknown(task, reason, next_poll_at=None))
    except NotNow as error:
        return error.answer or task
    except (Refused, NotSent, OutcomeUnknown, ReadFailed, InvalidRow, Paused) as error:
        # A refused replay proves nothing about the first request; asked again at the next poll.
        _log.info("row %r: its outcome is still unknown: %s", task.row, error)
        again_at = now + pace.first_poll_seconds
        return latest(session.ledger.mark_unknown(task, task.reason or str(error), again_at))


def ask_again_at(session: Session, client: ProviderClient) -> float | None:
    """When to ask about an unknown outcome by itself: None where only a person can tell."""
    return session.clock() + session.options.pace.first_poll_seconds if client.provider.REPLAYABLE else None


def _replay(session: Session, client: ProviderClient, task: Task) -> Accepted:
    """Send what was sent, byte for byte, under the lease of the claim. Raises NotNow if somebody else has it."""
    kept = session.ledger.tasks.body(task)
    if kept is None:
        raise ReadFailed("what was sent is not kept any more; it is only asked about")
    images, rules = session.images(), task.request.IMAGE_RULES
    content = fill_body(kept, lambda reference: images.as_sent(reference, task.images[reference], rules))

    def renew() -> Outgoing:
        now = session.clock()
        if now >= task.claimed_at + session.options.pace.replay_window_seconds:
            raise NotSent("it is too late to replay the submit safely. Nothing was sent again")
        move = session.ledger.renew(task, now + lease_seconds(session, client), now=now, replay=True)
        if isinstance(move, MoveRefused):
            raise NotNow("somebody else asks about it", answer=move.current)
        return Outgoing(task.request, content, task.client_reference)

    return client.submit(renew)


def record_acceptance(session: Session, task: Task, accepted: Accepted) -> Task:
    """Record that the provider has the task, and when it is first polled. Returns the task that holds its id.

    The task is paid for: a ledger that cannot be written is tried again, and if it stays so, the error carries the id.
    An acceptance that its own task cannot take is kept as a task of its own, which waits for a person.
    """
    now = session.clock()
    first_poll_at = now + session.options.pace.first_poll_wait(accepted.wait_seconds)
    waited, wait_seconds = 0.0, _FIRST_WAIT_SECONDS
    while True:
        try:
            recorded = session.ledger.accept(task, accepted, now, first_poll_at)
        except Exception as error:
            # Whatever went wrong: the id is the only proof of what was paid for.
            _log.critical("row %r is task %s at %s, not yet recorded", task.row, accepted.task_id, task.provider)
            if waited >= session.options.pace.record_seconds:
                raise PixverseError(
                    f"row {task.row!r} was accepted and paid for as task {accepted.task_id} at {task.provider}, but "
                    f"the ledger cannot be written ({type(error).__name__}). Keep the id; when the ledger is back: "
                    f"{session.commands.tasks('resolve', task.row, '--adopt', accepted.task_id)}"
                ) from error
        else:
            if isinstance(recorded, KeptApart):
                _log.critical("row %r needs a person: %s", task.row, recorded.reason)
            return recorded.task
        threading.Event().wait(wait_seconds)
        waited, wait_seconds = waited + wait_seconds, wait_seconds * 2
