"""Provider accounts: how many tasks each has under way, and which asked to be left alone for a while."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from pixverse_dagster.core.lifecycle import OCCUPIES_SLOT, TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import RateLimitHold
from pixverse_dagster.ledger.engine import one_at_a_time, reading
from pixverse_dagster.ledger.schema import account_keys, accounts, tasks

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

    def held(self, account: str) -> RateLimitHold:
        """Whether the account is on hold, and since how many refusals."""
        with reading(self._engine) as connection:
            found = connection.execute(sa.select(accounts).where(accounts.c.account == account)).first()
        return RateLimitHold(found.held_until, found.refusals, found.reason) if found else RateLimitHold()


def count_open(connection: sa.Connection, accounts: Sequence[str], now: float) -> dict[str, int]:
    """How many tasks occupy each account: under way, or perhaps so because their submit is of unknown outcome."""
    found = connection.execute(_OPEN, {"of": list(accounts), "since": now - _UNKNOWN_OCCUPIES_SECONDS})
    return {record[0]: record[1] for record in found}
