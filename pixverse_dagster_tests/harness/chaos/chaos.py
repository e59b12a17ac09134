"""Chaos: of three providers one at a time is sick, and parts are killed; are the others' clips stored as soon as ever?

`python -m pixverse_dagster_tests.harness.chaos [--full] [--database …] [--seed N]` runs Dagster's daemon against the
simulator, in rounds: some in which all are well, then one for each kind of sickness (with `--full`, of each provider).
Everything is healed, nobody helps, and it waits for the end of every row. It prints how long clips waited from rendered
to stored with and without a sick neighbour, and exits with 1 if a promise broke.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import psutil

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster_tests.harness.chaos.figures import (
    broken,
    table,
    waits,
)
from pixverse_dagster_tests.harness.chaos.rounds import KINDS, Plan, Round, plan_rounds
from pixverse_dagster_tests.harness.commands import ask_until
from pixverse_dagster_tests.harness.judge.records import words_of
from pixverse_dagster_tests.harness.soak.judge import judge
from pixverse_dagster_tests.harness.soak.parts import Part
from pixverse_dagster_tests.harness.soak.report import describe
from pixverse_dagster_tests.harness.soak.rest import resolve_by_hand, stop_all
from pixverse_dagster_tests.harness.soak.stage import NAME, PACE, Options, Stage, open_stage
from pixverse_dagster_tests.harness.soak.ticks import LONGEST_TICK_SECONDS, read_ticks, too_long, untouched

MODELS = ("highway/pixverse-v6-i2v", "runware/pixverse-v4.5", "pixwith/pixverse-v5")
_GENERATION_SECONDS = 2.0
_KILL_SECONDS = (4.0, 15.0)
_SUBMIT_SECONDS, _DRAIN_SECONDS, _REST_SECONDS = 60.0, 60.0, 240.0


@dataclass(frozen=True)
class Scale:
    """How large a round is, and for how long a provider is sick."""

    rows: int = 18
    sick_seconds: float = 30.0


@dataclass(frozen=True)
class Outcome:
    """How a chaos run ended: its figures, and what is wrong."""

    text: str
    wrong: Sequence[str]
    report: str


def chaos(folder: Path, plans: Sequence[Plan], options: Options, scale: Scale = Scale()) -> Outcome:
    """Go through the rounds, heal everybody, wait for every row's end, and judge.

    No clip waits for company: whether another is under way when it is seen is chance, and costs a tick.
    """
    options = replace(options, rows=len(plans) * scale.rows, generation_seconds=_GENERATION_SECONDS)
    options = replace(options, models=MODELS, pace={**PACE, "collect_after_seconds": 0})
    with open_stage(options, folder, rates={}) as stage:
        reading = stage.read_table()
        if not ask_until(lambda: reading.poll() is not None, _SUBMIT_SECONDS) or reading.returncode:
            raise RuntimeError(f"the table was not read: {(stage.crew.logs / '001-worker.log').read_text()[-3000:]}")
        stage.start_daemon()
        ids = list(stage.rows.values())
        batches = [ids[at : at + scale.rows] for at in range(0, len(ids), scale.rows)]
        director = _Director(stage, scale.sick_seconds)
        rounds = [director.play(plan, rows) for plan, rows in zip(plans, batches, strict=True)]
        asked_again = director.rest()
        stop_all(stage)
        return _judge(stage, rounds, asked_again)


class _Director:
    """Asks for rows, makes a provider sick, kills a part, heals; and keeps a daemon running."""

    def __init__(self, stage: Stage, sick_seconds: float) -> None:
        self._stage = stage
        self._sick_seconds = sick_seconds
        self._dice = Random(f"{stage.options.seed}:chaos")  # noqa: S311 - reproducible on purpose, guards nothing
        self._asked: set[str] = set()

    def play(self, plan: Plan, rows: Sequence[str]) -> Round:
        """One round. Half of the rows are at their providers when one of these gets sick, the others come then."""
        stage = self._stage
        if not plan.provider and self._asked:
            self._keep_on(_DRAIN_SECONDS, lambda: not any(True for _ in self._unended()))
        first, second = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        self._asked |= {*rows}
        sent = stage.submit(first)
        self._keep_on(_SUBMIT_SECONDS, lambda: sent.poll() is not None)
        began = time.time()
        if plan.provider:
            stage.simulator.sicken(plan.provider, plan.kind)
        stage.submit(second)
        self._keep_on(self._dice.uniform(*_KILL_SECONDS), lambda: False)
        killed = self._kill(plan.victim, began + self._sick_seconds - time.time()) if plan.victim else ""
        killed_at = time.time()
        self._keep_on(began + self._sick_seconds - time.time(), lambda: False)
        if plan.provider:
            stage.simulator.heal(plan.provider)
        done = Round(frozenset(rows), plan.provider, plan.kind, killed, killed_at, began, time.time())
        sys.stderr.write(f"{done.title}: {dict(stage.ledger.tasks.counts(NAME))}\n")
        return done

    def rest(self) -> int:
        """Wait until every row has ended. What a killed run took with it before it was noted is asked for again."""
        stage, again = self._stage, 0
        deadline = time.monotonic() + _REST_SECONDS
        while time.monotonic() < deadline and (left := set(self._unended())):
            waiting = {entry.row for entry in stage.ledger.queue.find(NAME)}
            lost = sorted(left - waiting - {*stage.ledger.tasks.current(NAME)})
            if lost and not stage.crew.parts("worker"):
                again += len(lost)
                stage.submit(lost)
            self._keep_on(2, lambda: False)
        return again

    def _kill(self, part: Part, seconds: float) -> str:
        """Kill one of these as soon as there is one; names the part if it was killed."""
        self._keep_on(seconds, lambda: bool(self._stage.crew.parts(part)))
        for process in self._stage.crew.parts(part)[:1]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
                return part
        return ""

    def _unended(self) -> Iterator[str]:
        current = self._stage.ledger.tasks.current(NAME)
        for row in sorted(self._asked):
            task = current.get(row)
            if task is None or task.state in _GOING or task.resolves_itself:
                yield row

    def _keep_on(self, seconds: float, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not done():
            if not self._stage.crew.alive("daemon"):
                self._stage.start_daemon()
            threading.Event().wait(0.3)


_GOING = {TaskState.CLAIMED, TaskState.SUBMITTED, TaskState.SUCCEEDED, TaskState.REFUSED}


def _judge(stage: Stage, rounds: Sequence[Round], asked_again: int) -> Outcome:
    verdict = judge(stage.places, stage.simulator.tasks(), stage.rows)
    sample = resolve_by_hand(stage, verdict)
    last = judge(stage.places, stage.simulator.tasks(), stage.rows) if sample else verdict
    tasks = stage.ledger.tasks.find(NAME)
    stored_at = {task.task_id: task.stored_at for task in tasks if task.task_id and task.stored_at}
    charges = [charge | {"row": stage.rows.get(words_of(charge), "")} for charge in stage.simulator.tasks()]
    ticks = read_ticks(stage.home)
    kills = [one for one in rounds if one.killed]
    killed_at = [one.killed_at for one in kills]
    long, lengths = too_long(ticks, killed_at), [tick.seconds or 0 for tick in untouched(ticks, killed_at)]
    found = list(waits(charges, stored_at, rounds, ticks))
    endless = [row for row, end in verdict.ends.items() if end not in {"stored", "failed", "unknown"}]
    lost = [row for row, adopted in sample.items() if adopted and last.ends[row] != "stored"]
    duplicates = max(verdict.duplicates, last.duplicates)
    wrong = [
        *broken(found, long, endless, duplicates),
        *(f"row {row} was adopted and is not stored" for row in lost),
        *(f"row {row}: {why}" for row, why in {**verdict.odd, **last.odd}.items() if row not in endless),
        *dict.fromkeys([*verdict.problems, *last.problems]),
    ]
    parts = Counter(one.killed for one in kills)
    figures: Mapping[str, object] = {
        "seed": stage.options.seed,
        "database": stage.options.database,
        "rounds": len(rounds),
        "rows": len(stage.rows),
        "charges": verdict.charges,
        "duplicates": duplicates,
        **{end: verdict.count(end) for end in ("stored", "failed", "unknown")},
        "resolved": f"{sum(last.ends[row] == 'stored' for row in sample)}/{len(sample)}",
        "without_an_end": len(endless),
        "kills": f"{parts.total()} ({', '.join(f'{part} {count}' for part, count in parts.items())})",
        "asked_again": asked_again,
        "ticks": len(ticks),
        "longest_tick_seconds": round(max(lengths, default=0.0), 1),
        f"ticks_over_{LONGEST_TICK_SECONDS:.0f}_s": len(long),
    }
    line = "chaos " + " ".join(f"{name}={value}" for name, value in figures.items())
    text = f"{line}\n\n{table(found, rounds)}"
    late = sorted(found, key=lambda one: -one.seconds)[:10]
    words = "\n".join(f"{one.seconds:.1f} s: row {one.row} of {one.provider} ({one.round.title})" for one in late)
    return Outcome(text, wrong, f"{words}\n{describe(stage, verdict)}" if wrong else "")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chaos in a folder that stays if a promise breaks."""
    parser = argparse.ArgumentParser(prog="python -m pixverse_dagster_tests.harness.chaos", description=__doc__)
    parser.add_argument("--full", action="store_true", help="every kind of sickness with every provider")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="only these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    asked = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="pixverse-chaos-"))
    began = time.monotonic()
    plans = plan_rounds(asked.kinds, full=asked.full)
    outcome = chaos(folder, plans, Options(asked.seed, database=asked.database))
    sys.stdout.write(f"{outcome.text}\n\n{time.monotonic() - began:.0f} s\n")
    sys.stdout.writelines(f"BROKEN: {one}\n" for one in outcome.wrong)
    if outcome.wrong:
        sys.stderr.write(f"{outcome.report}\nthe files are in {folder}\n")
        return 1
    shutil.rmtree(folder)
    return 0
