"""Runs pipelines to their end in this process: sensors look and runs are made until nothing moves."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, cast

import dagster as dg

from pixverse_dagster.core.clip import Clip
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.lifecycle import UNDER_WAY, TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import HoldCause, QueuedRow, Task
from pixverse_dagster.orchestration.play import Player, failures, find_pipelines
from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.policy.advice import describe_trouble
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.reading import read_manifest

PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.25
_SOON_SECONDS = 300.0
"""A row whose turn comes within this time waits for it; one that does not fit into a budget is looked at much later."""
_A_PERSON_ENDS = frozenset({HoldCause.KEY, HoldCause.BALANCE})
"""Trouble with an account that no waiting ends."""


class StillMoving(AssertionError):
    """The pipelines did not come to their end in the time that the test gave them."""


@dataclass(frozen=True)
class RowEnd:
    """What became of a row: `state` as `tasks list` says it, or `not submitted`, `waiting` or `invalid`."""

    pipeline: str
    row: str
    state: str
    reason: str = ""
    """Why it has no clip, and what a person would do; empty for a stored one."""
    task_id: str = ""
    clip: Clip | None = None

    def __str__(self) -> str:
        return f"{self.pipeline}/{self.row}: {self.state}" + f": {self.reason}" * bool(self.reason)


@dataclass(frozen=True)
class Ended:
    """How the pipelines ended."""

    rows: Sequence[RowEnd]
    """Every row of every table, in table order."""
    problems: Sequence[str]
    """What failed runs said."""
    paid: frozenset[str]
    """The provider's ids of all paid attempts that the ledger knows of."""
    runs: int
    """How many Dagster runs were made."""

    @property
    def states(self) -> dict[str, str]:
        """Every row's state, by its id."""
        return {end.row: end.state for end in self.rows}

    @property
    def clips(self) -> dict[str, Clip]:
        """The stored clips, by row, as a downstream asset receives them."""
        return {end.row: end.clip for end in self.rows if end.clip is not None}

    def of(self, pipeline: str) -> Ended:
        """The same of one pipeline: two may have rows of the same name."""
        return Ended([end for end in self.rows if end.pipeline == pipeline], self.problems, self.paid, self.runs)


