"""What providers said of accounts when they were last asked: their balance, their prices, whether they take a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from pixverse_dagster.ledger.engine import reading
from pixverse_dagster.ledger.schema import account_facts

Kind = Literal["balance", "prices", "key"]


@dataclass(frozen=True)
class AccountFact:
    """One answer: what is left at the account, or that its prices were read, or that a key is taken."""

    amount: float | None
    unit: str
    key: str
    read_at: float


class AccountFactsLog:
    """Reads and writes them, the latest of each kind. Every method is one transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def find(self, account: str, kind: Kind) -> AccountFact | None:
        """What was last said."""
        same = (account_facts.c.account == account, account_facts.c.kind == kind)
        with reading(self._engine) as connection:
            found = connection.execute(sa.select(account_facts).where(*same)).first()
        return AccountFact(found.amount, found.unit, found.key, found.read_at) if found else None

    def keep(self, account: str, kind: Kind, fact: AccountFact) -> None:
        """Remember it, in the place of what was said before."""
        values = {"account": account, "kind": kind, "amount": fact.amount, "unit": fact.unit}
        with self._engine.begin() as connection:
            connection.execute(_KEEP, {**values, "key": fact.key, "read_at": fact.read_at})


# The same words in SQLite and PostgreSQL; SQLAlchemy's own would import both dialects into every process.
_KEEP = sa.text(
    f"INSERT INTO {account_facts.name} (account, kind, amount, unit, key, read_at) "  # noqa: S608 - our constant
    "VALUES (:account, :kind, :amount, :unit, :key, :read_at) ON CONFLICT (account, kind) DO UPDATE SET "
    "amount = excluded.amount, unit = excluded.unit, key = excluded.key, read_at = excluded.read_at"
)
