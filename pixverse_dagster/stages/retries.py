"""Rows whose failure the retry policy answers with another paid attempt: found in the ledger, and put in the queue."""

from __future__ import annotations

from pixverse_dagster.core.task import QueuedRow
from pixverse_dagster.policy.retry import Retries
from pixverse_dagster.stages.session import Session

_AT_ONCE = 500
_REASON = "attempt {} failed ({}): its retry is due"


def find_retries(session: Session) -> Retries:
    """The session's retry policy, and since when it holds; from now on, if the ledger sees it for the first time."""
    return session.ledger.policies.see_retries(session.pipeline.name, session.options.retry, session.clock())


def queue_retries(session: Session) -> list[str]:
    """Queue the rows whose retry is due, and return them. Sends nothing. Repeatable.

    What is due follows from the ledger alone: however the task failed, whoever recorded it, and whatever was killed
    since. At most a few hundred in one go; the rest follows.
    """
    ledger, name, now = session.ledger, session.pipeline.name, session.clock()
    retries = find_retries(session)
    due = ledger.tasks.to_retry(name, retries, _AT_ONCE, session.worlds)
    ledger.policies.settle(name, retries, _AT_ONCE)
    reasons = {task.row: _REASON.format(task.attempt, task.kind) for task in due}
    ledger.queue.add(name, [QueuedRow(t.row, t.digest, t.provider, t.run_id, reasons[t.row], now) for t in due], now)
    return list(reasons)
