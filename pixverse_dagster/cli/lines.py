"""What `tasks` shows: every task of a pipeline, and every row that waits for its first one; how each stands."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pixverse_dagster.cli.documents import Document
from pixverse_dagster.cli.project import Project
from pixverse_dagster.cli.selection import INVALID, TROUBLE, Selection
from pixverse_dagster.core.ages import describe_age
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.lifecycle import MAY_STALL, UNDER_WAY, TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.row_state import NEEDS_A_PERSON, RowState
from pixverse_dagster.core.task import QueuedRow, Task, governing, task_cost
from pixverse_dagster.core.values import iso
from pixverse_dagster.ledger.check_results import FailedCheck
from pixverse_dagster.ledger.worlds import Worlds
from pixverse_dagster.policy.advice import describe_stall

_OPEN = frozenset({*UNDER_WAY, TaskState.UNKNOWN})
_SHOWN = {
    TaskState.CLAIMED: RowState.RENDERING,
    TaskState.SUBMITTED: RowState.RENDERING,
    TaskState.SUCCEEDED: RowState.READY,
}


class RowDocument(Document):
    """A row that has no task for its present request; of a task's keys those that a reader is sure to look at."""

    row: str
    state: str
    since: str | None
    model: str
    labels: dict[str, str]
    reason: str
    task_id: None = None
    claim: None = None
    attempt: None = None
    cost_usd: None = None


@dataclass(frozen=True)
class Line:
    """A task, or a row that has none for its present request: how it stands, since when, and what that means.

    `since` is in seconds since the epoch; None where nobody knows.
    """

    row: str
    state: str
    since: float | None
    verdict: str
    model: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    task: Task | None = None
    claimed_at: float | None = None
    followed: bool = False
    """Whether another task answers for the row's request by now."""
    past: bool = False
    """Whether it says nothing of how the row stands now: it was followed, or the row asks for something else."""

    def is_in(self, selection: Selection) -> bool:
        """Whether the selection has it. What has no task was not claimed: it is not older than anything."""
        words = {self.state, *([str(self.task.state)] if self.task else [])}
        needed = self.state in {*map(str, NEEDS_A_PERSON), INVALID} and not self.past
        return (
            (not selection.states or bool(words & selection.states) or (TROUBLE in selection.states and needed))
            and (not selection.kinds or (self.task is not None and self.task.kind in selection.kinds))
            and (not selection.providers or self.model.partition("/")[0] in selection.providers)
            and all(self.labels.get(key, "") == value for key, value in selection.labels.items())
            and (selection.since is None or self.claimed_at is None or self.claimed_at >= selection.since)
        )


def read_lines(project: Project, selection: Selection) -> list[Line]:
    """The lines that the selection has, the oldest task first, then what waits, in the order of the queue.

    Rows that nobody asked for yet, and invalid ones, are there where the selection names their state.
    """
    ledger, name = project.ledger, project.name
    entries = {(one.row, one.digest): one for one in ledger.queue.find(name)}
    tasks = _find_tasks(project, selection)
    lines = [*_of_tasks(project, tasks, entries), *_of_queue(project, entries.values())]
    wanted = selection.states
    if wanted & {str(RowState.NEW)}:
        lines += _unsubmitted(project, tasks, entries)
    if wanted & {INVALID, TROUBLE}:
        lines += _invalid(project)
    return [line for line in lines if line.is_in(selection)]


def _find_tasks(project: Project, selection: Selection) -> list[Task]:
    """The tasks of all rows that may be chosen, with those that followed them: of a few states few are read."""
    ledger, name = project.ledger, project.name
    if not selection.states or RowState.NEW in selection.states:
        return ledger.tasks.find(name)
    blocking = project.spec.pipeline.options.checks.blocking
    states = {state for word in selection.states for state in _states_of(word, blocking=blocking)}
    rows = {task.row for task in ledger.tasks.find(name, states)} if states else set[str]()
    return sorted(ledger.tasks.find(name, keys=rows), key=lambda task: task.claimed_at)


def _states_of(word: str, *, blocking: bool) -> Iterable[TaskState]:
    """The states that a task may have whose row is in this state; clips are withheld where checks are `blocking`."""
    match word:
        case RowState.RENDERING | RowState.READY:
            return [state for state, shown in _SHOWN.items() if shown == word]
        case RowState.STALLED:
            return MAY_STALL
        case RowState.WITHHELD:
            return [TaskState.STORED] if blocking else []
        case _ if word == TROUBLE:
            return {state for one in NEEDS_A_PERSON for state in _states_of(one, blocking=blocking)}
        case _:
            return [state for state in TaskState if state == word]


def row_state(task: Task, withheld: Container[str] = ()) -> RowState:
    """How the row of a task stands by it. `withheld` are the folders of clips that a blocking check keeps back."""
    if task.state in MAY_STALL and task.stalled_at is not None:
        return RowState.STALLED
    if task.state is TaskState.STORED and str(task_folder(task)) in withheld:
        return RowState.WITHHELD
    return _SHOWN.get(task.state) or RowState(task.state)


