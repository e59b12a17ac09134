"""Whether a pipeline is ready: its table, ledger, store and accounts, and what a row would cost. Spends nothing.

Every part is asked beside the others and has a time limit, so that one that hangs delays no other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median_low
from typing import Literal

from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.errors import NoAnswer, NotSent, PixverseError, Unauthorized
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.text import shorten
from pixverse_dagster.core.values import iso
from pixverse_dagster.policy.prices import missing_line
from pixverse_dagster.stages.balance import ASK_SECONDS, beside, read_account, read_prices
from pixverse_dagster.stages.drafts import read_drafts
from pixverse_dagster.stages.plan import open_book
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.store import describe, probe_store
from pixverse_dagster.transport.client import ProviderClient

Result = Literal["ok", "failed", "note"]


@dataclass(frozen=True)
class Finding:
    """What was found of one part: `failed` is to be mended with `fix` before anything is paid; a `note` is not."""

    part: str
    result: Result
    detail: str
    fix: str = ""


def check_pipeline(session: Session, within_seconds: float = ASK_SECONDS) -> list[Finding]:
    """Everything that a paid submit needs, part by part, asked at the same time and for so long at most."""
    deadline = time.monotonic() + within_seconds
    needed = set[str]()
    calls: dict[str, Callable[[], list[Finding]]] = {
        "ledger": partial(_ledger, session),
        "store": partial(_store, session),
        "table": partial(_table, session, needed),
    }
    for name, client in session.clients.items():
        calls[name] = partial(_provider, session, name, client, deadline)
    found = beside(calls, deadline)
    findings: list[Finding] = []
    for part, answer in found.items():
        findings += answer if isinstance(answer, list) else [_failed(session, part, answer)]
    # An account that cannot be used is nothing to mend where no row is for it.
    missed = {name for name in session.clients if name in needed and session.clients[name].unusable}
    return [replace(one, result="failed") if one.part in missed else one for one in findings]


def _again(session: Session) -> str:
    return session.commands.render("check")


def _failed(session: Session, part: str, error: Exception) -> Finding:
    why = describe(error)
    if part == "ledger":
        fix = "mend the database, or name another one with PIXVERSE_LEDGER_URL or LedgerResource(url=…)"
    elif part == "store":
        fix = "mend the store or its credentials: nothing is paid for while it cannot be written to"
    elif part == "table":
        fix = "put the table right, or name another one"
    else:
        fix = "see whether the provider's address can be reached from here"
    return Finding(part, "failed", why, f"{fix}; then {_again(session)}")


def _ledger(session: Session) -> list[Finding]:
    name, ledger = session.pipeline.name, session.ledger
    counts = ledger.tasks.counts(name)
    tasks = f"{sum(counts.values())} tasks of pipeline {name!r}"
    findings = [Finding("ledger", "ok", f"answers, {tasks}")]
    accounts = [client.account for client in session.clients.values()]
    resume = session.commands.render("resume")
    pauses = dict.fromkeys(map(str, ledger.pauses.applying(name, accounts).values()))
    findings += [Finding("spending", "failed", f"{pause}: nothing is submitted", resume) for pause in pauses]
    return [*findings, *_budget(session)]


def _budget(session: Session) -> list[Finding]:
    options, live = session.options, [one for one in session.clients.values() if one.costs_money]
    limits = options.budget.limits or options.max_usd_per_row is not None
    if not live or limits or all(one.budget.limits for one in live):
        return []
    advice = "set one before the first live run: PIXVERSE_BUDGET='{\"per_day_usd\": 5}' or budget=Budget(per_day_usd=5)"
    return [Finding("budget", "note", "none is set: every row that is asked for is paid for", advice)]


def _store(session: Session) -> list[Finding]:
    if session.open_store is None:
        return [Finding("store", "note", "not known to this session")]
    store = session.open_store()
    why = probe_store(store, session.pipeline.name)
    if not why:
        return [Finding("store", "ok", f"{store.uri('')} can be written to, and overwrites nothing")]
    return [Finding("store", "failed", why, f"mend the store or its credentials; then {_again(session)}")]


def _table(session: Session, needed: set[str]) -> list[Finding]:
    requests, source = _requests(session)
    needed |= {request.provider() for request in requests}
    name = session.pipeline.table.describe()
    if not requests:
        plan = session.commands.render("plan")
        return [Finding("table", "note", f"{name}: no row of it can be generated as it is", f"what is wrong: {plan}")]
    absent = [
        Finding(one, "failed", f"rows of the table are for {one}, and it has no account here", _set_key(session, one))
        for one in sorted(needed - session.clients.keys())
    ]
    return [Finding("table", "ok", f"{name}: {len(requests)} rows {source}"), *absent, *_costs(session, requests)]


def _requests(session: Session) -> tuple[list[Request], str]:
    """The rows' requests: of the table as it is now, or as it was last read where only a run is handed it."""
    if session.pipeline.is_given_rows:
        rows = session.ledger.rows.find(session.pipeline.name)
        return [row.request for row in rows.values()], "as they were last read"
    drafts = read_drafts(session.pipeline.source, session.pipeline.rules).drafts
    return [draft.request for draft in drafts], "can be generated"


