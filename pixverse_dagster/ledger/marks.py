"""What people marked: which clips are picked or rejected. A mark costs nothing and decides about no payment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from pixverse_dagster.core.mark import Choice, Mark
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.codec import writable
from pixverse_dagster.ledger.engine import CHUNK, one_at_a_time, reading, select_chunked
from pixverse_dagster.ledger.schema import marks

_MAX_NOTE_CHARACTERS = 2000
_VALUES = ("mark", "note", "marked_at", "row", "task")
_SHOWN = ("mark", "note")


class Marks:
    """Reads and writes the marks of a ledger's clips. Every method is one transaction; thread-safe."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def record(self, pipeline: str, read: Sequence[Mark], kept: Collection[str] = ()) -> int:
        """Make these the pipeline's marks. Returns how many changed; recording the same again changes nothing.

        A clip that is not among them has no mark any more, except those of `kept`, whose line could not be read.
        """
        wanted = {mark.clip: _values(mark) for mark in read}
        with self._engine.begin() as connection:
            one_at_a_time(connection)
            query = sa.select(marks).where(marks.c.pipeline == pipeline)
            there = {record.clip: record for record in connection.execute(query)}
            for clip in there.keys() - wanted.keys() - set(kept):
                gone = there[clip]
                wanted[clip] = {"mark": "", "note": "", "marked_at": "", "row": gone.row, "task": gone.task}
            changed = [clip for clip, new in wanted.items() if clip not in there or _differ(there[clip], new, _VALUES)]
            told = {clip for clip in changed if clip in there and not _differ(there[clip], wanted[clip], _SHOWN)}
            for chunk in chunked(changed, CHUNK):
                connection.execute(sa.delete(marks).where(marks.c.pipeline == pipeline, marks.c.clip.in_(chunk)))
                new = [
                    {
                        "pipeline": pipeline,
                        "clip": clip,
                        **wanted[clip],
                        "reported": clip in told and there[clip].reported,
                    }
                    for clip in chunk
                ]
                connection.execute(sa.insert(marks), new)
            return len([clip for clip in changed if clip not in told])

    def find(self, pipeline: str, rows: Iterable[str] | None = None) -> list[Mark]:
        """The pipeline's marks and notes, or those of clips of these rows, by clip."""
        query = sa.select(marks).where(marks.c.pipeline == pipeline, sa.or_(marks.c.mark != "", marks.c.note != ""))
        return [
            _read(record) for record in select_chunked(self._engine, query.order_by(marks.c.clip), marks.c.row, rows)
        ]

    def unreported(self, pipeline: str) -> list[Mark]:
        """What Dagster was not told yet, by clip; a mark that was taken off is one without a choice and a note."""
        query = sa.select(marks).where(marks.c.pipeline == pipeline, sa.not_(marks.c.reported))
        with reading(self._engine) as connection:
            return [_read(record) for record in connection.execute(query.order_by(marks.c.clip))]

    def set_reported(self, pipeline: str, told: Sequence[Mark]) -> None:
        """Dagster was told of these marks, if they are still the same. Repeatable."""
        with self._engine.begin() as connection:
            for mark in told:
                values = _values(mark)
                same = [marks.c[name] == values[name] for name in _SHOWN]
                same += [marks.c.pipeline == pipeline, marks.c.clip == mark.clip]
                if any(values[name] for name in _SHOWN):
                    connection.execute(sa.update(marks).where(*same).values(reported=True))
                else:
                    connection.execute(sa.delete(marks).where(*same))


def _values(mark: Mark) -> dict[str, Any]:
    return {
        "mark": str(mark.choice),
        "note": writable(mark.note)[:_MAX_NOTE_CHARACTERS],
        "marked_at": writable(mark.marked_at)[:64],
        "row": mark.row,
        "task": mark.task,
    }


def _differ(record: Any, values: dict[str, Any], names: Sequence[str]) -> bool:
    return any(getattr(record, name) != values[name] for name in names)


def _read(record: Any) -> Mark:
    return Mark(record.clip, record.row, record.task, Choice(record.mark), record.note, record.marked_at)
