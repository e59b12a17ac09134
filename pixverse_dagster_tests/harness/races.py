"""Processes that do everything to the same rows at once: submit, poll, collect, back-fill, decide, rename, rebuild.

None waits for another: each does its part again and again until every row has its clip, or the time is up.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from threading import Event
from typing import Any, Literal, get_args

from pixverse_dagster.cli.export import export
from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.lifecycle import MAY_BE_RELEASED, TaskState
from pixverse_dagster.core.price import Price
from pixverse_dagster.core.task import Applied, Task
from pixverse_dagster.ledger.ledger import open_ledger
from pixverse_dagster.ledger.renaming import Renaming
from pixverse_dagster.recovery.ledgers import Wish
from pixverse_dagster.recovery.rebuild import rebuild
from pixverse_dagster.recovery.rename import rename
from pixverse_dagster.stages.adopt import AdoptionRefused, adopt
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.stages.places import queued_row
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.tables import AssetTable
from pixverse_dagster_tests.harness.commands import PRICES
from pixverse_dagster_tests.harness.factories import NAME, Setup, deliver, make_session, poll_and_resolve
from pixverse_dagster_tests.harness.person import Person
from pixverse_dagster_tests.harness.servers import Simulator

Part = Literal["submit", "poll", "collect", "back-fill", "decide", "rename", "rebuild"]
PARTS: tuple[Part, ...] = get_args(Part)
_PAUSE_SECONDS = 0.05
_FILL_SECONDS = 2.0
_ROWS_AT_ONCE = 9


@dataclass(frozen=True)
class Job:
    """What one process does, and with which rows where these are its own."""

    part: Part
    seed: str
    ledger_url: str
    simulator_url: str
    store: Path
    rows: tuple[str, ...] = ()
    seconds: float = 120


@dataclass
class Done:
    """What a process did: how often, what a person allowed to be paid for once more, and the new names of rows."""

    part: Part
    times: int = 0
    released: set[str] = field(default_factory=set[str])
    """The tasks after which a person allowed a further attempt."""
    retaken: list[str] = field(default_factory=list[str])
    """The rows of which a person asked for another clip."""
    renamed: dict[str, str] = field(default_factory=dict[str, str])


def work(job: Job) -> Done:
    """In a process of its own. An error that no operator would be shown as a sentence comes out here."""
    done = Done(job.part)
    with _opened(job) as racer:
        act: Callable[[], bool] = getattr(racer, f"{job.part.replace('-', '_')}_once")
        deadline = time.monotonic() + job.seconds
        for done.times in itertools.count(1):
            ready = act()
            if (ready and racer.is_over()) or time.monotonic() > deadline:
                return replace(done, released=racer.released, retaken=racer.retaken, renamed=racer.renamed)
            Event().wait(racer.dice.uniform(0, _PAUSE_SECONDS))
    raise AssertionError("unreachable")


@contextmanager
def _opened(job: Job) -> Generator[_Racer]:
    ledger, store = open_ledger(job.ledger_url), LocalStore(job.store)
    setup = Setup(run_id=f"{job.part}-{os.getpid()}")
    dice = Random(job.seed)  # noqa: S311 - reproducible on purpose, guards nothing
    with make_session(ledger, job.simulator_url, setup) as opened:
        options = opened.options.model_copy(update={"prices": tuple(Price.model_validate(price) for price in PRICES)})
        pipeline = replace(opened.pipeline, table=AssetTable("rows"), options=options)
        session = replace(opened, pipeline=pipeline, open_store=lambda: store)
        yield _Racer(session, store, Simulator(job.simulator_url), dice, list(job.rows))


@dataclass
class _Racer:
    session: Session
    store: LocalStore
    simulator: Simulator
    dice: Random
    own: list[str]
    released: set[str] = field(default_factory=set[str])
    retaken: list[str] = field(default_factory=list[str])
    renamed: dict[str, str] = field(default_factory=dict[str, str])

    def is_over(self) -> bool:
        """Whether every row has its clip, and nothing is asked for any more."""
        ledger = self.session.ledger
        current, rows = ledger.tasks.current(NAME), ledger.rows.ids(NAME)
        return len(current) == len(rows) and all(task.state is TaskState.STORED for task in current.values())

    def _some(self) -> list[str]:
        rows = self.session.ledger.rows.ids(NAME)
        return self.dice.sample(rows, min(len(rows), self.dice.randint(1, _ROWS_AT_ONCE)))

    def submit_once(self) -> bool:
        list(submit_rows(self.session, self._some()))
        return True

    def poll_once(self) -> bool:
        poll_and_resolve(self.session, 5)
        return True

    def collect_once(self) -> bool:
        list(collect_tasks(self.session, self.store, self.session.ledger.tasks.collectable(NAME, self._some())))
        return True

    def back_fill_once(self) -> bool:
        deliver(self.session, self.store, self._some(), _FILL_SECONDS)
        return True

    def rebuild_once(self) -> bool:
        rebuild(self.session, self.store, Wish())
        return True

    def rename_once(self) -> bool:
        """Give one of the own rows another name; what is being sent at this moment is renamed later."""
        for row in self.own[:1]:
            self.own.remove(row)
            try:
                rename(self.session.ledger, self.store, Renaming(NAME, f"{row}, renamed", row), time.time())
            except PixverseError as error:
                assert "is being sent at this moment" in str(error), error  # noqa: PT017 - any other is a fault
                self.own.append(row)
            else:
                self.renamed[row] = f"{row}, renamed"
        return not self.own

    def decide_once(self) -> bool:
        """What a person does: settle what is unknown by the console, allow another attempt, ask for another take."""
        ledger = self.session.ledger
        person = Person(self._command, self.simulator)
        for found in person.look([task.row for task in ledger.tasks.unresolved(NAME)]):
            if found.status == "failed":
                self._settle(found.row, lambda task: ledger.abandon(task, "failed at the provider", "by hand"))
            else:
                person.resolve(found)
        for task in ledger.tasks.find(NAME, [*MAY_BE_RELEASED]):
            if not task.released and isinstance(ledger.release(task, "by hand: once more"), Applied):
                self.released.add(task.id)
        stored = {task.row for task in ledger.tasks.find(NAME, [TaskState.STORED])}
        for row in [row for row in self.own if row in stored]:
            self.own.remove(row)
            asked = ledger.rows.raise_take(NAME, row)
            ledger.queue.add(NAME, [queued_row(self.session, asked, "another take")], time.time())
            self.retaken.append(row)
        return not self.own

    def _command(self, *words: str) -> str:
        """What the project's commands of these names do."""
        ledger = self.session.ledger
        if words == ("tasks", "list", "--json"):
            return json.dumps([export(task).model_dump(mode="json") for task in ledger.tasks.find(NAME)])
        _, _, row, how, *ids = words
        if how == "--adopt":
            with suppress(AdoptionRefused):
                self._settle(row, lambda task: adopt(self.session, task, ids[0], "by hand"))
        else:
            self._settle(row, lambda task: ledger.set_not_accepted(task, "not in the console", time.time(), "by hand"))
        return ""

    def _settle(self, row: str, act: Callable[[Task], Any]) -> None:
        for task in self.session.ledger.tasks.find(NAME, [TaskState.UNKNOWN], keys=[row]):
            act(task)


def plan(
    rows: Sequence[str], processes: Mapping[Part, int], renamed: int, retaken: int, **common: Any
) -> Iterator[Job]:
    """The jobs of so many processes; the first rows are renamed, and of the last ones another clip is asked for."""
    own: Mapping[Part, Sequence[str]] = {"rename": rows[:renamed], "decide": rows[len(rows) - retaken :]}
    for part, count in processes.items():
        mine = own.get(part, ())
        for n in range(count):
            yield Job(part, f"{common['seed']}:{part}:{n}", rows=tuple(mine[n::count]), **_without_seed(common))


def _without_seed(common: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in common.items() if name != "seed"}
