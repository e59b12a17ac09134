"""How a soak or a chaos run comes to its end: what is left is run on, and what nobody can know is resolved by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster_tests.harness.commands import ask_until
from pixverse_dagster_tests.harness.soak.judge import Verdict
from pixverse_dagster_tests.harness.soak.stage import NAME, PACE, Stage

_REST_SECONDS, _FINISH_SECONDS = 200.0, 90.0
_REST_SECONDS_PER_ROW = 0.4
_STUCK_SECONDS = 10.0
_FEW_ROWS = 6
_RESOLVED = 5
_AT_A_TIME = 3


def stop_all(stage: Stage) -> None:
    """Ask the daemons to end, and kill what is left of them and of all else."""
    for daemon in stage.crew.alive("daemon"):
        daemon.terminate()
    ask_until(lambda: not stage.crew.alive("daemon"), 20)
    stage.crew.end()


def come_to_rest(stage: Stage) -> None:
    """Submit what was refused or never submitted, until every row has ended; then stop everything.

    The daemon does all the rest but the last few rows, for which it would need many ticks: those a person runs on.
    """
    deadline = time.monotonic() + max(_REST_SECONDS, _REST_SECONDS_PER_ROW * len(stage.rows))
    while time.monotonic() < deadline:
        if not stage.crew.alive("daemon"):
            stage.start_daemon()
        left = _open_rows(stage)
        # A person's run waits for stuck tasks as well; that ends with the hand-over.
        if left.few and len(stage.crew.parts("worker")) == len(stage.crew.alive("person")):
            break
        if left.unsent and not stage.crew.alive("worker"):
            stage.submit(left.unsent)
        threading.Event().wait(2)
    stop_all(stage)
    left = _open_rows(stage)
    _run_on(stage, left.waiting, PACE)
    _run_on(stage, left.stuck, {**PACE, "task_deadline_seconds": _STUCK_SECONDS})


@dataclass(frozen=True)
class _Open:
    """Rows that have not ended: to be submitted, to be waited for, and those whose task the provider never ends.

    As long as some tasks are young, nobody can tell which are stuck.
    """

    unsent: Sequence[str]
    waiting: Sequence[str]
    stuck: Sequence[str]
    young: bool

    @property
    def few(self) -> bool:
        return not self.unsent and not self.young and len(self.waiting) <= _FEW_ROWS


def _open_rows(stage: Stage) -> _Open:
    current = stage.ledger.tasks.current(NAME)
    unsent = [row for row in stage.rows.values() if row not in current or current[row].state is TaskState.REFUSED]
    going = {TaskState.CLAIMED, TaskState.SUBMITTED, TaskState.SUCCEEDED}
    waiting = [row for row, task in current.items() if task.state in going or task.resolves_itself]
    stuck: list[str] = []
    young = False
    if waiting and not unsent:
        since = (datetime.now(UTC) - timedelta(seconds=_STUCK_SECONDS)).isoformat()
        tasks = [task for task in stage.simulator.tasks() if task["status"] == "processing"]
        never = {task["task_id"] for task in tasks if task["accepted_at"] < since}
        young = len(never) < len(tasks)
        stuck = [row for row in waiting if current[row].task_id in never]
    return _Open(unsent, [row for row in waiting if row not in stuck], stuck, young)


def _run_on(stage: Stage, rows: Sequence[str], pace: Mapping[str, float]) -> None:
    """Run on as a person would: materialise each row's clip, a few at a time, and again where it was refused."""
    deadline = time.monotonic() + _FINISH_SECONDS + 2 * len(rows)
    left = [*rows]
    while left and time.monotonic() < deadline:
        for row in left[:_AT_A_TIME]:
            stage.take([row], pace=pace)
        if not ask_until(lambda: not stage.crew.alive("person"), _FINISH_SECONDS):
            break
        done = {TaskState.STORED, TaskState.FAILED, TaskState.UNKNOWN}
        current = stage.ledger.tasks.current(NAME, left)
        left = [row for row in left if current[row].state not in done or current[row].resolves_itself]
    stage.crew.end()


def resolve_by_hand(stage: Stage, verdict: Verdict) -> dict[str, bool]:
    """Resolve some unknown rows by what the provider's console shows; says which of them were adopted."""
    person = stage.person()
    found = person.look([row for row, end in verdict.ends.items() if end == "unknown"])
    there = [one for one in found if one.status == "succeeded"]
    spared = [one for one in found if not one.task_id]
    chosen = there[: _RESOLVED - min(2, len(spared))]
    chosen += spared[: _RESOLVED - len(chosen)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(person.resolve, chosen))
    _run_on(stage, [one.row for one in chosen], {**PACE, "task_deadline_seconds": 60})
    return {one.row: bool(one.task_id) for one in chosen}
