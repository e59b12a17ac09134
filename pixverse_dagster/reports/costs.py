"""What was spent, by label, model, day, provider or account. From sums that the database makes; changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.lifecycle import OPEN_SUBMIT, TaskState
from pixverse_dagster.core.manifest import World
from pixverse_dagster.ledger.costs import CostSum, SumColumn
from pixverse_dagster.ledger.ledger import Ledger

BY = ("label:KEY", "model", "day", "provider", "account")
"""What costs can be told by."""
_LABEL = "label:"
_DAY_SECONDS = 86_400
_MILLIONTHS = 1_000_000
_COLUMNS: dict[str, SumColumn] = {"": "", "model": "model", "provider": "model", "day": "day", "account": "account"}
_WITHOUT_RESULT = frozenset({TaskState.FAILED, TaskState.ABANDONED})


@dataclass(frozen=True)
class CostLine:
    """What tasks cost that have a label's value, a model, a day, a provider or an account in common, in one world.

    Each counted task is in exactly one of `charged_usd`, `estimated_usd` and `at_stake_usd`. The other sums say how
    much of these is of a certain kind. A refused submit cost nothing and is not counted.
    """

    name: str
    """The value; empty where a task has no such label, or where nothing was asked for. A day is YYYY-MM-DD, in UTC."""
    world: World
    """What a simulator charged is nobody's money: a line is of one world."""
    tasks: int = 0
    charged_usd: float = 0.0
    """The provider's own figures."""
    estimated_usd: float = 0.0
    """Of tasks that it accepted and told no figure of: what they were expected to cost."""
    at_stake_usd: float = 0.0
    """Of submits whose outcome is not known, or not yet: perhaps paid. They count as spent."""
    without_result_usd: float = 0.0
    """Of what is charged or estimated: paid, or perhaps paid, for tasks that failed or were given up."""
    by_others_usd: float = 0.0
    """Of all of it: what another ledger paid, whose clips this one took in. It counts them as well."""
    unpriced: int = 0
    """Of the tasks: how many there are whose price nobody knows. They are in no sum."""
    at_stake_unpriced: int = 0
    """Of the unpriced: how many may have been paid for. What is at stake is more than `at_stake_usd` by these."""
    without_result_unpriced: int = 0
    """Of the unpriced: how many failed or were given up."""
    presumed: int = 0
    """Of the unpriced: rows that a lost ledger may have sent. Nobody knows of a charge for them."""
    forgotten: int = 0
    """Of the tasks: how many clips were deleted on demand. Their labels were deleted with them, their cost was not."""

    @property
    def spent_usd(self) -> float:
        """What counts as spent, also for a budget: charged, estimated and at stake."""
        return round(self.charged_usd + self.estimated_usd + self.at_stake_usd, 6)


def read_costs(ledger: Ledger, pipeline: str | None, by: str = "", since: float = 0.0) -> list[CostLine]:
    """What the tasks cost that were claimed at or after `since` (seconds since the epoch), in few queries.

    `by` is one of BY, with a label's own name for KEY, or empty for one line of each world. Without a pipeline, all
    that the ledger keeps. A task counts for the UTC day of its claim. Live lines come first; days are in order, other
    lines begin with what cost most. Raises PixverseError for another `by`.
    """
    column = _column(by)
    found: dict[tuple[World, str], list[CostSum]] = {}
    for one in ledger.costs.sums(pipeline, column, since):
        if one.state is not TaskState.REFUSED:
            found.setdefault((one.world, _name(one.value, by)), []).append(one)
    lines = [_line(name, world, sums) for (world, name), sums in found.items()]
    if by == "day":
        return sorted(lines, key=lambda line: (line.world, line.name))
    return sorted(lines, key=lambda line: (line.world, -line.spent_usd, -line.tasks, line.name))


def sum_lines(lines: Iterable[CostLine]) -> list[CostLine]:
    """One line of each world, live first, that says what all of these say together."""
    worlds: dict[World, list[CostLine]] = {}
    for line in lines:
        worlds.setdefault(line.world, []).append(line)
    return [_total(world, worlds[world]) for world in sorted(worlds)]


def check_by(by: str) -> str:
    """What costs are to be told by, as it was given. Raises PixverseError if they cannot be."""
    _column(by)
    return by


def _column(by: str) -> SumColumn:
    column = "labels" if _is_label(by) else _COLUMNS.get(by)
    if column is None:
        raise PixverseError(f"costs are told by {', '.join(BY)}, and not by {by!r}")
    return column


def _is_label(by: str) -> bool:
    return by.startswith(_LABEL) and by != _LABEL


def _name(value: str, by: str) -> str:
    if _is_label(by):
        return str(json.loads(value).get(by.removeprefix(_LABEL), ""))
    if by == "day":
        return datetime.fromtimestamp(int(value) * _DAY_SECONDS, UTC).date().isoformat()
    return value.partition("/")[0] if by == "provider" else value


def _line(name: str, world: World, sums: Iterable[CostSum]) -> CostLine:
    sums = list(sums)
    stake = [one for one in sums if one.state in OPEN_SUBMIT]
    known = [one for one in sums if one.state not in OPEN_SUBMIT]
    return CostLine(
        name=name,
        world=world,
        tasks=_count(sums),
        charged_usd=_usd(one for one in known if one.source == "provider"),
        estimated_usd=_usd(one for one in known if one.source == "estimate"),
        at_stake_usd=_usd(stake),
        without_result_usd=_usd(one for one in known if one.state in _WITHOUT_RESULT),
        by_others_usd=_usd(one for one in sums if one.by_others),
        unpriced=_count(one for one in sums if one.source == "unknown"),
        at_stake_unpriced=_count(one for one in stake if one.source == "unknown" and not one.presumed),
        without_result_unpriced=_count(
            one for one in known if one.state in _WITHOUT_RESULT and one.source == "unknown"
        ),
        presumed=_count(one for one in sums if one.presumed),
        forgotten=_count(one for one in sums if one.state is TaskState.FORGOTTEN),
    )


def _count(sums: Iterable[CostSum]) -> int:
    return sum(one.tasks for one in sums)


def _usd(sums: Iterable[CostSum]) -> float:
    return sum(one.usd_millionths for one in sums) / _MILLIONTHS


def _total(world: World, lines: Iterable[CostLine]) -> CostLine:
    lines = list(lines)
    usd = ("charged_usd", "estimated_usd", "at_stake_usd", "without_result_usd", "by_others_usd")
    counts = ("tasks", "unpriced", "at_stake_unpriced", "without_result_unpriced", "presumed", "forgotten")
    sums = {name: round(sum(getattr(line, name) for line in lines), 6) for name in usd}
    return CostLine("", world, **sums, **{name: sum(getattr(line, name) for line in lines) for name in counts})
