"""Provider accounts: how many tasks each has under way, and which asked to be left alone for a while."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import OCCUPIES_SLOT, TaskState
from pixverse_dagster.core.task import RateLimitHold
from pixverse_dagster.ledger.engine import one_at_a_time, reading
from pixverse_dagster.ledger.schema import accounts, tasks

_UNKNOWN_OCCUPIES_SECONDS = 600
"""How long a submit of unknown outcome is taken to occupy the provider; its slots were seen to free in ten minutes."""


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
            values = {"held_until": max(hold.until, there or 0.0), "strikes": hold.strikes, "reason": hold.reason}
            if there is None:
                connection.execute(sa.insert(accounts).values(account=account, **values))
            else:
                connection.execute(sa.update(accounts).where(same).values(values))

    def release(self, account: str) -> None:
        """The account takes tasks again."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(accounts).where(accounts.c.account == account))

    def held(self, account: str) -> RateLimitHold:
        """Whether the account is on hold, and since how many refusals."""
        with reading(self._engine) as connection:
            found = connection.execute(sa.select(accounts).where(accounts.c.account == account)).first()
        return RateLimitHold(found.held_until, found.strikes, found.reason) if found else RateLimitHold()


def count_open(connection: sa.Connection, accounts: Sequence[str], now: float) -> dict[str, int]:
    """How many tasks occupy each account: under way, or perhaps so because their submit is of unknown outcome."""
    recently_unknown = sa.and_(tasks.c.state == TaskState.UNKNOWN, tasks.c.claimed_at > now - _UNKNOWN_OCCUPIES_SECONDS)
    under_way = tasks.c.state.in_(sorted(OCCUPIES_SLOT))
    query = sa.select(tasks.c.account, sa.func.count()).where(
        tasks.c.account.in_(accounts), sa.or_(under_way, recently_unknown)
    )
    return {record[0]: record[1] for record in connection.execute(query.group_by(tasks.c.account))}
