"""What becomes of a row that was to be submitted; and the rows that are not, because of what the store says."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace

from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Task
from pixverse_dagster.policy.advice import describe_trouble
from pixverse_dagster.policy.plan import SUBMITTED, PlanLine, Verdict
from pixverse_dagster.stages.ask import begin_paying, not_paid
from pixverse_dagster.stages.find import ImageChanged, StoreAnswer
from pixverse_dagster.stages.plan import plan_with_store
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.take_in import take_in

_WITHHELD_SECONDS = 3600
"""A row in the queue that needs a person is looked at again after so long."""
_STORE_SECONDS = 300
"""A row in the queue whose store cannot be asked or written to is looked at again after so long."""


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


def ask_store_first(session: Session, rows: Mapping[str, Row]) -> Generator[Submission, None, list[PlanLine]]:
    """Yields the rows that are not paid for because of what the store says; returns the lines of the others.

    What is there is taken in. A row that nobody can tell of, and every row of a store that cannot be asked or written
    to, is a problem, and keeps its place in the queue if it has one.
    """
    store = session.open_store() if session.open_store else None
    plan, view = plan_with_store(session, store, rows.values())
    unclear: dict[str, str] = {}
    for row, answer in view.answers.items():
        submission = _take_in(session, rows[row], answer)
        unclear |= {row: submission.problem} if submission.task is None else {}
        yield submission
    lines = [line for line in plan.lines if line.row not in view.answers]
    withheld = {line.row: line.note for line in lines if line.verdict is Verdict.WITHHELD}
    to_pay = [line.row for line in lines if line.verdict in SUBMITTED]
    why = view.problem
    if store and to_pay and not why:
        why = begin_paying(session, store)
    stopped = dict.fromkeys(to_pay, why) if why else {}
    _keep_places(session, unclear | withheld, _WITHHELD_SECONDS)
    _keep_places(session, stopped, _STORE_SECONDS)
    for row, words in (withheld | stopped).items():
        yield Submission(row, None, problem=f"row {row!r} is withheld: {words}")
    return [line for line in lines if line.row not in withheld | stopped]


def _take_in(session: Session, row: Row, answer: StoreAnswer) -> Submission:
    task, why = take_in(session, row, answer)
    if task is None or isinstance(answer, ImageChanged):
        # What changed under its address is said as where the table is read: the row has its clip, of the earlier image.
        words = why or not_paid(session, row.id, answer).note
        return Submission(row.id, task, problem=f"row {row.id!r} is withheld: {words}")
    problem = describe_trouble(task, session.commands)
    return Submission(row.id, task, problem=problem, found=not problem)


def _keep_places(session: Session, why: Mapping[str, str], seconds: float) -> None:
    """Rows in the queue stay there, with what they wait for, and are looked at again later."""
    name, queue = session.pipeline.name, session.ledger.queue
    entries = [replace(one, reason=why[one.row]) for one in queue.find(name) if one.row in why] if why else []
    queue.add(name, entries, session.clock() + seconds)
