"""The person in a test: sees what the project's commands print and what a provider's console shows, and no more.

What the simulator charged and made is known to the judge alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pixverse_dagster_tests.harness.servers import Simulator

Record = dict[str, Any]


class Puzzled(AssertionError):
    """The console shows several tasks that may be the row's: an operator could not decide."""


@dataclass(frozen=True)
class Found:
    """A task of unknown outcome, and what the console shows of it: an id and a status, or nothing."""

    row: str
    task_id: str = ""
    status: str = ""


@dataclass(frozen=True)
class Person:
    """Whoever operates the pipeline. `ask` runs a command of the project and gives what it prints."""

    ask: Callable[..., str]
    simulator: Simulator
    account: str = "simulator"

    def look(self, rows: Sequence[str] | None = None) -> list[Found]:
        """Look for each task of unknown outcome, or those of these rows, by provider, time and words."""
        tasks: list[Record] = json.loads(self.ask("tasks", "list", "--json"))
        known = {task["task_id"] for task in tasks}
        shown = [one for one in self.simulator.console(self.account) if one["task_id"] not in known]
        wanted = [task for task in tasks if task["state"] == "unknown" and (rows is None or task["row"] in rows)]
        return [_match(task, shown) for task in wanted]

    def resolve(self, found: Found) -> None:
        """Tell the project what the console shows."""
        answer = ("--adopt", found.task_id) if found.task_id else ("--not-accepted",)
        self.ask("tasks", "resolve", found.row, *answer)


def _match(task: Record, shown: Sequence[Record]) -> Found:
    seen = [*_candidates(task, shown)]
    if len(seen) > 1:
        raise Puzzled(f"row {task['row']!r} may be any of {seen}")
    return Found(task["row"], seen[0]["task_id"], seen[0]["status"]) if seen else Found(task["row"])


def _candidates(task: Record, shown: Sequence[Record]) -> Iterator[Record]:
    # Of what a lost ledger may have submitted nobody knows the time; a console tells the second.
    since = _second(task["claimed_at"]) if task["claimed_at"] else ""
    prompt = str(task["request"]["prompt"]).strip()
    for one in shown:
        words = one["prompt"]
        same = prompt.startswith(words.removesuffix("…")) if words.endswith("…") else prompt == words
        if one["provider"] == task["model"].partition("/")[0] and same and one["submitted_at"] >= since:
            yield one


def _second(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
