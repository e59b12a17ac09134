"""What a submission would do, row by row, before anything is spent. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import median_low
from typing import get_args

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import Difference, World
from pixverse_dagster.core.price import Price
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.row import Problem, Row, changed_columns
from pixverse_dagster.core.task import Task, governing
from pixverse_dagster.policy.budget import NO_LIMIT, NOTHING_SPENT, Budget, Spent, fits
from pixverse_dagster.policy.differences import describe_differences, seen
from pixverse_dagster.policy.prices import PriceBook, missing_line
from pixverse_dagster.policy.retry import NOT_RETRIED, Retries, may_attempt
from pixverse_dagster.policy.sizes import ExpectedSize, expected_size


class Verdict(StrEnum):
    """What a submission would do with a row. Only rows with one of the first four are submitted and cost anything."""

    NEW = "new"
    CHANGED = "changed"
    AGAIN = "again"
    RETRY = "retry"
    IN_FLIGHT = "in flight"
    STORED = "stored"
    FAILED = "failed"
    UNKNOWN = "unknown"
    ABANDONED = "abandoned"
    FORGOTTEN = "forgotten"
    INVALID = "invalid"
    OVER_BUDGET = "over budget"
    IN_STORE = "in the store"
    WITHHELD = "withheld"


_DEAR_TIMES = 5
"""A row that costs so many times what the usual one costs is marked."""
SUBMITTED = (Verdict.NEW, Verdict.CHANGED, Verdict.AGAIN, Verdict.RETRY)
_BY_STATE = {
    TaskState.REFUSED: Verdict.AGAIN,
    TaskState.CLAIMED: Verdict.IN_FLIGHT,
    TaskState.SUBMITTED: Verdict.IN_FLIGHT,
    TaskState.SUCCEEDED: Verdict.IN_FLIGHT,
    TaskState.STORED: Verdict.STORED,
    TaskState.FAILED: Verdict.FAILED,
    TaskState.UNKNOWN: Verdict.UNKNOWN,
    TaskState.ABANDONED: Verdict.ABANDONED,
    TaskState.FORGOTTEN: Verdict.FORGOTTEN,
}


@dataclass(frozen=True)
class NotPaid:
    """Why a row that the ledger has no task for is not paid for: what the store has in its place."""

    verdict: Verdict
    note: str


@dataclass(frozen=True)
class PlanInputs:
    """What a plan depends on besides rows and tasks.

    `waits` says, by row id, why a row has to wait. `account_room_usd` is what is left, by provider, of the budgets that
    accounts have; providers without one are absent. `worlds` says in which world each provider is now: `spent` has what
    was spent in each, and what was made in the other does not count. `not_paid` is what the store says,
    by row id, of rows that would be paid for; `withheld` why no other row is either, empty if nothing is in the way.
    A row that costs more than `max_usd_per_row`, or perhaps does, is not submitted. `book` has what was seen of prices:
    it corrects the estimates, and a budget reserves the higher figure.
    """

    prices: Sequence[Price] = ()
    budget: Budget = NO_LIMIT
    spent: Mapping[World, Spent] = field(default_factory=dict[World, Spent])
    retries: Retries = NOT_RETRIED
    waits: Mapping[str, str] = field(default_factory=dict[str, str])
    account_room_usd: Mapping[str, float] = field(default_factory=dict[str, float])
    worlds: Mapping[str, World] = field(default_factory=dict[str, World])
    not_paid: Mapping[str, NotPaid] = field(default_factory=dict[str, NotPaid])
    withheld: str = ""
    max_usd_per_row: float | None = None
    book: PriceBook | None = None

    @property
    def priced(self) -> PriceBook:
        """Where prices are known from."""
        return self.book or PriceBook(self.prices)


@dataclass(frozen=True)
class PlanLine:
    """One row of a plan. `cost_usd` is 0 if nothing would be sent, and None if the price is unknown."""

    row: str
    model: str
    verdict: Verdict
    cost_usd: float | None
    note: str = ""
    task: Task | None = None
    """The task that answers for the row's request, if there is one."""
    times_usual: float | None = None
    """How many times the usual price it costs; None if that is nothing out of the ordinary."""
    size: ExpectedSize | None = None
    """The pixels that the row's clips will have; None if the row is invalid, or its model has no resolution."""
    differences: tuple[Difference, ...] = ()
    """What would not be sent as it was asked for."""


