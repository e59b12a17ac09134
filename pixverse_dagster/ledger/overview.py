"""What a view of a whole pipeline reads: its stored clips by their ids alone, and its rows without a clip."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from pixverse_dagster.core.layout import ClipFolder, clip_folder, parse_folder
from pixverse_dagster.core.lifecycle import UNDER_WAY, TaskState
from pixverse_dagster.core.task import Task, governing
from pixverse_dagster.ledger.codec import TASK_COLUMNS, read_task
from pixverse_dagster.ledger.engine import reading
from pixverse_dagster.ledger.history import HISTORY
from pixverse_dagster.ledger.schema import counters, rows, tasks
from pixverse_dagster.ledger.worlds import find_worlds, made_in

_ANSWERED = (TaskState.STORED, TaskState.FORGOTTEN)
_OPEN = sorted(set(UNDER_WAY) | {TaskState.UNKNOWN})


@dataclass(frozen=True)
class StoredTask:
    """A stored task by its id, and the folder of its clips."""

    id: str
    folder: ClipFolder


@dataclass(frozen=True)
class RowWithoutClip:
    """A row whose request has no clip, and was not forgotten; the task that answers for it, if there is one.

    `request` and `images` are as the ledger keeps them: not safe to show.
    """

    row: str
    model: str
    take: int
    digest: str
    request: Mapping[str, Any]
    images: Mapping[str, Mapping[str, Any]]
    labels: Mapping[str, str]
    task: Task | None = None


class Overview:
    """Reads a whole pipeline, few columns of each record. Safe to use from many threads.

    What was made in another world than the provider's present one is left out, but for what a real provider made.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def position(self) -> int:
        """The position of the last entry of the history: everything that was read before is up to it."""
        with reading(self._engine) as connection:
            query = sa.select(counters.c.value).where(counters.c.name == HISTORY)
            return int(connection.execute(query).scalar() or 0)

    def stored(self, pipeline: str) -> list[StoredTask]:
        """Every stored task, the oldest clip first."""
        names = ("id", "row", "digest", "take", "attempt", "folder")
        query = sa.select(*(tasks.c[name] for name in names)).where(
            tasks.c.pipeline == pipeline, tasks.c.state == TaskState.STORED
        )
        with reading(self._engine) as connection:
            query = query.where(made_in(find_worlds(connection, pipeline), or_live=True))
            found = connection.execute(query.order_by(tasks.c.stored_at, tasks.c.row, tasks.c.take, tasks.c.id))
            return [StoredTask(record.id, folder_of(pipeline, record)) for record in found]

    def without_clip(self, pipeline: str) -> list[RowWithoutClip]:
        """The rows without a clip, in table order; behind them what is under way and in no table any more."""
        with reading(self._engine) as connection:
            attempts = _attempts(connection, pipeline)
            found = list(_current(connection, pipeline, attempts))
        shown = {one.row for one in found}
        for task in (task for of_request in attempts.values() for task in of_request if task.state in _OPEN):
            if task.row not in shown:
                shown.add(task.row)
                found.append(_of_task(task))
        return found


def _attempts(connection: sa.Connection, pipeline: str) -> dict[tuple[str, str], list[Task]]:
    """The tasks without a clip, by row and digest."""
    query = sa.select(*TASK_COLUMNS).where(tasks.c.pipeline == pipeline, tasks.c.state.not_in(_ANSWERED))
    query = query.where(made_in(find_worlds(connection, pipeline), or_live=True)).order_by(tasks.c.claimed_at)
    found: dict[tuple[str, str], list[Task]] = {}
    for record in connection.execute(query):
        found.setdefault((record.row, record.digest), []).append(read_task(record))
    return found


def _current(
    connection: sa.Connection, pipeline: str, attempts: Mapping[tuple[str, str], list[Task]]
) -> Iterator[RowWithoutClip]:
    """The rows of the table whose request has no clip."""
    answered = sa.exists().where(
        tasks.c.pipeline == rows.c.pipeline,
        tasks.c.row == rows.c.row,
        tasks.c.digest == rows.c.digest,
        tasks.c.state.in_(_ANSWERED),
        made_in(find_worlds(connection, pipeline), or_live=True),
    )
    query = sa.select(rows).where(rows.c.pipeline == pipeline, ~answered).order_by(rows.c.position)
    for record in connection.execute(query):
        yield RowWithoutClip(
            row=record.row,
            model=record.model,
            take=record.take,
            digest=record.digest,
            request=json.loads(record.request),
            images=json.loads(record.images),
            labels=json.loads(record.labels),
            task=governing(attempts.get((record.row, record.digest), ())),
        )


def _of_task(task: Task) -> RowWithoutClip:
    return RowWithoutClip(
        row=task.row,
        model=task.request.MODEL,
        take=task.take,
        digest=task.digest,
        request=task.request.model_dump(mode="json", exclude_none=True),
        images={name: image.model_dump(exclude_none=True) for name, image in task.images.items()},
        labels=task.labels,
        task=task,
    )


def folder_of(pipeline: str, record: Any) -> ClipFolder:
    """The folder of the clips of a task, of which a record has the columns that say so."""
    given = parse_folder(record.folder)
    return given or clip_folder(pipeline, record.row, record.digest, record.take, record.attempt or 1)
