"""Asking the providers about the accounts, by free calls: whether the key is taken, what is left, what a clip costs.

Each has a time limit, and is asked beside the others: a provider that hangs delays none. An answer that cannot be read
changes nothing. What was read is kept in the ledger with its date.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from pixverse_dagster.core.errors import PixverseError, Unauthorized
from pixverse_dagster.ledger.account_facts import AccountFact
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.waiting import Workers
from pixverse_dagster.transport.client import ProviderClient
from pixverse_dagster.transport.logs import get_logger

_log = get_logger()
ASK_SECONDS = 10.0
_FRESH_SECONDS = 86_400.0
"""For so long a price or a balance is not asked for again."""
_KEY_SECONDS = 3600.0
"""For so long a key that was taken is not tried again by a free call."""
T = TypeVar("T")


@dataclass(frozen=True)
class Balance:
    """What a provider says is left at an account. Others may use the account: it says nothing of what was spent here.

    `amount` is None where it does not tell; `problem` says why it is not known now, if that is so.
    """

    provider: str
    account: str
    amount: float | None = None
    unit: str = ""
    read_at: float | None = None
    problem: str = ""


def read_balances(session: Session, within_seconds: float = ASK_SECONDS, *, fresh: bool = False) -> list[Balance]:
    """What is left at each account of the session, as it was read at most a day ago, or now with `fresh`.

    Where a provider cannot be asked now, what it said last, and why. Those that have no call for it are left out.
    """
    deadline = time.monotonic() + within_seconds
    asked = {name: client for name, client in session.clients.items() if client.provider.TELLS_BALANCE}
    found = beside(
        {name: partial(_balance, session, client, deadline, fresh=fresh) for name, client in asked.items()}, deadline
    )
    told: list[Balance] = []
    for name, client in asked.items():
        answer = found[name]
        one = answer if isinstance(answer, Balance) else _kept(session, client, str(answer))
        if one.amount is not None or one.problem:
            told.append(one)
    return told


def _balance(session: Session, client: ProviderClient, deadline: float, *, fresh: bool) -> Balance:
    kept = session.ledger.facts.find(client.account, "balance")
    if kept is None or fresh or session.clock() - kept.read_at >= _FRESH_SECONDS:
        read_account(session, client, deadline)
    return _kept(session, client, "")


def _kept(session: Session, client: ProviderClient, problem: str) -> Balance:
    kept, name = session.ledger.facts.find(client.account, "balance"), client.provider.NAME
    if kept is None:
        return Balance(name, client.account, problem=problem)
    return Balance(name, client.account, kept.amount, kept.unit, kept.read_at, problem)


def read_account(session: Session, client: ProviderClient, deadline: float) -> bool:
    """Ask about the account now, and keep the answer; False where no free call is known.

    Raises Unauthorized where the key is refused, and ReadFailed or NotSent where that is not known.
    """
    facts, now = client.read_account(deadline), session.clock()
    if facts is None:
        return False
    key = client.provider.fingerprint(session.ledger.salt)
    session.ledger.facts.keep(client.account, "key", AccountFact(None, "", key, now))
    if facts.balance is not None:
        session.ledger.facts.keep(client.account, "balance", AccountFact(facts.balance, facts.unit, key, now))
    return True


def read_prices(session: Session, client: ProviderClient, deadline: float) -> None:
    """Have the ledger know what the provider lists, at most a day old. Nothing changes where it cannot be read."""
    ledger, now = session.ledger, session.clock()
    kept = ledger.facts.find(client.account, "prices")
    if client.provider.ask_prices() is None or (kept is not None and now - kept.read_at < _FRESH_SECONDS):
        return
    try:
        lines = client.read_prices(deadline)
    except PixverseError as error:
        _log.info("the prices of %s could not be read, and the known ones hold: %s", client.provider.NAME, error)
        return
    ledger.prices.keep_listed(client.account, lines, now)
    key = client.provider.fingerprint(ledger.salt)
    ledger.facts.keep(client.account, "prices", AccountFact(None, "", key, now))


tried_keys: set[tuple[str, str, str]] = set()
"""By ledger, account and fingerprint: whose key this process has tried."""
_trying = threading.Lock()


def look_first(session: Session, client: ProviderClient) -> None:
    """Before the first paid submit of this process at the account: try its key by a free call, and read the prices.

    A key that was taken less than an hour ago, by any process, is not tried again. Raises Unauthorized where the key is
    refused, before anything is claimed. Whatever else is wrong, the submit itself will show.
    """
    if not client.costs_money or client.unusable:
        return
    key = client.provider.fingerprint(session.ledger.salt)
    which = (session.ledger.id, client.account, key)
    with _trying:
        if which in tried_keys:
            return
        tried_keys.add(which)
    deadline = time.monotonic() + ASK_SECONDS
    kept = session.ledger.facts.find(client.account, "key")
    try:
        if kept is None or kept.key != key or session.clock() - kept.read_at >= _KEY_SECONDS:
            read_account(session, client, deadline)
    except Unauthorized:
        with _trying:
            tried_keys.discard(which)
        raise
    except PixverseError as error:
        _log.info("%s could not be asked before the first submit: %s", client.provider.NAME, error)
    read_prices(session, client, deadline)


def beside(calls: Mapping[str, Callable[[], T]], deadline: float) -> dict[str, T | Exception]:
    """What each of these calls gives, or the error that it ends in; those that are not done in time are left alone."""
    workers = Workers(max(len(calls), 1))
    futures = {name: workers.submit(call) for name, call in calls.items()}
    found: dict[str, T | Exception] = {}
    for name, future in futures.items():
        try:
            found[name] = future.result(max(deadline - time.monotonic(), 0) + 1)
        except Exception as error:  # noqa: BLE001 - each is told beside the others
            found[name] = error if str(error) else TimeoutError("no answer in time. Nothing was spent")
    workers.leave()
    return found
