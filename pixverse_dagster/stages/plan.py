"""What submitting rows would do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pixverse_dagster.core.manifest import World
from pixverse_dagster.core.row import Problem, Row
from pixverse_dagster.policy.budget import NO_LIMIT, Spent
from pixverse_dagster.policy.plan import SUBMITTED, Plan, PlanInputs, make_plan
from pixverse_dagster.policy.prices import PriceBook
from pixverse_dagster.stages.ask import StoreView, ask_store, not_paid
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore


def open_book(session: Session) -> PriceBook:
    """Where prices are known from: the pipeline's price book, and what was seen at the session's accounts."""
    accounts = {provider: client.account for provider, client in session.clients.items()}
    seen = session.ledger.prices.find(list(accounts.values()))
    return PriceBook(session.options.prices, seen, accounts, session.clock())


def plan_rows(session: Session, rows: Iterable[Row], problems: Iterable[Problem] = ()) -> Plan:
    """What submitting these rows, given in table order, would do, by what the ledger knows alone."""
    return plan_with_store(session, None, rows, problems)[0]


def plan_with_store(
    session: Session, store: ClipStore | None, rows: Iterable[Row], problems: Iterable[Problem] = ()
) -> tuple[Plan, StoreView]:
    """What submitting these rows, given in table order, would do: what `plan` shows is what a submission goes by.

    The store is asked about rows that would be paid for, whatever the budget: what is there costs nothing. Without a
    store, or where it cannot be asked, the plan is made by what the ledger knows alone. Writes nothing. Raises
    StoreConflict for a store of another form.
    """
    name, options, ledger = session.pipeline.name, session.options, session.ledger
    rows = list(rows)
    worlds, now = session.worlds, session.clock()
    limited = set(worlds.values()) if options.budget.limits else set[World]()
    spent: dict[World, Spent] = {world: ledger.spent(name, session.run_id, now, world) for world in limited}
    tasks = ledger.tasks.find(name, keys=[row.id for row in rows])
    waits = {entry.row: entry.reason for entry in ledger.queue.find(name, worlds)}
    rooms = {
        provider: ledger.spent_at(client.account, now).room_usd(client.budget)
        for provider, client in session.clients.items()
        if client.budget.limits
    }
    retries = ledger.policies.find_retries(name, options.retry)
    inputs = PlanInputs(options.prices, options.budget, spent, retries, waits, rooms, worlds)
    inputs = replace(inputs, max_usd_per_row=options.max_usd_per_row, book=open_book(session))
    view = StoreView()
    if store is not None:
        unlimited = replace(inputs, budget=NO_LIMIT, account_room_usd={})
        payable = {line.row for line in make_plan(rows, (), tasks, unlimited).lines if line.verdict in SUBMITTED}
        view = ask_store(session, store, [row for row in rows if row.id in payable])
        held = {row: not_paid(session, row, answer) for row, answer in view.answers.items()}
        inputs = replace(inputs, not_paid=held, withheld=view.withheld)
    return make_plan(rows, problems, tasks, inputs), view
