"""What a submission would do, row by row, before anything is spent. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pixverse_dagster.budget import NO_LIMIT, NOTHING_SPENT, Budget, Spent, fits
from pixverse_dagster.clip import TaskState
from pixverse_dagster.ledger.records import Task
from pixverse_dagster.prices import Price, estimate_usd, missing_line
from pixverse_dagster.prompts import Problem, Row
from pixverse_dagster.redaction import redact_text


class Verdict(StrEnum):
    """What would become of a row. Only the first three are submitted, and so only they cost anything."""

    NEW = "new"
    CHANGED = "changed"
    AGAIN = "again"
    IN_FLIGHT = "in flight"
    STORED = "stored"
    FAILED = "failed"
    UNKNOWN = "unknown"
    ABANDONED = "abandoned"
    INVALID = "invalid"
    OVER_BUDGET = "over budget"


SUBMITTED = (Verdict.NEW, Verdict.CHANGED, Verdict.AGAIN)
_BY_STATE = {
    TaskState.REFUSED: Verdict.AGAIN,
    TaskState.CLAIMED: Verdict.IN_FLIGHT,
    TaskState.SUBMITTED: Verdict.IN_FLIGHT,
    TaskState.SUCCEEDED: Verdict.IN_FLIGHT,
    TaskState.STORED: Verdict.STORED,
    TaskState.FAILED: Verdict.FAILED,
    TaskState.UNKNOWN: Verdict.UNKNOWN,
    TaskState.ABANDONED: Verdict.ABANDONED,
}


@dataclass(frozen=True)
class Purse:
    """What a plan may spend: the price book, the budget, and what of it is spent."""

    prices: Sequence[Price] = ()
    budget: Budget = NO_LIMIT
    spent: Spent = NOTHING_SPENT


@dataclass(frozen=True)
class PlanLine:
    """One row of a plan. `cost_usd` is 0 where nothing would be sent and None where nobody knows the price."""

    row: str
    model: str
    verdict: Verdict
    cost_usd: float | None
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """A plan and its sums."""

    lines: tuple[PlanLine, ...]

    @property
    def counts(self) -> Counter[Verdict]:
        """How many rows have each verdict."""
        return Counter(line.verdict for line in self.lines)

    @property
    def cost_usd(self) -> float:
        """The sum of the known prices of what would be submitted."""
        return round(sum(line.cost_usd or 0 for line in self.lines), 6)

    @property
    def unpriced(self) -> int:
        """How many rows would be submitted at a price that nobody knows."""
        return sum(line.cost_usd is None for line in self.lines)


def make_plan(rows: Iterable[Row], problems: Iterable[Problem], tasks: Iterable[Task], purse: Purse) -> Plan:
    """The plan for rows in table order, against every task their pipeline ever had (the oldest first).

    A submission goes by the same plan, so that the two agree: rows that do not fit into the budget are left out in
    table order, and a later, cheaper row that fits is taken.
    """
    newest: dict[tuple[str, str], Task] = {}
    attempted: set[str] = set()
    for task in tasks:
        newest[task.row, task.digest] = task
        attempted.add(task.row)
    room = purse.spent.room_usd(purse.budget)
    lines: list[PlanLine] = []
    for row in rows:
        line = _line(row, newest.get((row.id, row.digest)), purse.prices, seen=row.id in attempted)
        if line.verdict in SUBMITTED and purse.budget.limits:
            line = _within(line, row, room)
            room -= line.cost_usd or 0
        lines.append(line)
    lines += [PlanLine(p.row or f"line {p.line}", "", Verdict.INVALID, 0.0, str(p)) for p in problems]
    return Plan(tuple(lines))


def _line(row: Row, task: Task | None, prices: Sequence[Price], *, seen: bool) -> PlanLine:
    model = row.request.MODEL
    if task is None:
        return PlanLine(row.id, model, Verdict.CHANGED if seen else Verdict.NEW, estimate_usd(row.request, prices))
    verdict = _BY_STATE[task.state]
    cost = estimate_usd(row.request, prices) if verdict in SUBMITTED else 0.0
    return PlanLine(row.id, model, verdict, cost, redact_text(task.reason or ""))


def _within(line: PlanLine, row: Row, room_usd: float) -> PlanLine:
    if line.cost_usd is None:
        note = f"no known price, and a budget is set; add a line to the price book: {missing_line(row.request)}"
    elif not fits(line.cost_usd, room_usd):
        note = f"costs about {line.cost_usd:.3f} USD, and {room_usd:.3f} USD are left of the budget"
    else:
        return line
    return replace(line, verdict=Verdict.OVER_BUDGET, cost_usd=0.0, note=note)
