"""The switch that stops spending: of everything, a pipeline or an account. Honoured in a claim's transaction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from pixverse_dagster.core.errors import Paused
from pixverse_dagster.ledger.codec import writable
from pixverse_dagster.ledger.engine import reading
from pixverse_dagster.ledger.schema import pauses

Scope = Literal["all", "pipeline", "account"]


@dataclass(frozen=True)
class Pause:
    """Nothing is submitted for what it names, until a person resumes. `since` is in seconds since the epoch."""

    scope: Scope
    name: str
    reason: str
    since: float

    def __str__(self) -> str:
        what = "all spending" if self.scope == "all" else f"spending of {self.scope} {self.name!r}"
        return f"{what} is paused" + (f" ({self.reason})" if self.reason else "")


class Pauses:
    """Reads and writes the pauses of a ledger. Every method is one transaction; safe to use from many threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, pause: Pause) -> bool:
        """Stop spending, for every process, from the next claim on. False if it was stopped already."""
        with self._engine.begin() as connection:
            if connection.execute(sa.select(pauses).where(*_same(pause.scope, pause.name))).first():
                return False
            values = {"scope": pause.scope, "name": pause.name, "reason": writable(pause.reason), "since": pause.since}
            connection.execute(sa.insert(pauses).values(values))
            return True

    def remove(self, scope: Scope, name: str) -> bool:
        """Allow spending again. False if this was not stopped; a pause of another scope still holds."""
        with self._engine.begin() as connection:
            return connection.execute(sa.delete(pauses).where(*_same(scope, name))).rowcount > 0

    def find(self) -> list[Pause]:
        """All pauses, the oldest first."""
        with reading(self._engine) as connection:
            return [Pause(*record) for record in connection.execute(sa.select(pauses).order_by(pauses.c.since))]

    def applying(self, pipeline: str, accounts: Iterable[str]) -> dict[str, Pause]:
        """By account, the pause that keeps the pipeline from submitting to it; accounts that are free are absent."""
        found = self.find()
        return {
            account: pause
            for account in accounts
            if (pause := next((one for one in found if _applies(one, pipeline, account)), None))
        }


def check_pauses(connection: sa.Connection, pipeline: str, account: str) -> None:
    """Raise Paused if a person stopped the spending of the pipeline or the account."""
    found = (Pause(*record) for record in connection.execute(sa.select(pauses).order_by(pauses.c.since)))
    if pause := next((one for one in found if _applies(one, pipeline, account)), None):
        raise Paused(f"{pause}. Nothing was sent, and nothing was spent; the row keeps its place")


def _applies(pause: Pause, pipeline: str, account: str) -> bool:
    return (pause.scope, pause.name) in {("all", ""), ("pipeline", pipeline), ("account", account)}


def _same(scope: Scope, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return pauses.c.scope == scope, pauses.c.name == name
