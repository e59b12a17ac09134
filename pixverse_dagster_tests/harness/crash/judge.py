"""The judge of the crash tests: what a kill left, and what became of every row after the pipeline was run on.

Each check yields what is wrong, naming the row; nothing is wrong where none yields.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.layout import ClipFolder, clip_folder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.task import Task
from pixverse_dagster.policy.advice import describe_trouble
from pixverse_dagster.reports.verify import verify
from pixverse_dagster.storage.reading import read_manifest
from pixverse_dagster_tests.harness.audit import check_attempts, check_money, check_store, read_books
from pixverse_dagster_tests.harness.commands import ask_until
from pixverse_dagster_tests.harness.crash.home import Home
from pixverse_dagster_tests.harness.crash.killpoints import Left
from pixverse_dagster_tests.harness.forked import Ran

_ARRIVAL_SECONDS = 5.0


@dataclass
class Figures:
    """What was done and how it ended, summed over rows."""

    points: set[str] = field(default_factory=set[str])
    cells: int = 0
    kills: int = 0
    rows: int = 0
    charges: int = 0
    duplicates: int = 0
    lost: int = 0
    stored: int = 0
    unknown: int = 0
    """Rows that had ended `unknown`, named and told what to do, before a person resolved them."""

    def __iadd__(self, other: "Figures") -> Self:
        self.points |= other.points
        for name in ("cells", "kills", "rows", "charges", "duplicates", "lost", "stored", "unknown"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def __str__(self) -> str:
        return (
            f"points {len(self.points)}, cells {self.cells}, kills {self.kills}, rows {self.rows}, charges "
            f"{self.charges}, duplicate charges {self.duplicates}, lost {self.lost}, stored {self.stored} "
            f"(of them {self.unknown} named unknown and resolved by hand first)"
        )


def total(parts: Iterable[Figures]) -> Figures:
    """The sum of figures."""
    figures = Figures()
    for part in parts:
        figures += part
    return figures


def check_kill(home: Home, point: str, left: Left, model: str, marker: Path, ran: Ran) -> Iterator[str]:
    """The process died, by the kill and at the point, and left of its row what the point says."""
    if not marker.exists():
        yield f"{model} was not killed at {point}: exit code {ran.code}; {ran.log[-1500:]}"
        return
    told = json.loads(marker.read_text())
    row = home.row_of(told["prompt"])
    if ran.code != -9 or (told["point"], told["model"]) != (point, model) or not row:
        yield f"the kill is not as ordered: exit code {ran.code}, {told}"
    yield from (f"row {row!r}, just killed: {wrong}" for wrong in _compare_left(home, row, left))
    # Nobody collects a stored row again: an event that is not there by now may never come.
    if silent := _stored(home) - home.materialized():
        yield f"rows {sorted(silent)} are stored, and Dagster was not told"


def _compare_left(home: Home, row: str, left: Left) -> Iterator[str]:
    state, charged, files, event = left.value
    task = home.tasks().get(row)
    if home.attempts > 1:
        # What was there before the attempt that was killed.
        state, charged = state or TaskState.FAILED, charged + home.attempts - 1
    if (task and task.state) != state:
        yield f"the ledger says {task and task.state}, not {state}"
    # What has left this machine arrives in its own time.
    ask_until(lambda: len(home.charges()[row]) >= charged, _ARRIVAL_SECONDS)
    if len(home.charges()[row]) != charged:
        yield f"{len(home.charges()[row])} charges, not {charged}"
    found = _files(home, task) if task else set[str]()
    outputs = task.request.outputs_asked() if task else 0
    media = {f"{n}.{kind}" for n in range(1, outputs + 1) for kind in ("mp4", "jpg")}
    expected = {
        "none": set[str](),
        "clip": {"1.mp4"},
        "first": {"1.mp4", "1.jpg"},
        "bytes": media,
        "all": media | {"manifest.json"},
    }[files]
    if found != expected:
        yield f"the store has {sorted(found)}, not {sorted(expected)}"
    if (row in home.materialized()) != event:
        yield f"Dagster {'does not show' if event else 'shows'} it as materialised"


def _stored(home: Home) -> set[str]:
    return {row for row, task in home.tasks().items() if task.state is TaskState.STORED}


def _folder(home: Home, task: Task) -> ClipFolder:
    """The folder of the attempt that a test is about."""
    return clip_folder("demo", task.row, task.digest, task.take, home.attempts)


def _files(home: Home, task: Task) -> set[str]:
    """The names in the folder of the row's attempt."""
    prefix = f"{_folder(home, task)}/"
    return {key.removeprefix(prefix) for key in home.store.keys(prefix)}


