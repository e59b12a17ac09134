"""Which failures a retry policy answers: `policy.retry.may_attempt`, as statements over the whole ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import ANSWERS_REQUEST, FailureKind, TaskState
from pixverse_dagster.ledger.codec import TASK_COLUMNS
from pixverse_dagster.ledger.schema import rows, tasks, waiting, withdrawals
from pixverse_dagster.policy.retry import Retries


def select_due(pipeline: str, kind: FailureKind, retries: Retries) -> sa.Select[Any]:
    """The newest claims of current rows that failed so, that the policy answers, and that nobody queued or withdrew.

    A further attempt that was refused is a newer claim: it was asked for, and whether it keeps its place is the
    queue's to say.
    """
    same = [rows.c[name] == tasks.c[name] for name in ("pipeline", "row", "digest")]
    query = sa.select(*TASK_COLUMNS).join(rows, sa.and_(*same)).where(*_failed(pipeline, kind, retries))
    return query.where(
        _failures() <= retries.policy.further_attempts(kind),
        ~_other_claim(lambda other: other.c.claim > tasks.c.claim),
        ~_other_claim(lambda other: other.c.state.in_(sorted(ANSWERS_REQUEST))),
        ~_is_in(waiting),
        ~_is_in(withdrawals),
    ).order_by(tasks.c.failed_position)


def select_settled(pipeline: str, kind: FailureKind, retries: Retries) -> sa.Select[tuple[str]]:
    """The ids of failures that this policy will never answer (again): followed by an attempt, or the last that it pays.

    A later policy answers later failures only. So nobody has to look at them again, however many there are.
    """
    followed = _other_claim(
        lambda other: sa.and_(other.c.claim > tasks.c.claim, other.c.state != TaskState.REFUSED.value)
    )
    is_last = _failures() > retries.policy.further_attempts(kind)
    return sa.select(tasks.c.id).where(*_failed(pipeline, kind, retries), sa.or_(followed, is_last))


def _failed(pipeline: str, kind: FailureKind, retries: Retries) -> list[sa.ColumnElement[bool]]:
    return [
        tasks.c.pipeline == pipeline,
        tasks.c.kind == kind.value,
        tasks.c.failed_position > retries.since[kind],
        tasks.c.state == TaskState.FAILED,
    ]


def _of_request(other: sa.FromClause) -> list[sa.ColumnElement[bool]]:
    return [other.c[name] == tasks.c[name] for name in ("pipeline", "row", "digest", "world")]


def _failures() -> sa.ScalarSelect[int]:
    """How often the request failed in this way."""
    other = tasks.alias()
    alike = (other.c.state == TaskState.FAILED, other.c.kind == tasks.c.kind)
    query = sa.select(sa.func.count()).select_from(other).where(*_of_request(other), *alike)
    return query.correlate(tasks).scalar_subquery()


def _other_claim(such: Callable[[sa.FromClause], sa.ColumnElement[bool]]) -> sa.Exists:
    other = tasks.alias()
    return sa.exists().select_from(other).where(*_of_request(other), such(other)).correlate(tasks)


def _is_in(table: sa.Table) -> sa.Exists:
    return sa.exists().where(*(table.c[name] == tasks.c[name] for name in ("pipeline", "row", "digest")))
