"""Reading the whole ledger in pages, and what in it contradicts itself. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from pixverse_dagster.core.layout import clips_prefix, parse_folder
from pixverse_dagster.core.lifecycle import Event, TaskState
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import Digest, chunked
from pixverse_dagster.ledger.codec import TASK_COLUMNS, read_row, read_task
from pixverse_dagster.ledger.engine import CHUNK, reading
from pixverse_dagster.ledger.history import HISTORY
from pixverse_dagster.ledger.schema import check_results, counters, files, history, rows, tasks

_WITH_CLIP = (TaskState.STORED, TaskState.FORGOTTEN)


@dataclass(frozen=True)
class Lost:
    """A task of which the history tells, and which the ledger does not have."""

    pipeline: str
    row: str
    task: str
    state: str


class Consistency:
    """Reads a ledger whole, a page at a time. Every method is one transaction, or one for each page."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def trees(self, pipeline: str) -> set[str]:
        """The names of the pipelines in whose folders this one's clips are: it was called so once, or is."""
        query = sa.select(tasks.c.folder).where(tasks.c.pipeline == pipeline, tasks.c.state.in_(_WITH_CLIP))
        query = query.where(~tasks.c.folder.startswith(clips_prefix(pipeline), autoescape=True))
        with reading(self._engine) as connection:
            found = connection.execute(query.execution_options(yield_per=CHUNK)).scalars()
            return {folder.pipeline for text in found if (folder := parse_folder(text))}

    def has_stored_here(self, pipeline: str) -> bool:
        """Whether this very ledger had a clip of the pipeline stored: what it found was named by another."""
        own = (tasks.c.pipeline == pipeline, tasks.c.state == TaskState.STORED, tasks.c.found_at.is_(None))
        own = (*own, tasks.c.paid_by.is_(None))
        with reading(self._engine) as connection:
            return connection.execute(sa.select(tasks.c.id).where(*own).limit(1)).first() is not None

    def failed_checks(self, pipeline: str) -> list[str]:
        """The ids of the stored tasks whose clips failed a check."""
        query = sa.select(check_results.c.task).distinct().join(tasks, tasks.c.id == check_results.c.task)
        query = query.where(
            tasks.c.pipeline == pipeline, tasks.c.state == TaskState.STORED, check_results.c.passed.is_(False)
        )
        with reading(self._engine) as connection:
            return list(connection.execute(query).scalars())

    def task_pages(self, pipeline: str, rows_at_once: int) -> Iterator[list[Task]]:
        """All tasks of the pipeline, those of a row together and never in two pages, the oldest first."""
        after: str | None = None
        while True:
            same = [tasks.c.pipeline == pipeline, *([] if after is None else [tasks.c.row > after])]
            query = sa.select(tasks.c.row).where(*same).group_by(tasks.c.row).order_by(tasks.c.row)
            with reading(self._engine) as connection:
                keys = list(connection.execute(query.limit(rows_at_once)).scalars())
                if not keys:
                    return
                query = sa.select(*TASK_COLUMNS).where(tasks.c.pipeline == pipeline, tasks.c.row.in_(keys))
                page = [read_task(record) for record in connection.execute(query.order_by(tasks.c.row, tasks.c.claim))]
            yield page
            after = keys[-1]

    def row_pages(self, pipeline: str, rows_at_once: int) -> Iterator[list[Row]]:
        """The rows of the table as it was last read."""
        after: str | None = None
        while True:
            same = [rows.c.pipeline == pipeline, *([] if after is None else [rows.c.row > after])]
            query = sa.select(rows).where(*same).order_by(rows.c.row).limit(rows_at_once)
            with reading(self._engine) as connection:
                page = [read_row(record) for record in connection.execute(query)]
            if not page:
                return
            yield page
            after = page[-1].id

    def files_of(self, ids: Sequence[str]) -> Mapping[str, Mapping[str, frozenset[Digest]]]:
        """The files on record for these tasks: by task and key, the digests."""
        found: dict[str, dict[str, frozenset[Digest]]] = {}
        with reading(self._engine) as connection:
            for chunk in chunked(ids, CHUNK):
                for one in connection.execute(sa.select(files).where(files.c.task.in_(chunk))):
                    of_task = found.setdefault(one.task, {})
                    of_task[one.key] = of_task.get(one.key, frozenset()) | {Digest(one.sha256, one.size_bytes)}
        return found

    def histories(self, pipeline: str, keys: Sequence[str]) -> Mapping[str, list[tuple[str, str]]]:
        """What happened to the tasks of these rows, by task: the events in order, each with the state it led to."""
        found: dict[str, list[tuple[str, str]]] = {}
        query = sa.select(history.c.task, history.c.event, history.c.state).where(history.c.pipeline == pipeline)
        with reading(self._engine) as connection:
            for chunk in chunked(keys, CHUNK):
                of_rows = query.where(history.c.row.in_(chunk)).order_by(history.c.position)
                for one in connection.execute(of_rows):
                    found.setdefault(one.task, []).append((one.event, one.state))
        return found

    def lost_tasks(self, pipeline: str) -> list[Lost]:
        """The tasks of which only the history tells, and whose row got nothing back from the store since."""
        there = sa.exists().where(tasks.c.id == history.c.task)
        later = history.alias()
        same = (later.c.pipeline == history.c.pipeline, later.c.row == history.c.row)
        back = sa.exists().where(*same, later.c.event == Event.RESTORE, later.c.position > history.c.position)
        query = sa.select(history.c.pipeline, history.c.row, history.c.task, sa.func.max(history.c.state))
        query = query.where(history.c.pipeline == pipeline, history.c.task != "", ~there, ~back)
        with reading(self._engine) as connection:
            found = connection.execute(query.group_by(history.c.pipeline, history.c.row, history.c.task))
            return [Lost(*record) for record in found]

    def missing_entries(self) -> int:
        """How many entries of the history are missing: positions count from 1 to the counter, without a gap."""
        last = sa.select(counters.c.value).where(counters.c.name == HISTORY).scalar_subquery()
        query = sa.select(sa.func.count(), sa.func.max(history.c.position), last)
        with reading(self._engine) as connection:
            count, highest, counted = connection.execute(query).one()
        return max(counted or 0, highest or 0) - count

    def shared_ids(self) -> list[tuple[str, str]]:
        """The task ids that several tasks have at one account, with the account."""
        query = sa.select(tasks.c.account, tasks.c.task_id).where(tasks.c.task_id.is_not(None))
        query = query.group_by(tasks.c.account, tasks.c.task_id).having(sa.func.count() > 1)
        with reading(self._engine) as connection:
            return [(one.account, one.task_id) for one in connection.execute(query)]

    def with_task_id(self, account: str, task_id: str) -> list[Task]:
        """Every task with this id at this account."""
        query = sa.select(*TASK_COLUMNS).where(tasks.c.account == account, tasks.c.task_id == task_id)
        with reading(self._engine) as connection:
            return [read_task(record) for record in connection.execute(query.order_by(tasks.c.claimed_at))]
