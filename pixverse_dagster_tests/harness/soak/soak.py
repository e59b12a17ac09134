"""A soak: every fault at a random rate, workers, code servers and daemons killed at random, and then a reckoning.

`python -m pixverse_dagster_tests.harness.soak [--seconds S] [--rows N] [--seed N] [--database …] [--store …]`
prints one line of figures and exits with 1 unless every row was charged at most once and every charge is accounted
for. The seed draws the rates, the faults, the runs and the kills; how the machine schedules them is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import psutil

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster_tests.harness.commands import ask_until
from pixverse_dagster_tests.harness.soak.stage import NAME, PACE, Options, Part, Stage, open_stage
from pixverse_dagster_tests.harness.soak.verdict import Verdict, describe, judge

PARTS: Sequence[Part] = ("worker", "code server", "daemon")
_DECK = (6, 1, 1)
_CHAOS_SHARE = 0.45
_SETUP_SECONDS, _REST_SECONDS, _FINISH_SECONDS = 60.0, 200.0, 90.0
_REST_SECONDS_PER_ROW = 0.4
_MAX_WORKERS = 3
_STRIKE_EVERY_SECONDS = 3.5
_STRIKES_OF_A_STORM = 12
_GENTLE_SHARE = 0.15
_STUCK_SECONDS = 10.0
_FEW_ROWS = 6
_RESOLVED = 5


@dataclass(frozen=True)
class Outcome:
    """How a soak ended: its line of figures, and what to read if it failed."""

    line: str
    failed: bool
    report: str


def soak(options: Options, folder: Path) -> Outcome:
    """Chaos, rest, judgement; then some unknown rows are resolved as a person would, and judged again."""
    try:
        return _soak(options, folder)
    except BaseException as error:
        error.add_note(f"soak seed={options.seed} did not come to its end; its files are in {folder}")
        raise


def _soak(options: Options, folder: Path) -> Outcome:
    started = time.monotonic()
    with open_stage(options, folder) as stage:
        reading = stage.read_table()
        if not ask_until(lambda: reading.poll() is not None, _SETUP_SECONDS) or reading.returncode:
            raise RuntimeError(f"the table was not read: {(stage.crew.logs / '001-worker.log').read_text()[-3000:]}")
        storm = _Storm(stage)
        storm.rage(options.seconds * _CHAOS_SHARE)
        _come_to_rest(stage)
        first = judge(stage)
        sample = _resolve_by_hand(stage, first)
        last = judge(stage) if sample else first
        lost = [row for row, adopted in sample.items() if adopted and last.ends[row] != "stored"]
        verdict = next((found for found in (first, last) if found.odd or found.problems), last)
        failed = bool(lost or verdict.odd or verdict.problems or last.duplicates)
        figures = {
            "seed": options.seed,
            "database": options.database,
            "store": options.store,
            "rows": len(stage.rows),
            "charges": first.charges,
            "duplicate_charges": max(first.duplicates, last.duplicates),
            **{end: first.count(end) for end in ("stored", "failed", "unknown")},
            "unaccounted": len(verdict.odd),
            "resolved": f"{sum(last.ends[row] == 'stored' for row in sample)}/{len(sample)}",
            "runs": storm.runs,
            "kills": f"{storm.kills.total()} ({', '.join(f'{part}s {storm.kills[part]}' for part in PARTS)})",
            "terminations": storm.terminations,
            "faults": sum(stage.simulator.faults().values()),
            "seconds": round(time.monotonic() - started),
        }
        line = "soak " + " ".join(f"{name}={value}" for name, value in figures.items())
        words = f"adopted and not stored: {lost}\nrates: {json.dumps(stage.rates)}\nfaults: {stage.simulator.faults()}"
        return Outcome(line, failed, f"{line}\n{words}\n{describe(stage, verdict)}" if failed else "")


class _Storm:
    """Runs over random rows, and random signals to whatever runs."""

    def __init__(self, stage: Stage) -> None:
        self.kills: Counter[Part] = Counter()
        self.terminations = 0
        self.runs = 0
        self._victims: list[Part] = []
        self._stage = stage
        self._ids = list(stage.rows.values())
        self._dice = Random(f"{stage.options.seed}:storm")  # noqa: S311 - reproducible on purpose, guards nothing

    def rage(self, seconds: float) -> None:
        """New rows come up until near the end, so that there is always something to lose."""
        crew, dice, started = self._stage.crew, self._dice, time.monotonic()
        every = min(_STRIKE_EVERY_SECONDS, seconds / _STRIKES_OF_A_STORM)
        next_strike = started + dice.uniform(3, 5)
        while (elapsed := time.monotonic() - started) < seconds:
            if not crew.alive("daemon"):
                self._stage.start_daemon()
            if len(crew.alive("launcher")) + len(crew.parts("worker")) < _MAX_WORKERS:
                self._run(min(1.0, 0.1 + elapsed / seconds))
            if time.monotonic() >= next_strike:
                self._strike()
                next_strike = time.monotonic() + dice.expovariate(1 / every)
            threading.Event().wait(0.2)

    def _run(self, share: float) -> None:
        dice, stage = self._dice, self._stage
        known = self._ids[: max(40, int(len(self._ids) * share))]
        some = dice.sample(known, dice.randint(1, min(120, len(known))))
        first = dice.randrange(len(known))
        consecutive = known[first : first + dice.randint(1, 40)]
        self.runs += 1
        match dice.choices(("execute", "launch", "clips", "both", "prompts"), (35, 25, 20, 15, 5))[0]:
            case "execute":
                stage.submit(some)
            case "launch":
                stage.submit(some, queued=True)
            case "clips":
                stage.take(consecutive)
            case "both":
                stage.take(consecutive, select=("tasks", "clips"))
            case _:
                stage.read_table()

    def _strike(self) -> None:
        # Dealt like cards, so that even a short storm has all of them.
        if not self._victims:
            self._victims = self._dice.sample(PARTS, sum(_DECK), counts=_DECK)
        how = signal.SIGTERM if self._dice.random() < _GENTLE_SHARE else signal.SIGKILL
        if found := self._stage.crew.parts(self._victims[-1]):
            with suppress(psutil.NoSuchProcess):
                self._dice.choice(found).send_signal(how)
            victim = self._victims.pop()
            if how is signal.SIGKILL:
                self.kills[victim] += 1
            else:
                self.terminations += 1


def _come_to_rest(stage: Stage) -> None:
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
    for daemon in stage.crew.alive("daemon"):
        daemon.terminate()
    ask_until(lambda: not stage.crew.alive("daemon"), 20)
    stage.crew.end()
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
        for row in left[:_MAX_WORKERS]:
            stage.take([row], pace=pace)
        if not ask_until(lambda: not stage.crew.alive("person"), _FINISH_SECONDS):
            break
        done = {TaskState.STORED, TaskState.FAILED, TaskState.UNKNOWN}
        current = stage.ledger.tasks.current(NAME, left)
        left = [row for row in left if current[row].state not in done or current[row].resolves_itself]
    stage.crew.end()


def _resolve_by_hand(stage: Stage, verdict: Verdict) -> dict[str, bool]:
    """Resolve some unknown rows with the audit as the provider's console; says which of them were adopted."""
    unknown = [row for row, end in verdict.ends.items() if end == "unknown"]
    charged = [row for row in unknown if any(task["status"] == "succeeded" for task in verdict.charged.get(row, ()))]
    spared = [row for row in unknown if not verdict.charged.get(row)]
    chosen = charged[: _RESOLVED - min(2, len(spared))]
    sample = {row: row in chosen for row in [*chosen, *spared[: _RESOLVED - len(chosen)]]}

    def resolve(row: str) -> None:
        found = ("--adopt", verdict.charged[row][0]["task_id"]) if sample[row] else ("--not-accepted",)
        stage.ask("tasks", "resolve", row, *found)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(resolve, sample))
    _run_on(stage, list(sample), {**PACE, "task_deadline_seconds": 60})
    return sample


def random_seed() -> int:
    """A seed that nobody chose."""
    return int.from_bytes(os.urandom(4), "big")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one soak in a folder that stays if it fails."""
    parser = argparse.ArgumentParser(prog="python -m pixverse_dagster_tests.harness.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180, help="about how long the whole takes")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random_seed())
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--store", choices=("local", "s3"), default="local")
    options = Options(**vars(parser.parse_args(argv)))
    folder = Path(tempfile.mkdtemp(prefix="pixverse-soak-"))
    outcome = soak(options, folder)
    sys.stdout.write(f"{outcome.line}\n")
    if outcome.failed:
        sys.stderr.write(f"{outcome.report}\nseed {options.seed} failed; its files are in {folder}\n")
        return 1
    shutil.rmtree(folder)
    return 0
