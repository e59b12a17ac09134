"""Marks of a pipeline's clips: read from the table that the gallery exports, and joined with what is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.mark import Choice, Mark
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.row import Problem, legible
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.text import shorten
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.stages.session import Session
from pixverse_dagster.tables.marks import MarkedClip, MarkTable, read_mark_table

_MAX_NOTE_CHARACTERS = 2000
_LEFT_OUT = "The line is left out"


@dataclass(frozen=True)
class MarksReading:
    """What a table of marks says of the clips that the ledger knows, and which of its lines are left out, and why."""

    marks: tuple[Mark, ...] = ()
    problems: tuple[Problem, ...] = ()
    unread: tuple[str, ...] = ()
    """Clips whose line is there and could not be read: they keep their marks."""
    changed: int = 0
    """How many clips have another mark or note than before."""
    trouble: str = ""
    """Why the table as a whole could not be read; empty if it could."""

    @property
    def counts(self) -> Counter[Choice]:
        """How many clips have each mark."""
        return Counter(mark.choice for mark in self.marks)


def read_marks(session: Session, source: str) -> MarksReading:
    """Read a table of marks, and join its lines with stored clips. Changes nothing.

    A line about a clip that is not there, or is another pipeline's, is named and left out. Raises InvalidTable for a
    table that cannot be read.
    """
    return join_marks(session.ledger, session.pipeline.name, read_mark_table(source, session.options.download))


def join_marks(ledger: Ledger, pipeline: str, table: MarkTable) -> MarksReading:
    """The lines of a table as marks of the pipeline's stored clips. Changes nothing."""
    tasks = _find_tasks(ledger, pipeline, table.lines)
    marks: list[Mark] = []
    problems = list(table.problems)
    for line in table.lines:
        task = tasks.get(str(line.key.folder))
        why = _why_not(line, task, pipeline)
        if task is None or why:
            problems.append(Problem(line.line, line.key.folder.row, "clip", f"{line.clip}: {why}. {_LEFT_OUT}"))
        else:
            note = legible(redact_text(" ".join(line.note.split())), _MAX_NOTE_CHARACTERS)
            marks.append(Mark(line.clip, task.row, task.id, line.choice, note, legible(line.marked_at, 64)))
    return MarksReading(tuple(marks), tuple(sorted(problems, key=lambda one: one.line)), table.unread)


def _find_tasks(ledger: Ledger, pipeline: str, lines: Sequence[MarkedClip]) -> dict[str, Task]:
    """The pipeline's tasks by their folder; a renamed row's or pipeline's clips are where they were."""
    folders = {str(line.key.folder): line.key.folder for line in lines}
    rows = sorted({folder.row for folder in folders.values()})
    found = _by_folder(ledger.tasks.find(pipeline, keys=rows), pipeline, folders.keys())
    moved = _by_folder(ledger.tasks.in_folders(sorted(folders.keys() - found.keys())), pipeline, folders.keys())
    return found | moved


def _by_folder(tasks: Iterable[Task], pipeline: str, folders: Collection[str]) -> dict[str, Task]:
    """The tasks of these folders. Of several claims of one request, the clip is of the one that was stored."""
    found: dict[str, Task] = {}
    for task in tasks:
        if task.pipeline == pipeline and (folder := str(task_folder(task))) in folders:
            before = found.get(folder)
            if before is None or before.state is not TaskState.STORED:
                found[folder] = task
    return found


def _why_not(line: MarkedClip, task: Task | None, pipeline: str) -> str:
    """Why a line is no mark of a stored clip; empty if it is."""
    if task is None:
        other = line.key.folder.pipeline
        return f"is a clip of {other!r}" if other != pipeline else "there is no such clip in the ledger"
    if task.state is TaskState.FORGOTTEN:
        return "the clip was deleted on demand"
    if task.state is not TaskState.STORED:
        return f"the clip is not stored: its task is {task.state}"
    if line.key.n > task.request.outputs_asked():
        return f"the clip has {task.request.outputs_asked()} outputs"
    return ""


def record_marks(session: Session) -> MarksReading | None:
    """Read the table of marks that the options name, and make it the pipeline's marks; None if they name none.

    A table that cannot be read leaves the marks as they were, and keeps nothing else from going on.
    """
    source, name, ledger = session.options.marks, session.pipeline.name, session.ledger
    if source is None:
        return None
    try:
        reading = read_marks(session, source)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with this file, the prompts are none of its business
        return MarksReading(tuple(ledger.marks.find(name)), trouble=shorten(redact_text(str(error)), 500))
    changed = ledger.marks.record(name, reading.marks, reading.unread)
    return MarksReading(tuple(ledger.marks.find(name)), reading.problems, reading.unread, changed)
