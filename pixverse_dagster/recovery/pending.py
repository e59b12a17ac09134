"""Rows that may have been pending when their ledger was lost: kept from being paid for, and described to a person."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.redaction import redact_known
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import iso
from pixverse_dagster.ledger.claims import client_reference
from pixverse_dagster.policy.prices import estimate_usd
from pixverse_dagster.policy.timing import Pace
from pixverse_dagster.stages.session import Session

_PROMPT_SHOWN = 60


def pending_tasks(tasks: Iterable[Task]) -> dict[str, Task]:
    """Of these tasks, those that stand for a submit that a lost ledger may have made, by row."""
    return {task.row: task for task in tasks if task.is_presumed}


def pending_task(session: Session, row: Row, claim: int, ledger_id: str, since: float) -> Task:
    """The submit that a lost ledger may have made for a row, as its claim with this number.

    No budget counts it before it is adopted. Where the provider takes our references, its own is derived, and the
    poller asks about it. `since` is when the newest clip was stored; 0 if there is none.
    """
    name, now = session.pipeline.name, session.clock()
    client = session.clients.get(row.request.provider())
    asks = client is not None and client.provider.REPLAYABLE
    return Task(
        id=uuid.uuid4().hex,
        pipeline=name,
        row=row.id,
        digest=row.digest,
        address_digest=row.address_digest,
        claim=claim,
        take=row.take,
        request=row.request,
        images=row.images,
        labels=row.labels,
        differences=row.differences,
        client_reference=client_reference(ledger_id, name, row.id, row.digest, claim),
        account=client.account if client else "",
        world=client.world if client else "live",
        state=TaskState.UNKNOWN,
        run_id=session.run_id,
        claimed_at=now,
        next_poll_at=now if asks else None,
        reason=_describe(row, since, session.options.pace, now),
        found_at=now,
        estimate_usd=estimate_usd(row.request, session.options.prices),
    )


def _describe(row: Row, since: float, pace: Pace, now: float) -> str:
    """What to look for in the provider's console."""
    begin = f"between {iso(since - pace.task_deadline_seconds)} and" if since else "at any time up to"
    prompt = redact_known(str(getattr(row.request, "prompt", "")))
    words = f", prompt {prompt[:_PROMPT_SHOWN]!r}{'…' * (len(prompt) > _PROMPT_SHOWN)}" if prompt else ""
    return (
        f"its ledger was lost or put back to an earlier state, and it may have been submitted {begin} {iso(now)}{words}"
    )
