"""What a submission would do, row by row, before anything is spent. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pixverse_dagster.clip import TaskState
from pixverse_dagster.ledger.records import Task
from pixverse_dagster.prices import estimate_usd
from pixverse_dagster.prompts import Problem, Row


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


def make_plan(rows: Sequence[Row], problems: Iterable[Problem], tasks: Iterable[Task]) -> Plan:
    """The plan for a table as it was read, against every task its pipeline ever had (the oldest first)."""
    newest: dict[tuple[str, str], Task] = {}
    attempted: set[str] = set()
    for task in tasks:
        newest[task.row, task.digest] = task
        attempted.add(task.row)
    lines = [_line(row, newest.get((row.id, row.digest)), seen=row.id in attempted) for row in rows]
    lines += [PlanLine(p.row or f"line {p.line}", "", Verdict.INVALID, 0.0, str(p)) for p in problems]
    return Plan(tuple(lines))


def _line(row: Row, task: Task | None, *, seen: bool) -> PlanLine:
    model = row.request.MODEL
    if task is None:
        return PlanLine(row.id, model, Verdict.CHANGED if seen else Verdict.NEW, estimate_usd(row.request))
    verdict = _BY_STATE[task.state]
    cost = estimate_usd(row.request) if verdict in SUBMITTED else 0.0
    return PlanLine(row.id, model, verdict, cost, task.reason or "")
