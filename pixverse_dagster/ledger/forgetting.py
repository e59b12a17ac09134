"""Taking a row's words out of the ledger, because a person asked for it. What it cost and how it ended stays."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import Event, TaskState
from pixverse_dagster.core.row import MAX_ID_BYTES, legible
from pixverse_dagster.ledger.codec import text_without_words
from pixverse_dagster.ledger.engine import one_at_a_time
from pixverse_dagster.ledger.schema import check_results, history, marks, rows, snapshots, tasks, waiting

_FORGOTTEN = "forgotten on demand"


def forget_words(connection: sa.Connection, pipeline: str, row: str, take: int | None) -> bool:
    """Take the words of a row, or of one of its takes, out of every table. Returns whether the row was in the table.

    Prompt, labels, images, the body of a submit, what the provider said and what people noted go. Digests stay, so that
    nothing is paid for again, and so does what a person decided. Repeatable.
    """
    one_at_a_time(connection)
    same = [tasks.c.pipeline == pipeline, tasks.c.row == row, *([] if take is None else [tasks.c.take == take])]
    found = connection.execute(sa.select(tasks.c.id, tasks.c.model, tasks.c.request, tasks.c.state).where(*same)).all()
    for task in found:
        connection.execute(sa.update(tasks).where(tasks.c.id == task.id).values(_wordless(task)))
        said = sa.update(history).where(history.c.task == task.id, history.c.event != Event.FORGET)
        connection.execute(said.values(detail=""))
        connection.execute(sa.update(check_results).where(check_results.c.task == task.id).values(detail=""))
        connection.execute(sa.delete(marks).where(marks.c.task == task.id))
    current = [rows.c.pipeline == pipeline, rows.c.row == row, *([] if take is None else [rows.c.take == take])]
    in_table = connection.execute(sa.delete(rows).where(*current)).rowcount > 0
    if take is None or in_table:
        connection.execute(sa.delete(waiting).where(waiting.c.pipeline == pipeline, waiting.c.row == row))
        _forget_problems(connection, pipeline, legible(row, MAX_ID_BYTES))
    return in_table


def _wordless(task: Any) -> dict[str, Any]:
    ended = task.state not in {TaskState.STORED, TaskState.FORGOTTEN}
    return {
        "request": text_without_words(task.model, task.request),
        "images": "{}",
        "labels": "{}",
        "differences": "[]",
        "body": None,
        "note": "",
        "reason": _FORGOTTEN if ended else None,
    }


def _forget_problems(connection: sa.Connection, pipeline: str, row: str) -> None:
    """What was wrong with the row in earlier readings quotes its cells."""
    query = sa.select(snapshots.c.id, snapshots.c.problems).where(snapshots.c.pipeline == pipeline)
    for snapshot in connection.execute(query).all():
        problems = json.loads(snapshot.problems or "[]")  # none of its own: those of the one after it
        kept = [problem for problem in problems if problem[1] != row]
        if kept != problems:
            values = {"problems": json.dumps(kept)}
            connection.execute(sa.update(snapshots).where(snapshots.c.id == snapshot.id).values(values))