def run_to_end(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance | None = None,
    *,
    pipeline: str = "",
    rows: Sequence[str] | None = None,
    first: int | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Ended:
    """Read every prompt table, submit its rows, and do what Dagster's daemon does until nothing moves any more.

    All that is new or changed is submitted, as with the sensor `…_submit_new` on; or only `rows`, in a run of their
    own, also where they were tried before; or only the `first` so many rows of each table. With `pipeline`, the others
    of the definitions are left alone. Then the pipelines' sensors are looked at and their runs made, one after the
    other. What waits for a person (a pause, a budget, an unknown outcome) is an end. Called again it goes on, and pays
    for nothing twice. Without an instance, Dagster's history is thrown away in the end; the ledger is where the
    definitions have it.

    `patience_seconds` is how long it waits in all while nothing is to be run: what a slow machine takes does not count.

    Raises StillMoving, with what still moves, when that is over; ValueError if the definitions hold no pipeline.
    """
    with ExitStack() as stack:
        if instance is None:
            folder = stack.enter_context(TemporaryDirectory())
            made: Any = dg.DagsterInstance.ephemeral(tempdir=folder)  # pyright: ignore[reportUnknownMemberType]
            instance = cast("dg.DagsterInstance", stack.enter_context(made))
        specs = [spec for spec in find_pipelines(definitions) if pipeline in {"", spec.name}]
        if not specs:
            which = f"pipeline {pipeline!r}" if pipeline else "pipeline"
            raise ValueError(f"these definitions hold no {which} of build_clips_definitions or PixverseClipsComponent")
        return _Play(Player(definitions, instance), specs, rows, first).to_end(patience_seconds)


class _Play:
    """The play of some pipelines."""

    def __init__(
        self, player: Player, specs: Sequence[PipelineSpec], rows: Sequence[str] | None, first: int | None
    ) -> None:
        self._player = player
        self._specs = specs
        self._rows = rows
        self._first = first
        self._problems: list[str] = []
        self._runs = 0
        kinds = ("poll", "continue", *(["submit_new"] if rows is None and first is None else []))
        self._sensors = [f"{spec.name}_{kind}" for spec in specs for kind in kinds]

    def to_end(self, patience_seconds: float) -> Ended:
        for spec in self._specs:
            self._ran(self._player.read(spec.name))
            if keys := self._chosen(spec):
                self._ran(self._player.submit(spec.name, keys))
        left = patience_seconds
        while True:
            asked = [request for sensor in self._sensors for request in self._player.tick(sensor)]
            for request in asked:
                self._ran(self._player.run(request))
            if asked:
                continue
            moving = [words for spec in self._specs for words in self._moving(spec)]
            if not moving:
                return self._ended()
            if left <= 0:
                raise StillMoving(still_words(moving, patience_seconds, self._problems))
            Event().wait(_LOOK_SECONDS)
            left -= _LOOK_SECONDS

    def _chosen(self, spec: PipelineSpec) -> Sequence[str]:
        """The rows that are submitted by name."""
        if self._rows is not None or self._first is None:
            return self._rows or ()
        with self._open(spec) as session:
            return list(session.ledger.rows.find(spec.name))[: self._first]

    def _ran(self, result: dg.ExecuteInProcessResult) -> None:
        self._runs += 1
        self._problems += [redact_text(text) for text in failures(result)]

    def _open(self, spec: PipelineSpec) -> Session:
        return self._player.open(spec)

    def _moving(self, spec: PipelineSpec) -> list[str]:
        """What comes on by itself, in words."""
        with self._open(spec) as session:
            tasks = [task for task in session.ledger.tasks.current(spec.name).values() if _moves(task)]
            waiting = _waiting(session)
        looking = self._player.cursor(f"{spec.name}_submit_new") not in {None, "", "-1"}
        return [
            *(f"{spec.name}/{task.row} is {task.state} since {_age(task, session)}: {task.note}" for task in tasks),
            *(f"{spec.name}/{entry.row} waits: {entry.reason}" for entry in waiting),
            *([f"{spec.name}: the rest of the table is looked at"] if looking else []),
        ]

    def _ended(self) -> Ended:
        ends: list[RowEnd] = []
        paid: set[str] = set()
        for spec in self._specs:
            with self._open(spec) as session:
                ends += _ends(session)
                paid |= {task.task_id for task in session.ledger.tasks.find(spec.name) if task.task_id}
        return Ended(ends, self._problems, frozenset(paid), self._runs)


def _moves(task: Task) -> bool:
    return (task.state in UNDER_WAY and task.stalled_at is None) or task.resolves_itself


def _waiting(session: Session) -> list[QueuedRow]:
    """The rows in the queue whose turn comes soon, where no person has to do something first."""
    name, ledger, now, pace = session.pipeline.name, session.ledger, session.clock(), session.options.pace
    accounts = {provider: client.account for provider, client in session.clients.items()}
    paused = ledger.pauses.applying(name, accounts.values())
    held = {
        one for one in accounts.values() if ledger.accounts.held(one, now, pace.longest_hold).cause in _A_PERSON_ENDS
    }
    due = ledger.queue.due(name, now + _SOON_SECONDS, session.worlds, pace.longest_place_wait)
    return [entry for entry in due if accounts.get(entry.provider) not in {*paused, *held, None}]


def _age(task: Task, session: Session) -> str:
    return f"{session.clock() - (task.submitted_at or task.claimed_at):.0f} s"


def _ends(session: Session) -> list[RowEnd]:
    name, ledger = session.pipeline.name, session.ledger
    tasks = ledger.tasks.current(name)
    queued = {entry.row: entry.reason for entry in ledger.queue.find(name, session.worlds)}
    ends: list[RowEnd] = []
    for row in ledger.rows.find(name):
        task = tasks.get(row)
        if row in queued:
            ends.append(RowEnd(name, row, "waiting", redact_text(queued[row])))
        elif task is None:
            ends.append(RowEnd(name, row, "not submitted"))
        else:
            ends.append(_end(session, task))
    return [*ends, *(RowEnd(name, one.row or "?", "invalid", str(one)) for one in ledger.rows.problems(name))]


def _end(session: Session, task: Task) -> RowEnd:
    state = f"{task.state} ({task.kind})" if task.state is TaskState.FAILED else str(task.state)
    why = describe_trouble(task, session.commands)
    if task.state is not TaskState.STORED or session.open_store is None:
        return RowEnd(task.pipeline, task.row, state, why, task.task_id or "")
    store = session.open_store()
    clip = Clip(read_manifest(store, task_folder(task).manifest), store)
    return RowEnd(task.pipeline, task.row, state, "", task.task_id or "", clip)


def still_words(moving: Sequence[str], patience_seconds: float, problems: Sequence[str]) -> str:
    """What StillMoving says."""
    lines = [f"not at its end after waiting for {patience_seconds:g} s. {len(moving)} still move:", *moving[:20]]
    lines += ["runs said:", *problems[-5:]] if problems else []
    return "\n  ".join(lines)
