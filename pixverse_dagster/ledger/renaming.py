"""Giving a row or a pipeline another name in the ledger: one transaction, and nothing is paid again for it.

Client references of past claims stay as they are: they were sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.row import retake
from pixverse_dagster.ledger.clocks import is_over
from pixverse_dagster.ledger.codec import TASK_COLUMNS, read_task
from pixverse_dagster.ledger.engine import one_at_a_time, reading
from pixverse_dagster.ledger.history import RENAME, note_renaming
from pixverse_dagster.ledger.rows import find_rows, set_take
from pixverse_dagster.ledger.schema import history, metadata, pauses, rows, spending, takes, tasks, withdrawals
from pixverse_dagster.policy.timing import MAX_LEASE_SECONDS

_NOTHING = "Nothing was renamed"
_RENAMED_TO = "it was renamed to "


@dataclass(frozen=True)
class Renaming:
    """A row of a pipeline gets another name, or, where `row` is empty, the pipeline itself does."""

    pipeline: str
    new: str
    row: str = ""

    def __str__(self) -> str:
        return f"{self.row or self.pipeline} → {self.new}"

    @property
    def old_names(self) -> Mapping[str, str]:
        """The columns of what is renamed, and their values before."""
        return {"pipeline": self.pipeline, **({"row": self.row} if self.row else {})}

    @property
    def new_names(self) -> Mapping[str, str]:
        """The same columns afterwards."""
        return {"pipeline": self.pipeline, "row": self.new} if self.row else {"pipeline": self.new}


class Renamings:
    """Gives rows and pipelines other names. Every method is one transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def check(self, renaming: Renaming, now: float) -> None:
        """Raise PixverseError, with what to do, where the renaming cannot be made. Changes nothing."""
        with reading(self._engine) as connection:
            _check(connection, renaming, now)

    def was_made(self, renaming: Renaming) -> bool:
        """Whether this renaming was made, and nothing is called by the old name since."""
        with reading(self._engine) as connection:
            said = (history.c.event == RENAME, history.c.detail == str(renaming))
            query = sa.select(history.c.position).where(*said, *_are(history, renaming.new_names))
            made = connection.execute(query.limit(1)).first() is not None
            return made and not _has_tasks(connection, renaming.old_names)

    def make(self, renaming: Renaming, now: float) -> None:
        """Rename tasks, rows, takes, what waits, history, spending, pauses, worlds and policies, or raise as `check`.

        Where the table was read under the new name already, what that reading found counts, with the takes that a
        person had asked for. What is still read under the old name is not paid for by itself: a pipeline of that name
        is paused, and a row's request counts as withdrawn, until a person asks for it.
        """
        with self._engine.begin() as connection:
            _rename(connection, renaming, now)


def _rename(connection: sa.Connection, renaming: Renaming, now: float) -> None:
    one_at_a_time(connection)
    if connection.dialect.name != "sqlite":
        # Whoever claims has read the rows: waits for claims under way, and lets no other begin.
        connection.execute(sa.text(f"LOCK TABLE {rows.name} IN ACCESS EXCLUSIVE MODE"))
    _check(connection, renaming, now)
    old, new = renaming.old_names, renaming.new_names
    _fix_folders(connection, old)
    asked = _find_takes(connection, old)
    digests = [] if not renaming.row else list(connection.execute(sa.select(rows.c.digest).where(*_are(rows, old))))
    if not renaming.row and connection.execute(sa.select(rows.c.row).where(*_are(rows, new)).limit(1)).first():
        connection.execute(sa.delete(rows).where(*_are(rows, old)))
    for table in metadata.sorted_tables:
        if old.keys() <= set(table.c.keys()):
            _move(connection, table, old, new)
    pipeline = new["pipeline"]
    for row, take in asked.items():
        _raise_take(connection, pipeline, renaming.new if renaming.row else row, take)
    if renaming.row:
        gone = [{**old, "digest": digest[0], "at": now} for digest in digests]
        if gone:
            connection.execute(sa.insert(withdrawals), gone)
    else:
        _move_spending(connection, renaming)
        _move_pause(connection, renaming, now)
    note_renaming(connection, pipeline, new.get("row", ""), str(renaming))


