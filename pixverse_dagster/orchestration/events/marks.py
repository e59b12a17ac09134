"""What people see of marks: a clip was picked or rejected, on its partition; and how many are, with each reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg

from pixverse_dagster.core.mark import Choice, Mark
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import chunked
from pixverse_dagster.orchestration.events.prompts import problem_table
from pixverse_dagster.stages.marks import MarksReading
from pixverse_dagster.stages.session import Session

_AT_ONCE = 100
_WORDS = {Choice.PICK: "picked", Choice.REJECT: "rejected", Choice.NONE: "no mark"}


def report_marks(session: Session, report: Callable[[Any], None]) -> int:
    """Tell Dagster of every mark that changed, once each. Returns how many there were.

    A process that dies meanwhile leaves the rest for the next reading.
    """
    name, ledger = session.pipeline.name, session.ledger
    changed = ledger.marks.unreported(name)
    for marks in chunked(changed, _AT_ONCE):
        tasks = {task.id: task for task in ledger.tasks.by_id({mark.task for mark in marks})}
        for mark in marks:
            if mark.task in tasks:
                report(mark_event(mark, tasks[mark.task]))
        ledger.marks.set_reported(name, marks)
    return len(changed)


def mark_event(mark: Mark, task: Task) -> dg.AssetObservation:
    """A clip's mark as it is now. An observation: the clip is what it was, and nothing made from it is out of date."""
    which = f"take {task.take}" + (f", output {mark.n}" if task.request.outputs_asked() > 1 else "")
    return dg.AssetObservation(
        asset_key=[task.pipeline, "clips"],
        partition=task.row,
        description=f"row {task.row!r}, {which}: {_WORDS[mark.choice]}" + (f" ({mark.note})" if mark.note else ""),
        metadata={
            "pixverse/mark": str(mark.choice) or "none",
            **({"pixverse/note": mark.note} if mark.note else {}),
            **({"pixverse/marked_at": mark.marked_at} if mark.marked_at else {}),
            "pixverse/take": str(task.take),
            "pixverse/attempt": str(task.attempt or 1),
            "pixverse/output": str(mark.n),
            "pixverse/clip_key": mark.clip,
        },
    )


def marks_metadata(reading: MarksReading | None) -> dict[str, Any]:
    """How many clips are picked and rejected, and which lines of the table are left out; nothing without marks."""
    if reading is None:
        return {}
    metadata: dict[str, Any] = {
        "pixverse/picked": reading.counts[Choice.PICK],
        "pixverse/rejected": reading.counts[Choice.REJECT],
        "pixverse/marks_changed": reading.changed,
    }
    if reading.trouble:
        metadata["pixverse/marks_not_read"] = reading.trouble
    if reading.problems:
        metadata["pixverse/marks_left_out"] = len(reading.problems)
        metadata["pixverse/marks_problems"] = problem_table(reading.problems)
    return metadata
