"""A soak: every fault at a random rate, one provider after another sick, parts killed at random, and then a reckoning.

`python -m pixverse_dagster_tests.harness.soak [--seconds S] [--rows N] [--seed N] [--database …] [--store …]`
prints one line of figures and exits with 1 unless every row was charged at most once, every charge is accounted for,
no row is left to a person that its provider can tell about, no tick took too long, and no key is in anything that is
kept. The seed draws the database, the
store, the rates, the faults, who is sick, the runs and the kills; how the machine schedules them is not in it.
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
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import psutil

from pixverse_dagster_tests.harness.chaos.rounds import KINDS, PROVIDERS
from pixverse_dagster_tests.harness.commands import ask_until
from pixverse_dagster_tests.harness.soak.judge import judge
from pixverse_dagster_tests.harness.soak.parts import PARTS, Part
from pixverse_dagster_tests.harness.soak.report import describe
from pixverse_dagster_tests.harness.soak.rest import come_to_rest, resolve_by_hand
from pixverse_dagster_tests.harness.soak.stage import Options, Stage, open_stage
from pixverse_dagster_tests.harness.soak.ticks import read_ticks, too_long

_DECK = (6, 1, 1)
_CHAOS_SHARE = 0.45
_SETUP_SECONDS = 60.0
_MAX_WORKERS = 3
_STRIKE_EVERY_SECONDS = 3.5
_STRIKES_OF_A_STORM = 12
_GENTLE_SHARE = 0.15
_SICK_SECONDS = (1.0, 6.0)
_REPEATS = 0.03
"""How often a provider answers with all that it was sent, the key included."""
DATABASES, STORES = ("sqlite", "postgres"), ("local", "s3")


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
    with open_stage(replace(options, repeats=_REPEATS), folder) as stage:
        reading = stage.read_table()
        if not ask_until(lambda: reading.poll() is not None, _SETUP_SECONDS) or reading.returncode:
            raise RuntimeError(f"the table was not read: {(stage.crew.logs / '001-worker.log').read_text()[-3000:]}")
        storm = _Storm(stage)
        storm.rage(options.seconds * _CHAOS_SHARE)
        come_to_rest(stage)
        first = judge(stage.places, stage.simulator.tasks(), stage.rows)
        sample = resolve_by_hand(stage, first)
        last = judge(stage.places, stage.simulator.tasks(), stage.rows) if sample else first
        lost = [row for row, adopted in sample.items() if adopted and last.ends[row] != "stored"]
        verdict = next((found for found in (first, last) if found.odd or found.problems), last)
        long = too_long(read_ticks(stage.home), storm.struck_at)
        leaks = stage.find_leaks()
        failed = bool(lost or verdict.odd or verdict.problems or last.duplicates or long or leaks)
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
            "sicknesses": storm.sicknesses,
            "ticks_over_20_s": len(long),
            "faults": sum(stage.simulator.faults().values()),
            "requests_repeated": stage.echo.counts.total(),
            "secrets_found": len(leaks),
            "seconds": round(time.monotonic() - started),
        }
        line = "soak " + " ".join(f"{name}={value}" for name, value in figures.items())
        if not failed:
            return Outcome(line, failed=False, report="")
        words = [*long, *leaks, f"adopted and not stored: {lost}", f"rates: {json.dumps(stage.rates)}"]
        words += [f"faults: {stage.simulator.faults()}", describe(stage, verdict)]
        return Outcome(line, failed=True, report="\n".join([line, *words]))


class _Storm:
    """Runs over random rows, and random signals to whatever runs."""

    def __init__(self, stage: Stage) -> None:
        self.kills: Counter[Part] = Counter()
        self.terminations = 0
        self.struck_at: list[float] = []
        self.runs = 0
        self.sicknesses = 0
        self._victims: list[Part] = []
        self._stage = stage
        self._ids = list(stage.rows.values())
        self._dice = Random(f"{stage.options.seed}:storm")  # noqa: S311 - reproducible on purpose, guards nothing

    def rage(self, seconds: float) -> None:
        """New rows come up until near the end, so that there is always something to lose."""
        crew, dice, started = self._stage.crew, self._dice, time.monotonic()
        every = min(_STRIKE_EVERY_SECONDS, seconds / _STRIKES_OF_A_STORM)
        next_strike, next_change = started + dice.uniform(3, 5), started
        while (elapsed := time.monotonic() - started) < seconds:
            if not crew.alive("daemon"):
                self._stage.start_daemon()
            if len(crew.alive("launcher")) + len(crew.parts("worker")) < _MAX_WORKERS:
                self._run(min(1.0, 0.1 + elapsed / seconds))
            if time.monotonic() >= next_strike:
                self._strike()
                next_strike = time.monotonic() + dice.expovariate(1 / every)
            if time.monotonic() >= next_change:
                self._sicken()
                next_change = time.monotonic() + dice.uniform(*_SICK_SECONDS)
            threading.Event().wait(0.2)
        self._heal()

    def _sicken(self) -> None:
        """Another provider has something else."""
        self._heal()
        self._stage.simulator.sicken(self._dice.choice(PROVIDERS), self._dice.choice(KINDS))
        self.sicknesses += 1

    def _heal(self) -> None:
        for provider in PROVIDERS:
            self._stage.simulator.heal(provider)

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
            self.struck_at.append(time.time())
            if how is signal.SIGKILL:
                self.kills[victim] += 1
            else:
                self.terminations += 1


def drawn_places(seed: int) -> tuple[str, str]:
    """The database and the store of a soak with this seed."""
    dice = Random(f"{seed}:places")  # noqa: S311 - reproducible on purpose, guards nothing
    return dice.choice(DATABASES), dice.choice(STORES)


def random_seed() -> int:
    """A seed that nobody chose."""
    return int.from_bytes(os.urandom(4), "big")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one soak in a folder that stays if it fails."""
    parser = argparse.ArgumentParser(prog="python -m pixverse_dagster_tests.harness.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180, help="about how long the whole takes")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random_seed())
    parser.add_argument("--database", choices=DATABASES, help="drawn from the seed if it is not given")
    parser.add_argument("--store", choices=STORES, help="drawn from the seed if it is not given")
    asked = parser.parse_args(argv)
    database, store = drawn_places(asked.seed)
    places = (asked.database or database, asked.store or store)
    options = Options(asked.seed, asked.seconds, asked.rows, *places)
    folder = Path(tempfile.mkdtemp(prefix="pixverse-soak-"))
    outcome = soak(options, folder)
    sys.stdout.write(f"{outcome.line}\n")
    if outcome.failed:
        sys.stderr.write(f"{outcome.report}\nseed {options.seed} failed; its files are in {folder}\n")
        return 1
    shutil.rmtree(folder)
    return 0
