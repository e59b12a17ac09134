"""Another take of the rows whose clips a person rejected: what it would cost, and asking for it. Sends nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.mark import Choice, Mark
from pixverse_dagster.core.row import Row, retake
from pixverse_dagster.core.task import Task
from pixverse_dagster.policy.plan import SUBMITTED, Plan
from pixverse_dagster.stages.places import queued_row
from pixverse_dagster.stages.plan import plan_with_store
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore


@dataclass(frozen=True)
class RetakePlan:
    """The rows that would get another take, as they are now; what submitting that would cost; and who is left out.

    `problem` says why the store could not be asked: the plan is made without it then.
    """

    rows: tuple[Row, ...]
    plan: Plan
    left: Mapping[str, str]
    """Why a row with a rejected clip gets no other take, by row."""
    problem: str = ""


def plan_retakes(session: Session, store: ClipStore | None, marks: Sequence[Mark]) -> RetakePlan:
    """What another take of every row whose present clip is rejected would cost. Changes nothing.

    A row is left out where another of its clips is picked, where not all outputs of the clip are rejected, and where it
    asks for something newer than what was rejected: so nothing is asked for twice because of one mark.
    """
    name, ledger = session.pipeline.name, session.ledger
    of_row: dict[str, list[Mark]] = {}
    for mark in marks:
        of_row.setdefault(mark.row, []).append(mark)
    rejected = [row for row, found in of_row.items() if any(mark.choice is Choice.REJECT for mark in found)]
    rows = ledger.rows.find(name, rejected)
    current = ledger.tasks.current(name, rejected, session.worlds)
    left: dict[str, str] = {}
    for row in rejected:
        if why := _why_not(session, rows.get(row), current.get(row), of_row[row]):
            left[row] = why
    order = list(ledger.rows.ids(name)) if rejected else []
    wanted = [rows[row] for row in order if row in rows and row not in left]
    plan, view = plan_with_store(session, store, [retake(row, row.take + 1) for row in wanted])
    left |= {
        line.row: f"{line.verdict}: {line.note}"
        for line in plan.lines
        if line.verdict not in SUBMITTED and line.row not in view.answers
    }
    return RetakePlan(tuple(row for row in wanted if row.id not in left), plan, left, view.problem)


def _why_not(session: Session, row: Row | None, task: Task | None, marks: Sequence[Mark]) -> str:
    """Why a row with a rejected clip gets no other take; empty if it does."""
    if any(mark.choice is Choice.PICK for mark in marks):
        return "another of its clips is picked"
    if row is None:
        return "it is not in the table as it was last read"
    rejected = {mark.n for mark in marks if task is not None and mark.task == task.id and mark.choice is Choice.REJECT}
    if task is None or not rejected:
        return f"it asks for something newer than what was rejected: take {row.take}" + (
            f", which is {task.state}" if task else ", which is not submitted yet"
        )
    if task.state is not TaskState.STORED:
        return f"its clip is {task.state}"
    if task.request.outputs_asked() > 1:
        others = sorted({file.n for file in session.ledger.files.find(task)} - rejected)
        if others:
            return f"output {others[0]} of its clip is not rejected"
    return ""


def ask_for_retakes(session: Session, made: RetakePlan, reason: str) -> list[str]:
    """Ask for what was planned: the rows get the next take and are queued, in one transaction.

    Returns the rows that were asked for. A row that changed since the plan was made is left as it is.
    """
    further = [retake(row, row.take + 1) for row in made.rows]
    entries = [queued_row(session, row, reason) for row in further]
    asked_of = {row.id: row.digest for row in made.rows}
    return session.ledger.queue.add_retakes(session.pipeline.name, entries, asked_of, session.clock())
