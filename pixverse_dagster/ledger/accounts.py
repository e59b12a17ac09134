"""Provider accounts: how many tasks each has under way, and which are left alone for a while."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from pixverse_dagster.core.lifecycle import OCCUPIES_SLOT, POLLED, TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import AccountHold, HoldCause, Task
from pixverse_dagster.core.values import chunked, iso
from pixverse_dagster.ledger.codec import writable
from pixverse_dagster.ledger.engine import CHUNK, one_at_a_time, reading
from pixverse_dagster.ledger.schema import account_keys, accounts, tasks
from pixverse_dagster.policy.identity import Holder
from pixverse_dagster.policy.timing import MAX_WAIT_SECONDS, SKEW_SECONDS, is_over

_UNKNOWN_OCCUPIES_SECONDS = 600
"""How long a submit of unknown outcome is taken to occupy the provider; its slots were seen to free in ten minutes."""

_OCCUPIES_SECONDS = 2 * 86_400
"""No provider renders for so long: a task that nobody asks about any more frees its slot by itself."""
_NEGLECTED_SECONDS = 3600
"""Who asks about tasks has asked about one that was due so long ago: nobody does."""
_MAY_OCCUPY = (*sorted(OCCUPIES_SLOT), TaskState.UNKNOWN)

_OCCUPYING = (
    # Written so that the index of accounts and states leads to the open tasks alone, however many have ended.
    tasks.c.state.in_(_MAY_OCCUPY),
    sa.or_(tasks.c.state != TaskState.UNKNOWN, tasks.c.claimed_at > sa.bindparam("unknown_since")),
    # One that was claimed in the future was so under a wrong clock.
    sa.or_(tasks.c.state != TaskState.UNKNOWN, tasks.c.claimed_at <= sa.bindparam("until")),
    tasks.c.claimed_at > sa.bindparam("since"),
    # One that a person is to look at holds no other up.
    tasks.c.stalled_at.is_(None),
)
_OPEN = (
    sa.select(tasks.c.account, sa.func.count())
    .where(tasks.c.account.in_(sa.bindparam("of", expanding=True)), *_OCCUPYING)
    .group_by(tasks.c.account)
)
_NEGLECTED = (
    sa.select(tasks.c.account, tasks.c.pipeline, sa.func.count(), sa.func.max(tasks.c.next_poll_at))
    .where(tasks.c.account.in_(sa.bindparam("of", expanding=True)), *_OCCUPYING)
    .where(tasks.c.pipeline != sa.bindparam("not_of"))
    .group_by(tasks.c.account, tasks.c.pipeline)
    .having(sa.func.max(tasks.c.next_poll_at) < sa.bindparam("due_since"))
    .order_by(tasks.c.account, tasks.c.pipeline)
)


@dataclass(frozen=True)
class HeldSlots:
    """Slots of an account that another pipeline's tasks hold, which nobody has asked about since they were due."""

    account: str
    pipeline: str
    count: int
    due_since: float

    def __str__(self) -> str:
        return (
            f"{self.count} at {self.account} by tasks of pipeline {self.pipeline!r}, that nobody has asked about since "
            f"{iso(self.due_since)}"
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

    def neglected(self, pipeline: str, now: float) -> list[HeldSlots]:
        """Slots that other pipelines' tasks hold and nobody asks about: of pipelines that were renamed or removed."""
        with reading(self._engine) as connection:
            known = connection.execute(sa.select(account_keys.c.account).distinct()).scalars()
            return find_neglected(connection, list(known), pipeline, now)

    def hold(self, account: str, hold: AccountHold, now: float, longest_seconds: float = MAX_WAIT_SECONDS) -> None:
        """Leave an account alone for a while, for every process; a later end is kept, if it may be true."""
        with self._engine.begin() as connection:
            one_at_a_time(connection)
            same = accounts.c.account == account
            there = connection.execute(sa.select(accounts.c.held_until, accounts.c.cause).where(same)).first()
            values = {
                "held_until": hold.until,
                "refusals": hold.refusals,
                "reason": writable(redact_text(hold.reason)),
                "cause": hold.cause,
                "key": hold.key,
            }
            if (
                there is not None
                and hold.until < there.held_until
                and not is_over(there.held_until, now, longest_seconds)
            ):
                values |= {"held_until": there.held_until, "cause": there.cause}
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

    def held(self, account: str, now: float, longest_seconds: float = MAX_WAIT_SECONDS) -> AccountHold:
        """Whether the account is on hold, and since how many refusals.

        A hold that would last for longer than `longest_seconds` is over: a wrong clock set its end.
        """
        with reading(self._engine) as connection:
            found = connection.execute(sa.select(accounts).where(accounts.c.account == account)).first()
        if not found:
            return AccountHold()
        until = min(found.held_until, now) if is_over(found.held_until, now, longest_seconds) else found.held_until
        return AccountHold(until, found.refusals, found.reason, HoldCause(found.cause), found.key)


def count_open(connection: sa.Connection, accounts: Sequence[str], now: float) -> dict[str, int]:
    """How many tasks occupy each account: under way, or perhaps so because their submit is of unknown outcome."""
    found = connection.execute(_OPEN, {"of": list(accounts), **_since(now)})
    return {record[0]: record[1] for record in found}


def find_neglected(connection: sa.Connection, accounts: Sequence[str], pipeline: str, now: float) -> list[HeldSlots]:
    """Slots of these accounts that tasks of other pipelines hold, and that nobody has asked about for an hour."""
    of = {"of": list(accounts), "not_of": pipeline, "due_since": now - _NEGLECTED_SECONDS}
    found = connection.execute(_NEGLECTED, of | _since(now))
    return [HeldSlots(*record) for record in found]


def occupies_slot(task: Task, now: float) -> bool:
    """Whether the task counts as one of those that are open at its account, as `count_open` counts them."""
    times, is_unknown = _since(now), task.state is TaskState.UNKNOWN
    if task.claimed_at <= times["unknown_since" if is_unknown else "since"] or task.stalled_at is not None:
        return False
    return task.state in _MAY_OCCUPY and not (is_unknown and task.claimed_at > times["until"])


def _since(now: float) -> dict[str, float]:
    return {
        "since": now - _OCCUPIES_SECONDS,
        "unknown_since": now - _UNKNOWN_OCCUPIES_SECONDS,
        "until": now + SKEW_SECONDS,
    }
