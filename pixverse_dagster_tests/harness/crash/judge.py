"""The judge of the crash tests: what a kill left, and what became of every row after the pipeline was run on.

Each check yields what is wrong, naming the row; nothing is wrong where none yields. It reads the records themselves:
as `harness/judge`, it draws nothing from the product or the simulator.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from pixverse_dagster_tests.harness.judge.money import check_attempts, check_ends, check_events, check_money
from pixverse_dagster_tests.harness.judge.records import Places, Record, charges_by_row, provider_of
from pixverse_dagster_tests.harness.judge.store import check_store, folder_of, names_in

Left = tuple[str | None, int, str, bool]
"""What a kill leaves of its row: the ledger's state, charges, what is in the store, and whether Dagster knows."""


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
    ended_links: int = 0
    """Downloads that met a link that had ended, by time or for good."""

    def __iadd__(self, other: "Figures") -> Self:
        self.points |= other.points
        for name in ("cells", "kills", "rows", "charges", "duplicates", "lost", "stored", "unknown", "ended_links"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def __str__(self) -> str:
        return (
            f"points {len(self.points)}, cells {self.cells}, kills {self.kills}, rows {self.rows}, charges "
            f"{self.charges}, duplicate charges {self.duplicates}, lost {self.lost}, stored {self.stored} "
            f"(of them {self.unknown} named unknown and resolved by hand first), ended links met {self.ended_links}"
        )


def total(parts: Iterable[Figures]) -> Figures:
    """The sum of figures."""
    figures = Figures()
    for part in parts:
        figures += part
    return figures


@dataclass(frozen=True)
class Scene:
    """What a judge looks at: the records' places, the audit as it is now, and the rows by their words."""

    places: Places
    audit: Sequence[Record]
    rows: Mapping[str, str]
    attempts: int = 1
    """How often each row is paid for in the end."""

    def charges(self, row: str) -> list[Record]:
        """What was charged for a row."""
        return charges_by_row(self.audit, self.rows).get(row, [])


def check_left(scene: Scene, row: str, left: Left) -> Iterator[str]:
    """The killed process left of its row what its point says, and told Dagster of all that is stored."""
    state, charged, files, event = left
    tasks, events = scene.places.books().newest(), scene.places.clip_events()
    task = tasks.get(row)
    if scene.attempts > 1:
        # What was there before the attempt that was killed.
        state, charged = state or "failed", charged + scene.attempts - 1
    if (task and task["state"]) != state:
        yield f"the ledger says {task and task['state']}, not {state}"
    if len(scene.charges(row)) != charged:
        yield f"{len(scene.charges(row))} charges, not {charged}"
    found = _files(scene, task) if task else set[str]()
    outputs = max((len(charge["outputs"]) for charge in scene.charges(row)), default=0)
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
    if (row in events) != event:
        yield f"Dagster {'does not show' if event else 'shows'} it as materialised"
    # Nobody collects a stored row again: an event that is not there by now may never come.
    if silent := {one for one, known in tasks.items() if known["state"] == "stored"} - {*events}:
        yield f"rows {sorted(silent)} are stored, and Dagster was not told"


def _files(scene: Scene, task: Record) -> set[str]:
    """The names in the folder of the attempt that a test is about, whether the task has that attempt yet or not."""
    first = f"{task['pipeline']}/clips/{task['row']}/{task['digest'][:12]}-t{task['take']}"
    folder = first + (f"-a{scene.attempts}" if scene.attempts > 1 else "")
    return names_in(scene.places.files, folder)


def open_rows(tasks: Iterable[Record]) -> set[str]:
    """Rows whose submit was under way when the process died, where only a person can tell what became of it.

    Of a lost ledger, all that it may have had under way: what was never sent, no provider can tell.
    """
    return {
        task["row"]
        for task in tasks
        if _is_presumed(task) or (task["state"] in {"claimed", "unknown"} and provider_of(task) != "runware")
    }


def _is_presumed(task: Record) -> bool:
    return task["state"] == "unknown" and task["found_at"] is not None and task["task_id"] is None


def check_end(scene: Scene, excused: set[str], log: str) -> Iterator[str]:
    """After running on, every row is stored, or, where it is excused, is a named unknown; all records agree."""
    books, files = scene.places.books(), scene.places.files
    tasks = books.newest()
    for row in scene.rows.values():
        task, charges = tasks.get(row), scene.charges(row)
        if len(charges) > scene.attempts:
            yield f"row {row!r} was charged {len(charges)} times: {_ids(charges)}"
        if task is None:
            yield f"row {row!r} is lost: the ledger has no task"
        elif task["state"] == "unknown" and row in excused:
            yield from _check_named(task, log)
        elif task["state"] != "stored":
            yield f"row {row!r} ended {task['state']}, not stored: {task['reason'] or task['note']}"
        elif len(charges) != scene.attempts or _ids(charges)[-1] != task["task_id"]:
            yield f"row {row!r} is stored as task {task['task_id']}; charged: {_ids(charges)}"
        elif not folder_of(task).endswith(f"-a{scene.attempts}" if scene.attempts > 1 else f"-t{task['take']}"):
            yield f"row {row!r} has its clip in {folder_of(task)}"
    yield from check_store(scene.audit, files, scene.places.pipeline)
    yield from check_money(scene.audit, [books])
    yield from check_attempts(scene.audit, books.tasks, scene.attempts)
    yield from check_ends(scene.audit, books.tasks, files)
    yield from check_events(scene.audit, tasks, scene.places.clip_events())


def _ids(charged: Sequence[Record]) -> list[str]:
    return [one["task_id"] for one in charged]


def _check_named(task: Record, log: str) -> Iterator[str]:
    words = "may have been paid for" if _is_presumed(task) else "unknown outcome"
    for said in (f"row {task['row']!r}", words, f"tasks resolve {task['row']}"):
        if said not in log:
            yield f"row {task['row']!r} is unknown ({task['reason']!r}), and the run did not say {said!r}"


def count(scene: Scene, into: Figures) -> None:
    """Add how the rows ended."""
    tasks = scene.places.books().newest()
    ended = {row: tasks[row]["state"] if row in tasks else "" for row in scene.rows.values()}
    charges = [len(scene.charges(row)) for row in scene.rows.values()]
    into.rows += len(scene.rows)
    into.charges += len(scene.audit)
    into.duplicates += sum(max(0, charged - scene.attempts) for charged in charges)
    into.stored += sum(state == "stored" for state in ended.values())
    into.lost += sum(state not in {"stored", "unknown"} for state in ended.values())
