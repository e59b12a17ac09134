"""What becomes of a row that was to be submitted; and the rows that are not, because of what the store says."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass

from pixverse_dagster.core.errors import StoreConflict
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Task
from pixverse_dagster.policy.advice import describe_end
from pixverse_dagster.policy.plan import SUBMITTED, PlanLine, Verdict
from pixverse_dagster.stages.ask import begin_paying, not_paid
from pixverse_dagster.stages.find import ImageChanged, StoreAnswer
from pixverse_dagster.stages.places import Places
from pixverse_dagster.stages.plan import plan_with_store
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.store import describe
from pixverse_dagster.stages.take_in import take_in
from pixverse_dagster.stages.waiting import RunStopped, call_aside

_WITHHELD_SECONDS = 3600
"""A row in the queue that needs a person is looked at again after so long."""
_STORE_SECONDS = 300
"""A row in the queue whose store cannot be asked or written to is looked at again after so long."""
KEPT = ", and it keeps its place in the queue"
"""What a message about a row that is not sent ends with, if it is not forgotten."""


@dataclass(frozen=True)
class Submission:
    """What became of one row.

    All is well, or `problem` says what is wrong, `waits` why its turn has not come, or `skipped` why there is nothing
    to submit any more, which is no failure. `found` is a task that was paid for earlier and whose clip was found in the
    store just now.
    """

    row: str
    task: Task | None
    sent: bool = False
    problem: str = ""
    waits: str = ""
    skipped: str = ""
    found: bool = False


def not_sent(row: str, why: str, *, kept: bool = True) -> str:
    """What is said of a row that was not sent."""
    return f"row {row!r} was not sent: {why.rstrip('.')}{KEPT if kept else ''}"


def ask_store_first(
    session: Session, rows: Mapping[str, Row], places: Places
) -> Generator[Submission, None, list[PlanLine]]:
    """Yields the rows that are not paid for because of what the store says; returns the lines of the others.

    What is there is taken in. A row that nobody can tell of, and every row of a store that cannot be asked or written
    to, is a problem, and keeps its place in the queue. So do all rows if this raises, as for a store of another form.
    """
    try:
        store = session.open_store() if session.open_store else None
        # A store may hang for minutes: a person who cancels the run does not wait for it, for nothing was paid yet.
        plan, view = call_aside(lambda: plan_with_store(session, store, rows.values()), session.stopped)
    except RunStopped:
        raise
    except Exception as error:
        # One of another form is as it is until a person does something.
        wait_seconds = _WITHHELD_SECONDS if isinstance(error, StoreConflict) else _STORE_SECONDS
        for row in rows.values():
            places.keep(row, f"the store could not be asked: {describe(error)}", wait_seconds)
        raise
    for row, answer in view.answers.items():
        submission = _take_in(session, rows[row], answer)
        if submission.task is None:
            places.keep(rows[row], submission.problem, _WITHHELD_SECONDS)
        else:
            places.leave(row)
        yield submission
    lines = [line for line in plan.lines if line.row not in view.answers]
    withheld = {line.row: line.note for line in lines if line.verdict is Verdict.WITHHELD}
    to_pay = [line.row for line in lines if line.verdict in SUBMITTED]
    why = view.problem
    if store and to_pay and not why:
        why = call_aside(lambda: begin_paying(session, store), session.stopped)
    stopped = dict.fromkeys(to_pay, why) if why else {}
    for row, words in (withheld | stopped).items():
        places.keep(rows[row], words, _WITHHELD_SECONDS if row in withheld else _STORE_SECONDS)
        yield Submission(row, None, problem=f"row {row!r} is withheld: {words}")
    return [line for line in lines if line.row not in withheld | stopped]


def _take_in(session: Session, row: Row, answer: StoreAnswer) -> Submission:
    task, why = take_in(session, row, answer)
    if task is None or isinstance(answer, ImageChanged):
        # What changed under its address is said as where the table is read: the row has its clip, of the earlier image.
        words = why or not_paid(session, row.id, answer).note
        return Submission(row.id, task, problem=f"row {row.id!r} is withheld: {words}")
    problem = describe_end(task, session.commands)
    return Submission(row.id, task, problem=problem, found=not problem)
