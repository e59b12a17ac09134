"""Trials as an operator makes them: a key is rotated, another account's key is swapped in, an old ledger is restored.

`python -m pixverse_dagster_tests.harness.trials rotate swap restore` runs each with Dagster's daemon, runs in processes
of their own and the simulator, and prints what was charged, what was lost, and what the person is told. Exit code 1: a
charge or a clip is not accounted for.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.engine import open_engine, sqlite_url
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster_tests.harness.commands import ACCOUNTS, ask_until
from pixverse_dagster_tests.harness.judge.money import check_attempts, check_ends, check_events, check_money
from pixverse_dagster_tests.harness.judge.store import check_store
from pixverse_dagster_tests.harness.soak.stage import NAME, PACE, Options, Process, Stage, open_stage

KEYS = {"rotated": "simulator", "stranger": "stranger"}
"""Keys that the simulator takes besides `simulator`: of the same account, and of another one."""
_OPEN_TASKS = {"highway": 30, "runware": 10, "pixwith": 10}
_HOUR_SECONDS = 30.0
"""How long the scaled hour is. A task is missing after a third of it, and its deadline is two thirds."""
_RUN_SECONDS, _END_SECONDS = 120.0, 240.0
_TOLD = re.compile(r"(\d+ tasks? belongs? to|row '|\d+ rows).*(belongs? to|accounts confirm|ledger rebuild|resolve).*")
_LINES = 14
_FILLED, _LATE = 100, 5.0


class Trial:
    """A stage, and what is printed of it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._began = time.monotonic()

    def say(self, words: object) -> None:
        """A line of the record, with its second."""
        sys.stdout.write(f"[{time.monotonic() - self._began:5.1f} s] {words}\n")
        sys.stdout.flush()

    def with_key(self, key: str, pace: Mapping[str, float] = PACE, *, limited: bool = True) -> Stage:
        """The stage, all of whose accounts have this key, and, if `limited`, room for 50 open tasks together."""
        accounts = {
            name: {**options, "api_key": key} | ({"max_open_tasks": _OPEN_TASKS[name]} if limited else {})
            for name, options in ACCOUNTS.items()
        }
        more = {"PIXVERSE_ACCOUNTS": json.dumps(accounts), "PIXVERSE_PACE": json.dumps(pace)}
        return replace(self.stage, environment={**self.stage.environment, **more})

    def done(self, process: Process) -> int:
        """Wait for a run."""
        assert ask_until(lambda: process.poll() is not None, _RUN_SECONDS), "a run hung"
        return process.returncode or 0

    def states(self) -> str:
        """How many tasks are in each state, and how many rows wait."""
        counts = self.stage.ledger.tasks.counts(NAME)
        waiting = len(self.stage.ledger.queue.find(NAME))
        return ", ".join([*(f"{count} {state}" for state, count in sorted(counts.items())), f"{waiting} rows wait"])

    def charges(self) -> str:
        """What was charged, by the simulator's account."""
        audit = self.stage.simulator.tasks()
        counts = Counter(task["account"] for task in audit)
        usd = sum(task["charged_usd"] for task in audit)
        return f"{len(audit)} charges, {usd:.2f} USD: {dict(counts)}"

    def stop(self) -> None:
        """Stop the daemon and all that it started."""
        for daemon in self.stage.crew.alive("daemon"):
            daemon.terminate()
        ask_until(lambda: not self.stage.crew.alive("daemon"), 30)
        self.stage.crew.end()

    def stored(self) -> int:
        """How many rows are stored."""
        return self.stage.ledger.tasks.counts(NAME)[TaskState.STORED] if self._has_stored() else 0

    def _has_stored(self) -> bool:
        return TaskState.STORED in self.stage.ledger.tasks.counts(NAME)

    def told(self, logs: Sequence[Path]) -> None:
        """What these logs say to a person, each sentence once and how often."""
        lines = Counter(
            re.sub(r"row 'r\d+'", "row '…'", found[0])
            for log in logs
            for line in log.read_text(errors="replace").splitlines()
            if (found := _TOLD.search(line))
        )
        for line, count in lines.most_common(_LINES):
            self.say(f"told {count} times: {line}")

    def ask(self, *words: str) -> None:
        """A command of the project, with what it prints."""
        self.say(f"$ pixverse-dagster {' '.join(words)}")
        try:
            printed = self.stage.ask(*words)
        except RuntimeError as error:
            printed = str(error)
        for line in printed.splitlines()[-_LINES:]:
            self.say(f"    {line.rstrip()}")

    def judge(self) -> list[str]:
        """Everything that is wrong by the simulator's audit."""
        places = self.stage.places
        audit, books = self.stage.simulator.tasks(), places.books()
        return [
            *check_store(audit, places.files, NAME),
            *check_money(audit, [books]),
            *check_attempts(audit, books.tasks),
            *check_ends(audit, books.tasks, places.files),
            *check_events(audit, books.newest(), places.clip_events()),
        ]