def state_since(task: Task) -> float:
    """Since when the task is in its state, in seconds since the epoch."""
    sent_at = task.submitted_at or task.claimed_at
    if row_state(task) is RowState.STALLED:
        return task.stalled_at or sent_at
    if task.state is TaskState.STORED:
        return task.stored_at or sent_at
    return (task.finished_at or sent_at) if task.state in {TaskState.SUCCEEDED, TaskState.FAILED} else sent_at


def describe_money(task: Task) -> str:
    """What a task cost, perhaps cost, or did not cost, in few words."""
    cost = task_cost(task)
    price = "at a price that is not public" if cost.usd is None else f"{cost.usd:.3f} USD"
    about = price if cost.source != "estimate" else f"about {price}"
    match task.state:
        case TaskState.REFUSED:
            return "nothing paid"
        case TaskState.CLAIMED:
            return f"reserved: {about}"
        case TaskState.UNKNOWN:
            return "no charge is known of" if task.is_presumed else f"perhaps paid: {about}"
        case TaskState.FAILED | TaskState.ABANDONED if cost.source != "provider":
            return f"perhaps paid: {about}"
        case _:
            return f"paid: {about}"


def _of_tasks(project: Project, tasks: Iterable[Task], entries: Mapping[tuple[str, str], QueuedRow]) -> Iterator[Line]:
    tasks = list(tasks)
    kept_back = {str(one.folder): one.detail for one in _failed_checks(project)}
    digests, worlds = project.ledger.rows.digests(project.name), project.ledger.worlds.find(project.name)
    requests: dict[tuple[str, str, str], list[Task]] = {}
    for task in tasks:
        requests.setdefault((task.row, task.digest, task.world), []).append(task)
    answers = {key: governing(found) for key, found in requests.items()}
    for task in tasks:
        answer = answers[task.row, task.digest, task.world] or task
        if task.state is TaskState.REFUSED and (task.row, task.digest) in entries:
            continue  # its row waits, and has a line that says for what
        state, followed = row_state(task, kept_back), answer.id != task.id
        why = kept_back.get(str(task_folder(task)), "") if state is RowState.WITHHELD else ""
        words = f"followed by a later attempt, which is {row_state(answer, kept_back)}; " if followed else ""
        is_past = followed or (task.state not in _OPEN and not _is_present(task, digests, worlds))
        if is_past and not followed:
            words = "of an earlier request of the row; " if task.row in digests else "its row left the table; "
        yield Line(
            row=task.row,
            state=str(state),
            since=state_since(task),
            verdict=words + _verdict(task, why),
            model=task.request.MODEL,
            labels=task.labels,
            task=task,
            claimed_at=task.claimed_at,
            followed=followed,
            past=is_past,
        )


def _is_present(task: Task, digests: Mapping[str, str], worlds: Worlds) -> bool:
    """Whether the task is of what its row asks for now, and of the present world."""
    return digests.get(task.row) == task.digest and worlds.get(task.provider, task.world) == task.world


def _failed_checks(project: Project) -> list[FailedCheck]:
    blocking = project.spec.pipeline.options.checks.blocking
    return project.ledger.checks.failed(project.name) if blocking else []


def _verdict(task: Task, why: str) -> str:
    """What a task's state means: the money first, then whose turn it is and what was said last."""
    kind = str(task.kind) if task.state is TaskState.FAILED else ""
    turn = ""
    if task.next_poll_at is not None and task.state in {TaskState.SUBMITTED, TaskState.UNKNOWN}:
        turn = f"asked about by itself, next in {describe_age(task.next_poll_at - time.time())}"
    said = describe_stall(task) or why or redact_text(task.reason or task.note)
    return "; ".join(filter(None, (kind, describe_money(task), turn, said)))


def _of_queue(project: Project, entries: Iterable[QueuedRow]) -> Iterator[Line]:
    entries = list(entries)
    rows = project.ledger.rows.find(project.name, [one.row for one in entries])
    for one in entries:
        if row := rows.get(one.row):
            yield _of_row(row, RowState.WAITING, f"nothing paid; waits: {redact_text(one.reason)}", one.since)


def _unsubmitted(project: Project, tasks: Iterable[Task], queued: Container[tuple[str, str]]) -> Iterator[Line]:
    """The rows of the table that have no task in their provider's present world, and that nobody asked for."""
    ledger, name = project.ledger, project.name
    worlds = ledger.worlds.find(name)
    there = {(task.row, task.digest) for task in tasks if worlds.get(task.provider, task.world) == task.world}
    for row in ledger.rows.find(name).values():
        if (row.id, row.digest) not in there and (row.id, row.digest) not in queued:
            yield _of_row(row, RowState.NEW, "nothing paid; nobody asked for it yet, or it was withdrawn")


def _of_row(row: Row, state: RowState, verdict: str, since: float | None = None) -> Line:
    return Line(row.id, str(state), since, verdict, row.request.MODEL, row.labels, claimed_at=since)


def _invalid(project: Project) -> Iterator[Line]:
    for problem in project.ledger.rows.problems(project.name):
        yield Line(problem.row or f"line {problem.line}", INVALID, None, f"nothing paid; {problem}")


def export_row(line: Line) -> RowDocument:
    """A row without a task, for machines."""
    since = iso(line.since) if line.since else None
    return RowDocument(
        row=line.row, state=line.state, since=since, model=line.model, labels=dict(line.labels), reason=line.verdict
    )
