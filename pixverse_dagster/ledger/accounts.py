"""Provider accounts: how many tasks each has under way, and which asked to be left alone for a while."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from pixverse_dagster.core.lifecycle import OCCUPIES_SLOT, POLLED, TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import RateLimitHold
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.engine import CHUNK, one_at_a_time, reading
from pixverse_dagster.ledger.schema import account_keys, accounts, tasks
from pixverse_dagster.policy.identity import Holder

_UNKNOWN_OCCUPIES_SECONDS = 600
"""How long a submit of unknown outcome is taken to occupy the provider; its slots were seen to free in ten minutes."""

_OPEN = (
    sa.select(tasks.c.account, sa.func.count())
    .where(
        tasks.c.account.in_(sa.bindparam("of", expanding=True)),
        # Written so that the index of accounts and states leads to the open tasks alone, however many have ended.
        tasks.c.state.in_([*sorted(OCCUPIES_SLOT), TaskState.UNKNOWN]),
        sa.or_(tasks.c.state != TaskState.UNKNOWN, tasks.c.claimed_at > sa.bindparam("since")),
    )
    .group_by(tasks.c.account)
)


@dataclass(frozen=True)
class AccountKey:
    """An API key that was used for an account: its salted fingerprint, and the identity that it shares with others."""

    account: str
    fingerprint: str
    first_seen_at: float
    confirmed_at: float | None
    identity: str


class Accounts:
    """Reads and writes the accounts of a ledger. Every method is one transaction; safe to use from many threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def open_tasks(self, accounts_: Sequence[str], now: float) -> dict[str, int]:
        """How many tasks occupy each of these provider accounts, of all pipelines; 0 is left out."""
        with reading(self._engine) as connection:
            return count_open(connection, accounts_, now)

    def hold(self, account: str, hold: RateLimitHold) -> None:
        """Leave an account alone for a while, for every process; a later end is kept."""
        with self._engine.begin() as connection:
            one_at_a_time(connection)
            same = accounts.c.account == account
            there = connection.execute(sa.select(accounts.c.held_until).where(same)).scalar()
            values = {
                "held_until": max(hold.until, there or 0.0),
                "refusals": hold.refusals,
                "reason": redact_text(hold.reason),
            }
            if there is None:
                connection.execute(sa.insert(accounts).values(account=account, **values))
            else:
                connection.execute(sa.update(accounts).where(same).values(values))

    def release(self, account: str) -> None:
        """The account takes tasks again."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(accounts).where(accounts.c.account == account))

    def see_key(self, account: str, fingerprint: str, now: float) -> None:
        """Remember that a key with this fingerprint was used for the account. Repeatable."""
        same = (account_keys.c.account == account, account_keys.c.fingerprint == fingerprint)
        with reading(self._engine) as connection:
            if connection.execute(sa.select(account_keys).where(*same)).first():
                return
        values = {"account": account, "fingerprint": fingerprint, "first_seen_at": now}
        with suppress(IntegrityError), self._engine.begin() as connection:  # another process was as fast
            connection.execute(sa.insert(account_keys).values(values))

    def find_keys(self, account: str | None = None) -> list[AccountKey]:
        """The keys seen for an account, or for all of them, the first one first."""
        query = sa.select(account_keys).order_by(account_keys.c.account, account_keys.c.first_seen_at)
        if account is not None:
            query = query.where(account_keys.c.account == account)
        with reading(self._engine) as connection:
            return [
                AccountKey(r.account, r.fingerprint, r.first_seen_at, r.confirmed_at, r.identity or r.fingerprint)
                for r in connection.execute(query)
            ]

    def identities(self, account: str) -> dict[str, str]:
        """The identity of each key seen for the account: those with the same one are of one account for certain."""
        return {key.fingerprint: key.identity for key in self.find_keys(account)}

    def confirm(
        self, account: str, present: str, others: Sequence[str], now: float, *, unkeyed: Sequence[str] = ()
    ) -> None:
        """These keys of the account's name are of one account: what was submitted with one goes on under the others.

        `unkeyed` are tasks whose key was not known: it was one of the account's, and counts as the present one.
        Repeatable.
        """
        for fingerprint in [present, *filter(None, others)]:
            self.see_key(account, fingerprint, now)
        with self._engine.begin() as connection:
            one_at_a_time(connection)
            of_account = account_keys.c.account == account
            query = sa.select(account_keys).where(of_account).order_by(account_keys.c.first_seen_at)
            keys = [(r.fingerprint, r.identity or r.fingerprint) for r in connection.execute(query)]
            named = {present, *others}
            joined = {identity for fingerprint, identity in keys if fingerprint in named}
            one = next(identity for _, identity in keys if identity in joined)
            same = [fingerprint for fingerprint, identity in keys if identity in joined]
            if len(joined) > 1:
                at = sa.func.coalesce(account_keys.c.confirmed_at, now)
                query = sa.update(account_keys).where(of_account, account_keys.c.fingerprint.in_(same))
                connection.execute(query.values(identity=one, confirmed_at=at))
            for chunk in chunked(unkeyed, CHUNK):
                without = (tasks.c.id.in_(chunk), tasks.c.account == account, tasks.c.key == "")
                connection.execute(sa.update(tasks).where(*without).values(key=present))

    def open_by_key(self) -> dict[Holder, int]:
        """How many tasks of all pipelines the poller asks about, by account, world and key."""
        of = (tasks.c.account, tasks.c.world, tasks.c.key)
        query = sa.select(*of, sa.func.count()).where(tasks.c.state.in_(sorted(POLLED))).group_by(*of)
        with reading(self._engine) as connection:
            return {Holder(record[0], record[1], record[2]): record[3] for record in connection.execute(query)}

    def unkeyed(self, account: str) -> list[str]:
        """The ids of the account's tasks whose key is not known."""
        with reading(self._engine) as connection:
            query = sa.select(tasks.c.id).where(tasks.c.account == account, tasks.c.key == "")
            return list(connection.execute(query).scalars())

    def held(self, account: str) -> RateLimitHold:
        """Whether the account is on hold, and since how many refusals."""
        with reading(self._engine) as connection:
            found = connection.execute(sa.select(accounts).where(accounts.c.account == account)).first()
        return RateLimitHold(found.held_until, found.refusals, found.reason) if found else RateLimitHold()


def count_open(connection: sa.Connection, accounts: Sequence[str], now: float) -> dict[str, int]:
    """How many tasks occupy each account: under way, or perhaps so because their submit is of unknown outcome."""
    found = connection.execute(_OPEN, {"of": list(accounts), "since": now - _UNKNOWN_OCCUPIES_SECONDS})
    return {record[0]: record[1] for record in found}
