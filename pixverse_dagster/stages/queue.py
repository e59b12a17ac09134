"""Who waits to be submitted, and which account has room."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Place, QueuedRow
from pixverse_dagster.policy.plan import SUBMITTED, Plan, PlanLine, Verdict
from pixverse_dagster.stages.places import BUDGET_SECONDS, queued_row
from pixverse_dagster.stages.plan import plan_rows
from pixverse_dagster.stages.session import Session

LOOK_SECONDS = 3.0
"""For so long, one look for new rows goes through the table."""
_PAGE = 500
_MANY = 2000
"""So many rows of a provider in the queue are enough to go on with for a while."""
_NEW = "new, and asked for by the sensor that submits new rows"


@dataclass(frozen=True)
class NewRows:
    """The rows that were queued, the plan of all that were looked at, and where to look on.

    `position` is that of the last row in the table that was looked at, -1 after its end.
    """

    wanted: list[str]
    plan: Plan
    position: int = -1


def queue_new_rows(session: Session, limit: int, after: int = -1, within_seconds: float = LOOK_SECONDS) -> NewRows:
    """Queue rows whose request was never attempted, as far as the budget goes. Sends nothing.

    The table is looked through from a position on, page by page, until so many are queued, the table ends or the time
    is over; so rows that are not affordable are in nobody's way. Where a provider's rows wait in large numbers already,
    no more of it are queued for now.
    """
    name, ledger = session.pipeline.name, session.ledger
    deadline = time.monotonic() + within_seconds
    full = [provider for provider, count in ledger.queue.counts(name).items() if count >= _MANY]
    waiting = _with_budget(session)
    wanted: list[str] = []
    lines: list[PlanLine] = []
    while len(wanted) < limit:
        page = ledger.rows.page_unsubmitted(name, after, _PAGE, session.worlds, full)
        rows = ledger.rows.find(name, page)
        plan = plan_rows(session, [*waiting.values(), *rows.values()])
        fresh = [line for line in plan.lines if line.row in page]
        chosen = [line.row for line in fresh if _is_wanted(line, rows[line.row])][: limit - len(wanted)]
        ledger.queue.add(name, [queued_row(session, rows[key], _NEW) for key in chosen], session.clock())
        wanted += chosen
        waiting |= {key: rows[key] for key in chosen} if waiting or _has_budget(session) else {}
        if len(wanted) >= limit:
            after = page[chosen[-1]]
            lines += [line for line in fresh if page[line.row] <= after]
        else:
            after = max(page.values()) if len(page) == _PAGE else -1
            lines += fresh
        if after < 0 or time.monotonic() > deadline:
            break
    return NewRows(wanted, Plan(tuple(lines)), after)


def _is_wanted(line: PlanLine, row: Row) -> bool:
    # What is not sent before the table is read again would only fail, at every tick.
    return line.verdict in SUBMITTED and not any(image.newer for image in row.images.values())


def _has_budget(session: Session) -> bool:
    return session.options.budget.limits or any(client.budget.limits for client in session.clients.values())


def _with_budget(session: Session) -> dict[str, Row]:
    """The rows that are in the queue already, if there is a budget: what is left of it is theirs first.

    Of a queue that is very long, the head: a claim keeps to the budget in any case.
    """
    if not _has_budget(session):
        return {}
    name = session.pipeline.name
    queued = session.ledger.queue.find(name, session.worlds)[:_MANY]
    return session.ledger.rows.find(name, [entry.row for entry in queued])


def leave_over_budget(session: Session, due: Sequence[QueuedRow], turn: Sequence[str]) -> list[str]:
    """Those whose turn it is and that fit into what is left of the budgets. The others are looked at again later.

    A run for them would only fail, and they keep no row behind them from its turn.
    """
    if not turn or not _has_budget(session):
        return list(turn)
    name, ledger = session.pipeline.name, session.ledger
    lines = plan_rows(session, ledger.rows.find(name, turn).values()).lines
    over = {line.row: line.note for line in lines if line.verdict is Verdict.OVER_BUDGET}
    again_at = session.clock() + BUDGET_SECONDS
    ledger.queue.put_off(name, [Place(replace(e, reason=over[e.row]), again_at) for e in due if e.row in over])
    return [key for key in turn if key not in over]


def describe_queue(session: Session, due: Sequence[QueuedRow]) -> str:
    """How many rows wait, and what the first of them waits for."""
    if due:
        return f"{len(due)} rows wait for their turn: {due[0].reason}"
    count, first = session.ledger.queue.count(session.pipeline.name)
    return f"{count} rows wait, and a run has them or it is not their time yet: {first}" if count else "no row waits"


def find_room(session: Session) -> dict[str, float]:
    """How many more tasks each of the session's providers takes now, by its name.

    None while a person paused it, while it is left alone, or if its key cannot be used. One after trouble with it:
    whether it takes rows again is found out with a single one.
    """
    now, ledger = session.clock(), session.ledger
    accounts = {provider: client.account for provider, client in session.clients.items()}
    paused = ledger.pauses.applying(session.pipeline.name, accounts.values())
    taken = ledger.accounts.open_tasks(list(accounts.values()), now)
    longest = session.options.pace.longest_hold
    room: dict[str, float] = {}
    for provider, client in session.clients.items():
        account, hold = client.account, ledger.accounts.held(client.account, now, longest)
        closed = account in paused or client.unusable or hold.rests(now, client.provider.fingerprint(ledger.salt))
        limit = float("inf") if client.max_open_tasks is None else client.max_open_tasks
        free = 0.0 if closed else limit - taken.get(account, 0)
        room[provider] = min(free, 1.0) if hold.refusals else free
    return room