def _fill(trial: Trial) -> None:
    """Half of the rows pending, half waiting for a place."""
    stage = trial.with_key("simulator")
    trial.done(stage.read_table())
    trial.done(stage.submit(list(stage.rows.values())[:_FILLED]))
    trial.say(f"submitted with the old key: {trial.states()}; {trial.charges()}")


def _logs(stage: Stage, since: Sequence[Path]) -> list[Path]:
    return [log for log in sorted(stage.crew.logs.glob("*.log")) if log not in since]


def rotate(trial: Trial) -> None:
    """50 tasks pending and 50 rows waiting; then the key is another one of the same account, and nobody does more."""
    _fill(trial)
    before = sorted(trial.stage.crew.logs.glob("*.log"))
    trial.say("the key is rotated; the daemon is started with the new one")
    trial.with_key("rotated").start_daemon()
    ask_until(lambda: trial.stored() == len(trial.stage.rows), _END_SECONDS)
    trial.stop()
    trial.say(f"in the end: {trial.states()}; {trial.charges()}")
    trial.told(_logs(trial.stage, before))


def swap(trial: Trial) -> None:
    """50 pending, 50 waiting; for an hour the key is another account's, and rows are submitted with it."""
    _fill(trial)
    pace = PACE | {
        "missing_seconds": _HOUR_SECONDS / 3,
        "task_deadline_seconds": 2 * _HOUR_SECONDS / 3,
        "result_lifetime_seconds": _HOUR_SECONDS / 3,
    }
    before = sorted(trial.stage.crew.logs.glob("*.log"))
    trial.say("the key becomes another account's; the daemon goes on for an hour, scaled to half a minute")
    trial.with_key("stranger", pace).start_daemon()
    ask_until(lambda: False, _HOUR_SECONDS - _LATE)
    rows = list(trial.stage.rows.values())[_FILLED:]
    trial.done(trial.with_key("stranger", pace, limited=False).submit(rows))
    trial.say(f"{len(rows)} further rows are submitted with the other account's key: {trial.charges()}")
    ask_until(lambda: False, _LATE)
    trial.stop()
    trial.say(f"after the hour: {trial.states()}; {trial.charges()}")
    trial.told(_logs(trial.stage, before))
    trial.ask("accounts", "list")
    trial.say("the right key is back")
    before = sorted(trial.stage.crew.logs.glob("*.log"))
    trial.with_key("simulator").start_daemon()
    ask_until(lambda: trial.stored() >= _FILLED, 90)
    trial.stop()
    trial.say(f"with the right key: {trial.states()}; {trial.charges()}")
    trial.told(_logs(trial.stage, before))
    if trial.stored() < len(trial.stage.rows):
        trial.say("the other account's key once more, for what was submitted there")
        trial.with_key("stranger").start_daemon()
        ask_until(lambda: trial.stored() == len(trial.stage.rows), 90)
        trial.stop()
        trial.say(f"in the end: {trial.states()}; {trial.charges()}")