@dataclass(frozen=True)
class Plan:
    """The lines of a plan, and their totals."""

    lines: tuple[PlanLine, ...]

    @property
    def counts(self) -> Counter[Verdict]:
        """How many rows have each verdict."""
        return Counter(line.verdict for line in self.lines)

    @property
    def cost_usd(self) -> float:
        """The sum of the known prices of the rows that would be submitted, in US dollars."""
        return round(sum(line.cost_usd or 0 for line in self.lines), 6)

    @property
    def unpriced(self) -> int:
        """How many rows would be submitted at an unknown price."""
        return sum(line.cost_usd is None for line in self.lines)

    @property
    def known_cost_usd(self) -> float | None:
        """The sum of the known prices, in US dollars; None if rows would be submitted and no price is known."""
        return self.cost_usd if self.cost_usd or not self.unpriced else None

    @property
    def cost_text(self) -> str:
        """What submitting would cost, in words: an unknown price is never nothing."""
        rows = f"{self.unpriced} {'row' if self.unpriced == 1 else 'rows'} whose price is not public"
        if self.known_cost_usd is None:
            return f"an unknown amount: {rows}"
        return f"about {self.cost_usd:.3f} USD" + (f" plus {rows}" if self.unpriced else "")

    @property
    def dearest(self) -> list[PlanLine]:
        """The rows that cost many times what the usual row costs, the dearest first."""
        return sorted((one for one in self.lines if one.times_usual), key=lambda one: -(one.times_usual or 0))


def make_plan(rows: Iterable[Row], problems: Iterable[Problem], tasks: Iterable[Task], inputs: PlanInputs) -> Plan:
    """The plan for rows in table order, given every task that the pipeline ever had, oldest first.

    A submission makes the same plan, so that it does what was shown. The budget is spent in table order; a row that
    does not fit is left out, and a later, cheaper row may still fit.
    """
    claims: dict[tuple[str, str], list[Task]] = {}
    newest: dict[str, Task] = {}
    for task in tasks:
        if task.world != inputs.worlds.get(task.provider, task.world):
            continue
        claims.setdefault((task.row, task.digest), []).append(task)
        newest[task.row] = task
    room = {world: inputs.spent.get(world, NOTHING_SPENT).room_usd(inputs.budget) for world in get_args(World)}
    rooms = dict(inputs.account_room_usd)
    lines: list[PlanLine] = []
    for row in rows:
        same_request = sorted(claims.get((row.id, row.digest), []), key=lambda task: task.claim)
        line = _ask_store(_sendable(_line(row, same_request, newest.get(row.id), inputs), row), inputs)
        provider = row.request.provider()
        world: World = inputs.worlds.get(provider, "live")
        if line.verdict in SUBMITTED and inputs.max_usd_per_row is not None:
            line = _within_limit(line, row, inputs.max_usd_per_row)
        if line.verdict in SUBMITTED and (inputs.budget.limits or provider in rooms):
            reserved = inputs.priced.reserve_usd(row.request)
            line = _within_budget(line, row, min(room[world], rooms.get(provider, room[world])), reserved)
            if line.verdict is Verdict.OVER_BUDGET and row.id in inputs.waits:
                line = replace(line, note=f"{line.note}; it keeps its place in the queue")
            taken = (reserved or 0) if line.verdict in SUBMITTED else 0
            room[world] -= taken
            if provider in rooms:
                rooms[provider] -= taken
        lines.append(_with_differences(replace(line, size=expected_size(row.request)), row))
    return Plan((*_mark_dearest(lines), *_invalid_lines(problems)))


def _with_differences(line: PlanLine, row: Row) -> PlanLine:
    """The line with what would not be sent as it was asked for, where anything would be sent now or later."""
    if line.verdict not in {*SUBMITTED, Verdict.OVER_BUDGET, Verdict.WITHHELD}:
        return line
    note = "; ".join(filter(None, (line.note, describe_differences(row.differences))))
    return replace(line, note=note, differences=tuple(seen(row.differences)))


