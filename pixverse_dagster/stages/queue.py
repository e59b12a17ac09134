"""Who waits to be submitted, and which account has room."""

from __future__ import annotations

from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import QueuedRow
from pixverse_dagster.policy.plan import SUBMITTED, Plan
from pixverse_dagster.stages.plan import plan_rows
from pixverse_dagster.stages.session import Session

_NEW = "new, and asked for by the sensor that submits new rows"


def queue_new_rows(session: Session, limit: int) -> tuple[list[str], Plan]:
    """Queue the rows whose request was never attempted, as far as the budget goes. Sends nothing.

    Returns their ids, and the plan that says why others were left.
    """
    name = session.pipeline.name
    # Those that are in the queue already come first: what is left of the budget is theirs.
    waiting = session.ledger.rows.find(name, [entry.row for entry in session.ledger.queue.find(name, session.worlds)])
    rows = session.ledger.rows.find(name, session.ledger.rows.unsubmitted(name, limit, session.worlds))
    lines = plan_rows(session, [*waiting.values(), *rows.values()]).lines
    plan = Plan(tuple(line for line in lines if line.row not in waiting))
    # What is not sent before the table is read again would only fail, at every tick.
    stale = {key for key, row in rows.items() if any(image.newer for image in row.images.values())}
    wanted = [line.row for line in plan.lines if line.verdict in SUBMITTED and line.row not in stale]
    session.ledger.queue.add(name, [queued_row(session, rows[key], _NEW) for key in wanted], session.clock())
    return wanted, plan


def queued_row(session: Session, row: Row, reason: str) -> QueuedRow:
    """A row's place in the queue, as from now."""
    return QueuedRow(row.id, row.digest, row.request.provider(), session.run_id, reason, session.clock())


def find_room(session: Session) -> dict[str, float]:
    """How many more tasks each of the session's providers takes now, by its name: none while a person paused it."""
    now, ledger = session.clock(), session.ledger
    accounts = {provider: client.account for provider, client in session.clients.items()}
    paused = ledger.pauses.applying(session.pipeline.name, accounts.values())
    taken = ledger.accounts.open_tasks(list(accounts.values()), now)
    room: dict[str, float] = {}
    for provider, client in session.clients.items():
        account = client.account
        rests = account in paused or now < ledger.accounts.held(account).until
        limit = float("inf") if client.max_open_tasks is None else client.max_open_tasks
        room[provider] = 0.0 if rests else limit - taken.get(account, 0)
    return room