def _costs(session: Session, requests: list[Request]) -> list[Finding]:
    """What the usual row of each model costs, and where that is not known."""
    book, by_model = open_book(session), dict[str, list[Request]]()
    for request in requests:
        by_model.setdefault(request.MODEL, []).append(request)
    findings: list[Finding] = []
    for model, same in sorted(by_model.items()):
        known = [usd for request in same if (usd := book.estimate_usd(request)) is not None]
        if known:
            words = f"about {median_low(known):.3f} USD for the usual row, {sum(known):.2f} for all {len(known)}"
            findings.append(Finding(f"price of {model}", "ok", words))
        if len(known) < len(same):
            unknown = next(request for request in same if book.estimate_usd(request) is None)
            why = f"{len(same) - len(known)} rows whose price is not public"
            fix = f"add a line to the price book (`prices`): {missing_line(unknown)}"
            findings.append(Finding(f"price of {model}", "note", why, fix))
    return findings


def _provider(session: Session, name: str, client: ProviderClient, deadline: float) -> list[Finding]:
    """One account: whether it answers and takes the key, and what is left there."""
    where = f"account {client.account}"
    if client.unusable:
        return [Finding(name, "note", client.unusable.rstrip("."), _set_key(session, name))]
    try:
        asked = read_account(session, client, deadline)
    except Unauthorized as error:
        return [Finding(name, "failed", f"{where}: {shorten(str(error), 300)}", _set_key(session, name))]
    except (NotSent, NoAnswer) as error:
        return [Finding(name, "failed", f"{where}: {shorten(str(error), 300)}", _reach(session, client))]
    except PixverseError as error:
        fix = f"it may be out of order for a moment, or the address is another service's: {_again(session)}"
        return [Finding(name, "failed", f"{where}: {shorten(str(error), 300)}", fix)]
    read_prices(session, client, deadline)
    kept = session.ledger.facts.find(client.account, "balance") if client.provider.TELLS_BALANCE else None
    left = f", {kept.amount:g} {kept.unit} left ({iso(kept.read_at)})" if kept and kept.amount is not None else ""
    if not asked:
        return [Finding(name, "note", f"{where}: no free call of it is known, so that the key was not tried")]
    key = "takes the key" if client.costs_money else "is a simulator, and answers"
    return [Finding(name, "ok", f"{where} {key}{left} ({client.provider.base_url})")]


def _set_key(session: Session, name: str) -> str:
    return f"export {name.upper()}_API_KEY=…, or what its resource names; then {_again(session)}"


def _reach(session: Session, client: ProviderClient) -> str:
    if client.world == "simulator":
        port = client.provider.base_url.rpartition(":")[2].partition("/")[0]
        start = CommandLine(program=session.commands.program).render("simulator", "--port", port)
        return f"{start}; then {_again(session)}"
    return (
        f"see whether {client.provider.base_url} can be reached from here, also through a proxy; then {_again(session)}"
    )