def _invalid_lines(problems: Iterable[Problem]) -> Iterator[PlanLine]:
    """A line for each row that has problems, however many."""
    found: dict[tuple[int, str], list[Problem]] = {}
    for problem in problems:
        found.setdefault(problem.place, []).append(problem)
    for (line, _), (first, *others) in found.items():
        more = [f"{other.column + ': ' if other.column else ''}{other.message}" for other in others]
        row = next((one.row for one in (first, *others) if one.row), "")
        yield PlanLine(row or f"line {line}", "", Verdict.INVALID, 0.0, "; ".join([str(first), *more]))


def _mark_dearest(lines: Sequence[PlanLine]) -> Iterator[PlanLine]:
    """The lines, with a note on those that cost many times what the usual one does: perhaps by a slip."""
    costs = [line.cost_usd for line in lines if line.cost_usd]
    usual = median_low(costs) if costs else 0.0
    for line in lines:
        times = line.cost_usd / usual if line.cost_usd and usual else 0.0
        if times < _DEAR_TIMES:
            yield line
            continue
        note = f"costs about {line.cost_usd:.3f} USD, {times:.0f} times the usual row"
        yield replace(line, times_usual=times, note=f"{line.note}; {note}" if line.note else note)


def _line(row: Row, claims: Sequence[Task], newest: Task | None, inputs: PlanInputs) -> PlanLine:
    """One row. `claims` are those of its present request, `newest` is the newest one of any of its requests."""
    model, answer = row.request.MODEL, governing(claims)
    if answer is None:
        price = inputs.priced.estimate_usd(row.request)
        if newest is None:
            return PlanLine(row.id, model, Verdict.NEW, price, inputs.waits.get(row.id, ""))
        changed = ", ".join(changed_columns(newest, row))
        return PlanLine(row.id, model, Verdict.CHANGED, price, f"changed: {changed}")
    verdict = _BY_STATE[answer.state]
    again = may_attempt(claims, inputs.retries)
    if again != (verdict in SUBMITTED):
        # A refusal after a failure that nobody allowed to be followed leaves it a failure.
        verdict = Verdict.RETRY if again else _BY_STATE[_last_paid(claims).state]
    note = inputs.waits.get(row.id) or redact_text(answer.reason or "")
    price = inputs.priced.estimate_usd(row.request) if verdict in SUBMITTED else 0.0
    return PlanLine(row.id, model, verdict, price, note, answer)


def _sendable(line: PlanLine, row: Row) -> PlanLine:
    """The line as it is where the row is as another version kept it, which this one would not send."""
    why = row.request.unsendable() if line.verdict in SUBMITTED else ""
    return replace(line, verdict=Verdict.INVALID, cost_usd=0.0, note=why) if why else line


def _ask_store(line: PlanLine, inputs: PlanInputs) -> PlanLine:
    """The line as it is by what the store says, where it would be paid for by what the ledger says."""
    if line.verdict not in SUBMITTED:
        return line
    found = inputs.not_paid.get(line.row) or (NotPaid(Verdict.WITHHELD, inputs.withheld) if inputs.withheld else None)
    return replace(line, verdict=found.verdict, cost_usd=0.0, note=found.note) if found else line


def _last_paid(claims: Sequence[Task]) -> Task:
    return [task for task in claims if task.state is not TaskState.REFUSED][-1]


def _within_limit(line: PlanLine, row: Row, most_usd: float) -> PlanLine:
    if line.cost_usd is not None and fits(line.cost_usd, most_usd):
        return line
    if line.cost_usd is None:
        note = f"no known price, and max_usd_per_row is set; add a line to the price book: {missing_line(row.request)}"
    else:
        note = f"costs about {line.cost_usd:.3f} USD, and max_usd_per_row is {most_usd:g}: make it shorter or smaller"
    return replace(line, verdict=Verdict.OVER_BUDGET, cost_usd=0.0, note=note)


def _within_budget(line: PlanLine, row: Row, room_usd: float, reserved: float | None) -> PlanLine:
    if reserved is None:
        note = f"no known price, and a budget is set; add a line to the price book: {missing_line(row.request)}"
    elif not fits(reserved, room_usd):
        note = f"costs about {reserved:.3f} USD, and {room_usd:.3f} USD are left of the budget"
    else:
        return line
    return replace(line, verdict=Verdict.OVER_BUDGET, cost_usd=0.0, note=note)
