"""A whole pipeline in few numbers: how many rows stand how, and what they cost, each by one grouped query."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import ANSWERS_REQUEST, MAY_STALL, OCCUPIES_SLOT, POLLED, TaskState
from pixverse_dagster.core.manifest import World
from pixverse_dagster.core.row_state import RowState
from pixverse_dagster.ledger.engine import reading
from pixverse_dagster.ledger.schema import account_keys, check_results, rows, tasks, waiting
from pixverse_dagster.ledger.worlds import Worlds, find_worlds, made_in

_OPEN = sorted({TaskState.CLAIMED, TaskState.SUBMITTED, TaskState.SUCCEEDED, TaskState.UNKNOWN})
ASKED_ABOUT = "asked about"
"""Why a row's outcome is unknown that the poller still asks about by itself."""
FOR_A_PERSON = "for a person"
"""Why a row's outcome is unknown that only a person can find out about."""


@dataclass(frozen=True)
class RowCount:
    """How many rows are in a state for one reason, with these labels; since when the oldest of them is.

    `why` is what a row waits for, the kind of a failure, or who finds out about an unknown outcome.
    """

    state: RowState
    why: str
    labels: Mapping[str, str]
    count: int
    oldest_at: float | None


@dataclass(frozen=True)
class LabelledCost:
    """What tasks with the same labels cost in one world: the provider's figures, else the estimates."""

    labels: Mapping[str, str]
    world: World
    usd: float


