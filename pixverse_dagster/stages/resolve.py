"""Submits of unknown outcome: found out about by asking the provider, replayed by a run, or left to a person."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Mapping

from pixverse_dagster.core.errors import (
    InvalidRow,
    NotSent,
    OutcomeUnknown,
    Paused,
    PixverseError,
    ReadFailed,
    Refused,
)
from pixverse_dagster.core.lifecycle import OPEN_SUBMIT, TaskState
from pixverse_dagster.core.outcomes import Accepted, Failed, Missing, PollFact, Succeeded
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.submit_body import fill_body
from pixverse_dagster.core.task import KeptApart, MoveRefused, Task, latest
from pixverse_dagster.core.text import shorten
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.claims import client_reference
from pixverse_dagster.policy.identity import Standing
from pixverse_dagster.policy.timing import is_over
from pixverse_dagster.providers.base import TaskRef
from pixverse_dagster.stages.sending import NotNow, lease_seconds
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.standing import find_standing, set_aside
from pixverse_dagster.stages.waiting import Workers, as_they_end
from pixverse_dagster.transport.client import Outgoing, ProviderClient
from pixverse_dagster.transport.logs import get_logger

_FIRST_WAIT_SECONDS = 0.2
_CLAIMS_ASKED = 3
"""Of a request whose ledger was lost: a refused submit, or a failed attempt that was followed, is a claim as well."""
_NEVER_SENT = "it may never have been sent"
_ASKED_NOTE = "asked about: nothing shows yet that it was ever sent"
_log = get_logger()


def resolve_rows(session: Session, rows: Iterable[str]) -> Generator[Task]:
    """Find out about the open submits of these rows, and replay those that may be: for a run, never for a tick.

    Yields each task as it is then. While it works, no tick asks for another run of the same rows. Never pays twice.
    Close the iterator to stop: nothing further leaves. Raises RunStopped if the run is cancelled.
    """
    left = {task.id: task for task in _find_open(session, rows)}
    by_provider: dict[str, list[Task]] = {}
    for task in left.values():
        by_provider.setdefault(task.provider, []).append(task)
    seconds = session.options.pace.collect_lease_seconds
    _leave(session, left.values(), seconds)
    pools = {name: Workers(session.clients[name].sender.limits.max_concurrency) for name in by_provider}
    try:
        asked = [pools[name].submit(_resolve, session, task) for name, tasks in by_provider.items() for task in tasks]
        for done in as_they_end(asked, session.stopped):
            task = done.result()
            del left[task.id]
            _leave(session, left.values(), seconds)
            yield task
    finally:
        # A replay that is under way is not waited for: it is of unknown outcome until its answer is recorded.
        for pool in pools.values():
            pool.leave()


def lease_replays(session: Session, rows: Iterable[str], seconds: float) -> None:
    """Leave the open submits of these rows to the run that was asked for; at most until their replay window ends.

    A run that comes later than that cannot replay them, so that they are asked about here.
    """
    _leave(session, _find_open(session, rows), seconds)


def _find_open(session: Session, rows: Iterable[str]) -> list[Task]:
    found = session.ledger.tasks.find(session.pipeline.name, OPEN_SUBMIT, rows)
    return [
        task for task in found if task.resolves_itself and session.counts(task) and task.provider in session.clients
    ]


def _leave(session: Session, tasks: Iterable[Task], seconds: float) -> None:
    now, window = session.clock(), session.options.pace.replay_window_seconds
    until = {task.id: min(now + seconds, task.claimed_at + window) for task in tasks if _in_window(session, task)}
    session.ledger.polling.leave_open(until)


def _resolve(session: Session, task: Task) -> Task:
    if session.stopped():
        return task
    try:
        return resolve_unknown(session, task)
    except Exception as error:  # noqa: BLE001 - whatever it is, one row's trouble is not the others'
        _log.error(
            "row %r: its outcome is still unknown (%s)", task.row, redact_text(f"{type(error).__name__}: {error}")
        )
        return task


def resolve_unknown(session: Session, task: Task) -> Task:
    """Find out about a submit whose answer is missing, as far as the provider can tell. Never pays twice.

    For a run: within the replay window, where the caller chose the task's id and no answer shows the end of the task,
    the identical request is sent again under the same id, which the provider refuses unpaid if it knows it.
    """
    task = settle_lease(session, task)
    client = session.clients.get(task.provider)
    if not task.resolves_itself or task.state is not TaskState.UNKNOWN or client is None:
        return task
    facts: dict[str, PollFact] | None = {}
    error = ""
    try:
        for batch in chunked(open_refs(session, task), client.provider.POLL_BATCH):
            facts |= client.poll(batch)
    except (ReadFailed, NotSent) as unread:
        facts, error = None, str(unread)
    task = judge_open(session, task, facts, error)
    return _replay(session, client, task) if facts is not None and may_replay(session, task) else task


def settle_lease(session: Session, task: Task) -> Task:
    """What is known of an open submit without asking anybody.

    A claim that has outlived its lease becomes `unknown`, whether or not its provider can still be asked; a younger one
    is left to its process. Where the provider cannot be asked about it, a person has to look.
    """
    client, now = session.clients.get(task.provider), session.clock()
    if task.state is TaskState.CLAIMED:
        lease = lease_seconds(session, client) if client else session.options.pace.claim_lease_seconds
        if not is_over(task.lease_until, now, lease):
            return task
        # Marked before the replay: should that process live after all, its refusal must not free the request.
        reason = "the process that submitted it died before an answer came. It may have been charged"
        task = latest(session.ledger.mark_unknown(task, reason, ask_again_at(session, client) if client else None))
    if task.state is not TaskState.UNKNOWN or task.next_poll_at is None:
        return task
    if client is None or not client.provider.REPLAYABLE:
        reason = task.reason or f"no answer came, and {task.provider} cannot be asked about it"
        return latest(session.ledger.mark_unknown(task, reason, None))
    return task


def open_refs(session: Session, task: Task) -> list[TaskRef]:
    """What a provider is asked about an open submit: its reference, or those that a lost ledger may have used."""
    references = [task.client_reference]
    if task.found_at is not None:
        same = (session.ledger.id, task.pipeline, task.row, task.digest)
        references += [client_reference(*same, claim) for claim in range(task.claim + 1, task.claim + _CLAIMS_ASKED)]
    return [TaskRef(one, task.request.outputs_asked()) for one in references]


def judge_open(session: Session, task: Task, facts: Mapping[str, PollFact] | None, error: str = "") -> Task:
    """Record what was answered about an open submit: None if nothing could be read. Sends nothing.

    Only an end proves that the submit arrived: a provider was seen to say "processing" of ids that it never saw. Within
    the replay window the replay decides; afterwards it is asked about until the task's deadline, and then a person is.
    """
    pace, now = session.options.pace, session.clock()
    refs = [ref.task_id for ref in open_refs(session, task)]
    # A later attempt follows a failure, so of several answers a finished one counts, else the last.
    answers = sorted(
        ((ref, facts[ref]) for ref in refs if facts and ref in facts), key=lambda one: isinstance(one[1], Succeeded)
    )
    for reference, fact in reversed(answers):
        ended = isinstance(fact, Succeeded) or (isinstance(fact, Failed) and fact.names_task)
        if ended and find_standing(session, task, fact) is Standing.OWN:
            return record_acceptance(session, task, Accepted(reference), patience_seconds=0)
    overdue = now - task.claimed_at > pace.task_deadline_seconds
    if task.found_at is not None and overdue:
        return latest(session.ledger.mark_unknown(task, task.reason or _NEVER_SENT, None))
    if task.found_at is None and find_standing(session, task) is not Standing.OWN:
        return set_aside(session, task)
    if may_replay(session, task):
        again_at = now + pace.first_poll_seconds
    elif task.found_at is None and facts is not None and isinstance(facts.get(refs[0], Missing()), Missing):
        reason = "no answer came, the provider does not show the task, and it is too late to replay it safely"
        return latest(session.ledger.mark_unknown(task, reason, None))
    elif overdue:
        reason = f"{task.reason or 'no answer came'}; and its provider has not shown an end of it since"
        return latest(session.ledger.mark_unknown(task, reason, None))
    else:
        again_at = now + pace.aside_wait(now - task.claimed_at)
    note = shorten(f"last poll failed: {error}", 300) if facts is None else _ASKED_NOTE
    return latest(session.ledger.keep_polling(task, note, again_at))


def may_replay(session: Session, task: Task) -> bool:
    """Whether a run may send an open submit again: it is our account's own, and recent enough to be known as a repeat.

    A claim from the future was written under a wrong clock: how old it is nobody knows.
    """
    client = session.clients.get(task.provider)
    open_ = task.state is TaskState.UNKNOWN and task.resolves_itself and task.found_at is None
    return (
        open_
        and client is not None
        and client.provider.REPLAYABLE
        and _in_window(session, task)
        and find_standing(session, task) is Standing.OWN
    )


def _in_window(session: Session, task: Task) -> bool:
    return 0 <= session.clock() - task.claimed_at < session.options.pace.replay_window_seconds


def ask_again_at(session: Session, client: ProviderClient) -> float | None:
    """When to ask about an unknown outcome by itself: None where only a person can tell."""
    return session.clock() + session.options.pace.first_poll_seconds if client.provider.REPLAYABLE else None


def _replay(session: Session, client: ProviderClient, task: Task) -> Task:
    try:
        return record_acceptance(session, task, _send_again(session, client, task))
    except NotNow as error:
        return error.answer or task
    except (Refused, NotSent, OutcomeUnknown, ReadFailed, InvalidRow, Paused) as error:
        # A refused replay proves nothing about the first request; asked again at the next poll.
        _log.info("row %r: its outcome is still unknown: %s", task.row, error)
        again_at = session.clock() + session.options.pace.first_poll_seconds
        return latest(session.ledger.mark_unknown(task, task.reason or str(error), again_at))


def _send_again(session: Session, client: ProviderClient, task: Task) -> Accepted:
    """Send what was sent, byte for byte, under the lease of the claim. Raises NotNow if somebody else has it."""
    kept = session.ledger.tasks.body(task)
    if kept is None:
        raise ReadFailed("what was sent is not kept any more; it is only asked about")
    images, rules = session.images(), task.request.IMAGE_RULES
    content = fill_body(kept, lambda reference: images.as_sent(reference, task.images[reference], rules))

    def renew() -> Outgoing:
        now = session.clock()
        if not _in_window(session, task):
            raise NotSent("it is too late to replay the submit safely. Nothing was sent again")
        move = session.ledger.renew(task, now + lease_seconds(session, client), now=now, replay=True)
        if isinstance(move, MoveRefused):
            raise NotNow("somebody else asks about it", answer=move.current)
        return Outgoing(task.request, content, task.client_reference)

    return client.submit(renew)


def record_acceptance(session: Session, task: Task, accepted: Accepted, patience_seconds: float | None = None) -> Task:
    """Record that the provider has the task, and when it is first polled. Returns the task that holds its id.

    The task is paid for: a ledger that cannot be written is tried again for so long, or else for `record_seconds`, and
    if it stays so, the error carries the id.
    An acceptance that its own task cannot take is kept as a task of its own, which waits for a person.
    """
    now = session.clock()
    patience = session.options.pace.record_seconds if patience_seconds is None else patience_seconds
    first_poll_at = now + session.options.pace.first_poll_wait(accepted.wait_seconds)
    waited, wait_seconds = 0.0, _FIRST_WAIT_SECONDS
    while True:
        try:
            recorded = session.ledger.accept(task, accepted, now, first_poll_at)
        except Exception as error:
            # Whatever went wrong: the id is the only proof of what was paid for.
            _log.critical("row %r is task %s at %s, not yet recorded", task.row, accepted.task_id, task.provider)
            if waited >= patience:
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
