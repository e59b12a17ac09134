"""What the simulator knows, kept in a file, so that a simulator that is started again goes on where it stopped.

A change is in the file before the answer to its request leaves: a process that is killed forgets nothing that somebody
was told. Times are kept as those of the wall clock, for a monotonic clock ends with its machine.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pixverse_dagster.simulator.media import Shape, Templates
from pixverse_dagster.simulator.state import Link, Order, Output, SimulatorState, Task
from pixverse_dagster.simulator.uploads import KeptUpload

_FORMAT: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS tasks (name TEXT PRIMARY KEY, made TEXT NOT NULL, now TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS uploads (name TEXT PRIMARY KEY, about TEXT NOT NULL, data BLOB);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class MemoryInUse(Exception):
    """Another simulator works with this file."""


class Memory:
    """A file that one simulator at a time works with; it is let go when the process ends, however it does."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            MemoryInUse: another simulator has it.
            ValueError: it cannot be written, or is no memory of a simulator.
        """
        try:
            self._file = sqlite3.connect(path, timeout=0, isolation_level=None)
            self._file.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.executescript(f"BEGIN EXCLUSIVE; {_SCHEMA} COMMIT;")
            known = self._fact("format", _FORMAT)
        except sqlite3.Error as error:
            if "locked" in str(error):
                raise MemoryInUse(f"{path} is in use by another simulator") from None
            raise ValueError(f"{path} cannot be used as a simulator's memory: {error}") from None
        if known != _FORMAT:
            raise ValueError(f"{path} is of another version of the simulator: take another file")
        self._keep_fact("format", _FORMAT)

    def load(self, state: SimulatorState) -> None:
        """Give a new state all that the file has. Clips that were there are there when it returns."""
        offset = _offset()
        for made, last in self._file.execute("SELECT made, now FROM tasks ORDER BY rowid"):
            task = _read_task(json.loads(made), json.loads(last), offset, state.templates)
            state.tasks[task.order.name.lower()] = task
        now = time.monotonic()
        wait([one.template for task in state.tasks.values() for one in task.outputs if one.template and one.due <= now])
        state.uploads.load(self._uploads(), offset)
        for provider, calls in self._fact("requests", {}).items():
            state.requests[provider].update({call: Counter(counts) for call, counts in calls.items()})
        state.faults.drawn.update(self._fact("drawn", {}))
        state.accept_keys(self._fact("keys", {}))
        # Else every start would draw the same again, and the first task after each would meet the same fault.
        starts = self._fact("starts", 0)
        state.faults.begin(starts)
        self._keep_fact("starts", starts + 1)
        self._keep_fact("keys", dict(state.settings.keys))

    def keep(self, state: SimulatorState) -> None:
        """Write what was changed, in one transaction."""
        offset = _offset()
        self._file.execute("BEGIN")
        for name in sorted(state.touched):
            task = state.tasks[name]
            now = json.dumps(_changing(task, offset))
            if not self._file.execute("UPDATE tasks SET now = ? WHERE name = ?", (now, name)).rowcount:
                made = json.dumps({"order": asdict(task.order), "accepted_at": task.accepted_at})
                self._file.execute("INSERT INTO tasks VALUES (?, ?, ?)", (name, made, now))
        for name, upload in state.uploads.changed(offset):
            about = json.dumps(upload.about)
            self._file.execute("INSERT OR REPLACE INTO uploads VALUES (?, ?, ?)", (name, about, upload.data))
        self._keep_fact("requests", state.requests)
        self._keep_fact("drawn", state.faults.drawn)
        self._file.execute("COMMIT")
        state.touched.clear()

    def clear(self) -> None:
        """Forget everything but the keys."""
        self._file.executescript("BEGIN; DELETE FROM tasks; DELETE FROM uploads; COMMIT;")

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def _uploads(self) -> Iterator[tuple[str, KeptUpload]]:
        for name, about, data in self._file.execute("SELECT name, about, data FROM uploads ORDER BY rowid"):
            yield name, KeptUpload(json.loads(about), data)

    def _fact(self, name: str, default: Any) -> Any:
        found = self._file.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return json.loads(found[0]) if found else default

    def _keep_fact(self, name: str, value: Any) -> None:
        self._file.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))


class Keeper:
    """Keeps a state in a memory, if there is one."""

    def __init__(self, state: SimulatorState, path: Path | None) -> None:
        """Load what the memory has into the state; raises as `Memory` does."""
        self._state = state
        self._memory = Memory(path) if path else None
        if self._memory:
            self._memory.load(state)

    def keep(self, *, whole: bool = False) -> None:
        """Write what was changed, or every task as it is now: when a clip was rendered is noted by nothing else."""
        if self._memory:
            if whole:
                self._state.touched.update(self._state.tasks)
            self._memory.keep(self._state)

    def forget(self) -> None:
        """The state was reset: forget as much."""
        if self._memory:
            self._memory.clear()
            self._memory.keep(self._state)

    def close(self) -> None:
        """Write what is left, and let the file go."""
        if self._memory:
            self._memory.keep(self._state)
            self._memory.close()
            self._memory = None


def _offset() -> float:
    """How far the wall clock is ahead of the monotonic one."""
    return time.time() - time.monotonic()


def _changing(task: Task, offset: float) -> dict[str, Any]:
    """What of a task changes after it was accepted, and its times: those of its outputs count from its birth."""
    return {
        "born": task.born + offset,
        "polls": task.polls,
        "last_response": task.last_response,
        "outputs": [
            {
                **{name: getattr(one, name) for name in ("name", "fate", "seed", "downloads", "signature", "uuid")},
                "due_after": one.due - task.born,
                "rendered_after": None if one.rendered is None else one.rendered - task.born,
                "gone": one.gone,
                "links": {name: [link.ends + offset, link.drawn_expired] for name, link in one.signatures.items()},
            }
            for one in task.outputs
        ],
    }


def _read_task(made: dict[str, Any], now: dict[str, Any], offset: float, templates: Templates) -> Task:
    asked: dict[str, Any] = made["order"]
    shape: Any = Shape(**asked.pop("shape"))
    order = Order(shape=shape, **asked)
    born = now["born"] - offset
    outputs = [_read_output(one, order, born, offset, templates) for one in now["outputs"]]
    return Task(order, outputs, born, made["accepted_at"], now["polls"], now["last_response"])


def _read_output(kept: dict[str, Any], order: Order, born: float, offset: float, templates: Templates) -> Output:
    links = {name: Link(ends - offset, drawn) for name, (ends, drawn) in kept["links"].items()}
    rendered = None if kept["rendered_after"] is None else born + kept["rendered_after"]
    same = {name: kept[name] for name in ("name", "fate", "seed", "downloads", "signature", "uuid", "gone")}
    template = templates.start(order.shape) if kept["fate"] == "good" else None
    output = Output(due=born + kept["due_after"], template=template, signatures=links, rendered=rendered, **same)
    output.note_rendering()
    return output