def restore(trial: Trial) -> None:
    """A ledger of yesterday beside a store of today: some rows were stored since, and some are pending."""
    stage, rows = trial.with_key("simulator", limited=False), list(trial.stage.rows.values())
    yesterday, today, pending = rows[:20], rows[20:40], rows[40:60]
    trial.done(stage.read_table())
    trial.done(stage.take(yesterday))
    copy = stage.home / "yesterday.db"
    trial.say(f"yesterday: {trial.states()}; {trial.charges()}")
    trial.ask("ledger", "backup", str(copy))
    trial.done(stage.take(today))
    trial.done(stage.submit(pending))
    trial.say(f"today: {trial.states()}; {trial.charges()}")
    _put_back(trial, copy)
    trial.say(f"yesterday's ledger is put back: {trial.states()}")
    trial.ask("plan")
    before = sorted(stage.crew.logs.glob("*.log"))
    code = trial.done(stage.submit(rows))
    trial.say(f"a run that submits all rows ended with {code}: {trial.states()}; {trial.charges()}")
    trial.told(_logs(stage, before))
    trial.ask("ledger", "rebuild", "--dry-run")
    trial.ask("ledger", "rebuild")
    trial.say(f"rebuilt: {trial.states()}")
    stage.start_daemon()
    # What its provider can tell about by our reference is found without a person.
    ask_until(lambda: not any(task.resolves_itself for task in _unknown(trial)), 20)
    trial.stop()
    trial.say(f"the daemon went on: {trial.states()}; {trial.charges()}")
    _resolve(trial)
    trial.say(f"resolved by hand, with the provider's console: {trial.states()}")
    trial.done(stage.take(rows))
    trial.say(f"in the end: {trial.states()}; {trial.charges()}")


def _unknown(trial: Trial) -> Sequence[Task]:
    return trial.stage.ledger.tasks.find(NAME, (TaskState.UNKNOWN,))


def _put_back(trial: Trial, copy: Path) -> None:
    place = trial.stage.home / "storage" / "pixverse"
    for path in place.iterdir():
        path.unlink()
    shutil.copy(copy, place / "ledger.db")
    # What was opened before is the file that is gone.
    trial.stage = replace(trial.stage, ledger=Ledger(open_engine(sqlite_url(place / "ledger.db"))))


def _resolve(trial: Trial) -> None:
    person = trial.stage.person()
    for found in person.look([task.row for task in trial.stage.ledger.tasks.unresolved(NAME)]):
        person.resolve(found)


TRIALS: Mapping[str, tuple[int, float, Callable[[Trial], None]]] = {
    "rotate": (100, 15.0, rotate),
    "swap": (110, 15.0, swap),
    "restore": (60, 1.0, restore),
}
"""By name: how many rows, how long a clip takes, and what is done."""


def _run(name: str, folder: Path) -> Iterator[str]:
    rows, seconds, act = TRIALS[name]
    options = Options(seed=0, rows=rows, generation_seconds=seconds)
    with open_stage(options, folder, rates={}, keys=KEYS) as stage:
        trial = Trial(stage)
        trial.say(f"{name}: {act.__doc__}")
        act(trial)
        wrong = trial.judge()
        lost = len(stage.rows) - trial.stored()
        trial.say(f"{trial.stored()} of {len(stage.rows)} rows stored, {lost} not, {len(wrong)} wrong")
        yield from wrong


def main(argv: Sequence[str] | None = None) -> int:
    """Run the named trials, each in a folder that stays if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m pixverse_dagster_tests.harness.trials", description=__doc__)
    parser.add_argument("trial", nargs="*", choices=[*TRIALS], default=[*TRIALS])
    failed = 0
    for name in parser.parse_args(argv).trial:
        folder = Path(tempfile.mkdtemp(prefix=f"pixverse-{name}-"))
        wrong = list(_run(name, folder))
        failed += len(wrong)
        sys.stdout.write("".join(f"WRONG: {one}\n" for one in wrong))
        if wrong:
            sys.stdout.write(f"the files are in {folder}\n")
        else:
            shutil.rmtree(folder)
    return int(failed > 0)