def open_rows(home: Home) -> set[str]:
    """Rows whose submit was under way when the process died, where only a person can tell what became of it.

    Of a lost ledger, all that it may have had under way: what was never sent, no provider can tell.
    """
    return {
        row
        for row, task in home.tasks().items()
        if task.is_presumed or (task.state in {TaskState.CLAIMED, TaskState.UNKNOWN} and task.provider != "runware")
    }


def check_end(home: Home, excused: set[str], log: str) -> Iterator[str]:
    """After running on, every row is stored, or, where it is excused, is a named unknown; all records agree."""
    tasks, charges = home.tasks(), home.charges()
    for row in home.rows():
        task = tasks.get(row)
        if len(charges[row]) > home.attempts:
            yield f"row {row!r} was charged {len(charges[row])} times: {_ids(charges[row])}"
        if task is None:
            yield f"row {row!r} is lost: the ledger has no task"
        elif task.state is TaskState.UNKNOWN and row in excused:
            yield from _check_named(task, log)
        elif task.state is not TaskState.STORED:
            yield f"row {row!r} ended {task.state}, not stored: {task.reason or task.note}"
        else:
            yield from _check_stored(home, task, charges[row])
    yield from _check_agreement(home, _stored(home))


def _ids(charged: list[dict[str, Any]]) -> list[str]:
    return [one["task_id"] for one in charged]


def _check_named(task: Task, log: str) -> Iterator[str]:
    if f"tasks resolve {task.row}" not in describe_trouble(task, CommandLine()) or not task.reason:
        yield f"row {task.row!r} is unknown, and nothing says what to do: {task.reason!r}"
    words = "may have been paid for" if task.is_presumed else "unknown outcome"
    if f"row {task.row!r}" not in log or words not in log:
        yield f"row {task.row!r} is unknown, and the run did not say so"


def _check_stored(home: Home, task: Task, charged: list[dict[str, Any]]) -> Iterator[str]:
    """The one charged task's clips, byte for byte, are the row's files, and nothing else is."""
    folder = _folder(home, task)
    try:
        manifest = read_manifest(home.store, folder.manifest)
    except FileNotFoundError:
        yield f"row {task.row!r} is stored without a manifest"
        return
    if len(charged) != home.attempts or _ids(charged)[-1] != task.task_id:
        yield f"row {task.row!r} is stored as task {task.task_id}; charged: {_ids(charged)}"
        return
    stored, sold = [o.sha256 for o in manifest.outputs], [o["sha256"] for o in charged[-1]["outputs"]]
    if stored != sold:
        yield f"row {task.row!r} has other bytes than were sold: {stored} for {sold}"
    named = {key.rsplit("/", 1)[1] for o in manifest.outputs for key in (o.key, o.poster_key)} | {"manifest.json"}
    if (found := _files(home, task)) != named:
        yield f"row {task.row!r} has the files {sorted(found)}, its manifest {sorted(named)}"


def _check_agreement(home: Home, stored: set[str]) -> Iterator[str]:
    """Provider, ledger, store and Dagster say the same."""
    charges = home.simulator.tasks()
    with home.ledger() as ledger:
        books = read_books(ledger, "demo")
    yield from check_store(charges, home.store, "demo")
    yield from check_money(charges, [books])
    yield from check_attempts(charges, books.tasks, home.attempts)
    if (shown := home.materialized()) != stored:
        yield f"Dagster shows {sorted(shown)} as materialised, the ledger has stored {sorted(stored)}"
    with home.ledger() as ledger:
        found = verify(ledger, home.store, "demo")
    yield from (f"verify: {one.row or '-'}: {one.where} {one.message}" for one in found.disagreements)
    if found.clips != len(stored):
        yield f"verify counts {found.clips} clips of {len(stored)}"


def count(home: Home, into: Figures) -> None:
    """Add how the rows ended."""
    tasks, charges = home.tasks(), home.charges()
    ended: Mapping[str, TaskState] = {row: task.state for row, task in tasks.items()}
    into.rows += len(home.rows())
    into.charges += sum(len(charged) for charged in charges.values())
    into.duplicates += sum(max(0, len(charged) - home.attempts) for charged in charges.values())
    into.stored += sum(state is TaskState.STORED for state in ended.values())
    into.lost += sum(ended.get(row) not in {TaskState.STORED, TaskState.UNKNOWN} for row in home.rows())