class Totals:
    """Counts what a pipeline has, in few queries however many rows there are. Safe to use from many threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def rows(self, pipeline: str, worlds: Worlds | None = None, *, blocking: bool = False) -> list[RowCount]:
        """The rows of the table, and what is open of others and of earlier requests; each counted once.

        With `blocking`, a stored clip of which a check failed is withheld. What was made in another world than the
        provider's present one answers for no row; what is open of a real provider is counted all the same.
        """
        with reading(self._engine) as connection:
            present = find_worlds(connection, pipeline) if worlds is None else worlds
            of_table = _of_table(pipeline, present, blocking=blocking)
            found = sa.union_all(of_table, _apart(pipeline, present)).subquery()
            by = (found.c.state, found.c.why, found.c.labels)
            query = sa.select(*by, sa.func.count(), sa.func.min(found.c.since)).group_by(*by)
            return [
                RowCount(RowState(state), why, _labels(labels), count, oldest)
                for state, why, labels, count, oldest in connection.execute(query)
            ]

    def costs(self, pipeline: str) -> list[LabelledCost]:
        """What all tasks of the pipeline cost, by the labels that they were submitted with. Refused ones are free."""
        presumed = sa.and_(tasks.c.state == TaskState.UNKNOWN, tasks.c.found_at.is_not(None), tasks.c.task_id.is_(None))
        usd = sa.func.coalesce(tasks.c.cost_usd, sa.case((presumed, 0.0), else_=tasks.c.estimate_usd), 0.0)
        by = (tasks.c.labels, tasks.c.world)
        query = sa.select(*by, sa.func.sum(usd)).where(tasks.c.pipeline == pipeline, tasks.c.state != TaskState.REFUSED)
        with reading(self._engine) as connection:
            found = connection.execute(query.group_by(*by))
            return [LabelledCost(_labels(labels), world, usd) for labels, world, usd in found]

    def at_stake(self, pipeline: str) -> tuple[float, int]:
        """What tasks of unknown outcome may have cost, in US dollars, and how many have no known price."""
        unpriced = sa.func.count().filter(tasks.c.estimate_usd.is_(None))
        query = sa.select(sa.func.coalesce(sa.func.sum(tasks.c.estimate_usd), 0.0), unpriced).where(
            tasks.c.pipeline == pipeline, tasks.c.state == TaskState.UNKNOWN
        )
        with reading(self._engine) as connection:
            usd, count = connection.execute(query).one()
            return float(usd), count

    def next_poll_at(self, pipeline: str, worlds: Worlds | None = None) -> float | None:
        """When the next task is to be asked about, in seconds since the epoch; None if none is."""
        query = sa.select(sa.func.min(tasks.c.next_poll_at)).where(
            tasks.c.pipeline == pipeline, tasks.c.state.in_(sorted(POLLED))
        )
        with reading(self._engine) as connection:
            present = find_worlds(connection, pipeline) if worlds is None else worlds
            return connection.execute(query.where(made_in(present))).scalar()

    def accounts(self, pipeline: str) -> list[str]:
        """The accounts that the pipeline has open tasks at, and those whose keys are known."""
        mine = sa.select(tasks.c.account).where(
            tasks.c.pipeline == pipeline, tasks.c.state.in_(sorted(OCCUPIES_SLOT)), tasks.c.account != ""
        )
        with reading(self._engine) as connection:
            found = connection.execute(mine.union(sa.select(account_keys.c.account)))
            return sorted(found.scalars())


def _of_table(pipeline: str, worlds: Worlds, *, blocking: bool) -> sa.Select[str, str, str, float]:
    """State, reason, labels and time of every row of the table, and of what is open of its request besides.

    Of several tasks of a request, the one that `core.task.governing` chooses answers. Joined by index from the rows on:
    SQLite would go through a subquery of all tasks once for each row.
    """
    answers = [tasks.c[name] == rows.c[name] for name in _REQUEST]
    waits = sa.and_(*(waiting.c[name] == rows.c[name] for name in _REQUEST))
    joined = rows.outerjoin(tasks, sa.and_(*answers, made_in(worlds))).outerjoin(waiting, waits)
    first = sa.func.row_number().over(
        partition_by=rows.c.row,
        order_by=(sa.case((tasks.c.state.in_(sorted(ANSWERS_REQUEST)), 0), else_=1), tasks.c.claim.desc()),
    )
    is_waiting = sa.and_(
        waiting.c.row.is_not(None),
        sa.or_(tasks.c.state.is_(None), tasks.c.state.not_in(sorted(ANSWERS_REQUEST))),
    )
    failed_check = sa.exists().where(check_results.c.task == tasks.c.id, check_results.c.passed.is_(False))
    withheld = [(sa.and_(tasks.c.state == TaskState.STORED, failed_check), RowState.WITHHELD)] if blocking else []
    state = sa.case((is_waiting, RowState.WAITING), (tasks.c.state.is_(None), RowState.NEW), *withheld, else_=_STATE)
    found = (
        sa.select(
            state.label("state"),
            sa.case((is_waiting, waiting.c.reason), else_=_WHY).label("why"),
            rows.c.labels,
            sa.case((is_waiting, waiting.c.since), else_=_SINCE).label("since"),
            tasks.c.state.label("of_task"),
            first.label("place"),
        )
        .select_from(joined)
        .where(rows.c.pipeline == pipeline)
        .subquery()
    )
    counted = sa.or_(found.c.place == 1, found.c.of_task.in_(_OPEN))
    return sa.select(found.c.state, found.c.why, found.c.labels, found.c.since).where(counted)


def _apart(pipeline: str, worlds: Worlds) -> sa.Select[str, str, str, float]:
    """The same of what is open and answers for no row of the table: its row left, its words changed, or its world."""
    answers = sa.exists().where(*(rows.c[name] == tasks.c[name] for name in _REQUEST), made_in(worlds))
    columns = (_STATE.label("state"), _WHY.label("why"), tasks.c.labels, _SINCE.label("since"))
    return sa.select(*columns).where(
        tasks.c.pipeline == pipeline, tasks.c.state.in_(_OPEN), made_in(worlds, or_live=True), ~answers
    )


_REQUEST = ("pipeline", "row", "digest")
_IS_STALLED = sa.and_(tasks.c.stalled_at.is_not(None), tasks.c.state.in_(sorted(MAY_STALL)))
_STATE = sa.case(
    (_IS_STALLED, RowState.STALLED),
    (tasks.c.state.in_([TaskState.CLAIMED, TaskState.SUBMITTED]), RowState.RENDERING),
    (tasks.c.state == TaskState.SUCCEEDED, RowState.READY),
    else_=tasks.c.state,
)
_WHY = sa.case(
    (tasks.c.state == TaskState.FAILED, sa.func.coalesce(tasks.c.kind, "")),
    (
        tasks.c.state == TaskState.UNKNOWN,
        sa.case((tasks.c.next_poll_at.is_(None), FOR_A_PERSON), else_=ASKED_ABOUT),
    ),
    else_="",
)
_SENT_AT = sa.func.coalesce(tasks.c.submitted_at, tasks.c.claimed_at)
_SINCE = sa.case(
    (tasks.c.state == TaskState.STORED, sa.func.coalesce(tasks.c.stored_at, _SENT_AT)),
    (tasks.c.state.in_([TaskState.SUCCEEDED, TaskState.FAILED]), sa.func.coalesce(tasks.c.finished_at, _SENT_AT)),
    else_=_SENT_AT,
)


def _labels(text: str) -> Mapping[str, str]:
    return json.loads(text)