def _check(connection: sa.Connection, renaming: Renaming, now: float) -> None:
    old, new = renaming.old_names, renaming.new_names
    what = f"row {renaming.row!r} of {renaming.pipeline!r}" if renaming.row else f"pipeline {renaming.pipeline!r}"
    if old == new:
        raise PixverseError(f"{what} is called so. {_NOTHING}")
    if _has_tasks(connection, new):
        raise PixverseError(
            f"{renaming.new!r} has tasks of its own already: two histories cannot become one. {_NOTHING}. Choose "
            "another name"
        )
    in_table = {
        name: connection.execute(sa.select(rows.c.row).where(*_are(rows, names)).limit(1)).first() is not None
        for name, names in (("old", old), ("new", new))
    }
    if not _has_tasks(connection, old) and not in_table["old"]:
        raise PixverseError(f"the ledger knows no {what}: there is nothing to rename. Look at `tasks list` for names")
    if renaming.row and in_table["old"] and in_table["new"]:
        raise PixverseError(
            f"{renaming.row!r} and {renaming.new!r} are both in the table as it was last read: they are two rows. "
            f"{_NOTHING}. Take {renaming.row!r} out of the table and read it again, or choose another name"
        )
    replayed = ~is_over(tasks.c.lease_until, now, MAX_LEASE_SECONDS)
    sending = sa.or_(tasks.c.state == TaskState.CLAIMED, sa.and_(tasks.c.state == TaskState.UNKNOWN, replayed))
    if found := connection.execute(sa.select(tasks.c.row).where(*_are(tasks, old), sending).limit(1)).scalar():
        raise PixverseError(
            f"row {found!r} is being sent at this moment, under the old name. {_NOTHING}; run this again in a few "
            "minutes, when its outcome is known"
        )


def _has_tasks(connection: sa.Connection, names: Mapping[str, str]) -> bool:
    return connection.execute(sa.select(tasks.c.id).where(*_are(tasks, names)).limit(1)).first() is not None


def _are(table: sa.Table, names: Mapping[str, str]) -> list[sa.ColumnElement[bool]]:
    return [table.c[column] == value for column, value in names.items()]


def _fix_folders(connection: sa.Connection, old: Mapping[str, str]) -> None:
    """Write down where clips are whose folder went by their names until now."""
    query = sa.select(*TASK_COLUMNS).where(*_are(tasks, old), tasks.c.folder == "", tasks.c.attempt.is_not(None))
    for task in map(read_task, connection.execute(query).all()):
        connection.execute(sa.update(tasks).where(tasks.c.id == task.id).values(folder=str(task_folder(task))))


def _move(connection: sa.Connection, table: sa.Table, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Give a table's entries the new name; where the new name has an entry of the same kind, that one counts."""
    keys = [column.name for column in table.primary_key]
    if old.keys() <= set(keys):
        other = table.alias()
        same = [other.c[key] == table.c[key] for key in keys if key not in old]
        there = sa.exists().where(*(other.c[column] == value for column, value in new.items()), *same)
        connection.execute(sa.delete(table).where(*_are(table, old), there))
    connection.execute(sa.update(table).where(*_are(table, old)).values(dict(new)))


def _find_takes(connection: sa.Connection, old: Mapping[str, str]) -> dict[str, int]:
    found = connection.execute(sa.select(takes.c.row, takes.c.take).where(*_are(takes, old)))
    return {record.row: record.take for record in found}


def _raise_take(connection: sa.Connection, pipeline: str, row: str, take: int) -> None:
    """A reading under the new name did not know of the take that a person had asked for."""
    for found in find_rows(connection, pipeline, [row]):
        if found.take < take:
            set_take(connection, pipeline, retake(found, take))
            return
    same = (takes.c.pipeline == pipeline, takes.c.row == row, takes.c.take < take)
    connection.execute(sa.update(takes).where(*same).values(take=take))


def _move_spending(connection: sa.Connection, renaming: Renaming) -> None:
    """The running totals of the pipeline, and those of its runs."""
    query = sa.select(spending).where(spending.c.scope != "account")
    for total in connection.execute(query).all():
        name, slash, run = total.name.partition("/")
        if name == renaming.pipeline:
            key = [spending.c[column] == getattr(total, column) for column in ("scope", "name", "day")]
            connection.execute(sa.update(spending).where(*key).values(name=f"{renaming.new}{slash}{run}"))


def _move_pause(connection: sa.Connection, renaming: Renaming, now: float) -> None:
    """A pause goes with the pipeline. What is still read under the old name is paused."""
    old, new = _pause_of(renaming.pipeline), _pause_of(renaming.new)
    # Of an earlier renaming: the name is in use again.
    earlier = sa.or_(sa.and_(*old), sa.and_(*new)), pauses.c.reason.startswith(_RENAMED_TO, autoescape=True)
    connection.execute(sa.delete(pauses).where(*earlier))
    if connection.execute(sa.select(pauses).where(*new)).first():
        connection.execute(sa.delete(pauses).where(*old))
    connection.execute(sa.update(pauses).where(*old).values(name=renaming.new))
    why = f"{_RENAMED_TO}{renaming.new}: give it that name where it is defined"
    values: dict[str, Any] = {"scope": "pipeline", "name": renaming.pipeline, "reason": why, "since": now}
    connection.execute(sa.insert(pauses).values(values))


def _pause_of(pipeline: str) -> Sequence[sa.ColumnElement[bool]]:
    return pauses.c.scope == "pipeline", pauses.c.name == pipeline
