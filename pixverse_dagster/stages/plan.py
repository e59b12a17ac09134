"""What submitting rows would do."""

from __future__ import annotations

from collections.abc import Iterable

from pixverse_dagster.core.row import Problem, Row
from pixverse_dagster.policy.budget import NOTHING_SPENT
from pixverse_dagster.policy.plan import Plan, PlanInputs, make_plan
from pixverse_dagster.stages.session import Session


def plan_rows(session: Session, rows: Iterable[Row], problems: Iterable[Problem] = ()) -> Plan:
    """What submitting these rows, given in table order, would do: what `plan` shows is what a submission goes by."""
    name, options, ledger = session.pipeline.name, session.options, session.ledger
    rows = list(rows)
    spent = ledger.spent(name, session.run_id, session.clock()) if options.budget.limits else NOTHING_SPENT
    tasks = ledger.tasks.find(name, keys=[row.id for row in rows])
    waits = {entry.row: entry.reason for entry in ledger.queue.find(name)}
    rooms = {
        provider: ledger.spent_at(client.account, session.clock()).room_usd(client.budget)
        for provider, client in session.clients.items()
        if client.budget.limits
    }
    return make_plan(
        rows,
        problems,
        tasks,
        PlanInputs(options.prices, options.budget, spent, options.retry, waits, rooms),
    )
