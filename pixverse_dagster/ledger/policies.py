"""How old the options are that spend by themselves, so that none buys what was there before it."""

from __future__ import annotations

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.engine import CHUNK, one_at_a_time, reading
from pixverse_dagster.ledger.history import HISTORY
from pixverse_dagster.ledger.retries import select_settled
from pixverse_dagster.ledger.schema import counters, policies, tasks
from pixverse_dagster.policy.retry import Retries, RetryPolicy

_PREFIX = "retry."


class Policies:
    """Remembers the retry policies of a ledger's pipelines. Safe to use from many threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def see_retries(self, pipeline: str, policy: RetryPolicy, now: float) -> Retries:
        """Remember that the pipeline works with this policy, for whoever may spend by it; what follows from it.

        A value that is new, of any kind of failure, holds from here on, and the one before is forgotten. Repeatable;
        nothing is written where nothing changed.
        """
        wanted = _values(policy)
        with reading(self._engine) as connection:
            if _find(connection, pipeline).keys() == wanted.keys():
                return find_retries(connection, pipeline, policy)
        with self._engine.begin() as connection:
            one_at_a_time(connection)
            there = _find(connection, pipeline)
            for name, value in there.keys() - wanted.keys():
                same = (policies.c.pipeline == pipeline, policies.c.name == name, policies.c.value == value)
                connection.execute(sa.delete(policies).where(*same))
            last = connection.execute(sa.select(counters.c.value).where(counters.c.name == HISTORY)).scalar_one()
            for name, value in sorted(wanted.keys() - there.keys()):
                new = {"pipeline": pipeline, "name": name, "value": value, "first_seen_at": now, "position": last}
                connection.execute(sa.insert(policies).values(new))
            return find_retries(connection, pipeline, policy)

    def find_retries(self, pipeline: str, policy: RetryPolicy) -> Retries:
        """What follows from this policy, as far as it was seen. Changes nothing."""
        with reading(self._engine) as connection:
            return find_retries(connection, pipeline, policy)

    def settle(self, pipeline: str, retries: Retries, limit: int) -> None:
        """Leave out, from now on, failures that the policy will not answer any more; so many of each kind."""
        for kind in sorted(retries.since):
            with reading(self._engine) as connection:
                query = select_settled(pipeline, kind, retries).limit(limit)
                found = list(connection.execute(query).scalars())
            for chunk in chunked(found, CHUNK):
                with self._engine.begin() as connection:
                    same = (tasks.c.id.in_(chunk), tasks.c.state == TaskState.FAILED)
                    connection.execute(sa.update(tasks).where(*same).values(failed_position=None))


def find_retries(connection: sa.Connection, pipeline: str, policy: RetryPolicy) -> Retries:
    """A retry policy with the place in the history from which each part of it holds."""
    wanted = _values(policy)
    there = _find(connection, pipeline) if wanted else {}
    return Retries(policy, {kind: there[key] for key, kind in wanted.items() if key in there})


def _values(policy: RetryPolicy) -> dict[tuple[str, str], FailureKind]:
    """The entries of a policy, by name and value; a kind that is not retried has none."""
    return {
        (f"{_PREFIX}{kind.value}", str(count)): kind for kind in FailureKind if (count := policy.further_attempts(kind))
    }


def _find(connection: sa.Connection, pipeline: str) -> dict[tuple[str, str], int]:
    same = (policies.c.pipeline == pipeline, policies.c.name.startswith(_PREFIX, autoescape=True))
    found = connection.execute(sa.select(policies.c.name, policies.c.value, policies.c.position).where(*same))
    return {(record.name, record.value): record.position for record in found}
