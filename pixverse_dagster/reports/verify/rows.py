"""What contradicts itself in the ledger: digests, ids, clips and states across all rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pixverse_dagster.core.layout import parse_folder
from pixverse_dagster.core.lifecycle import TRANSITIONS, Event, TaskState
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.reports.verify import kinds
from pixverse_dagster.reports.verify.digests import compare_digest
from pixverse_dagster.reports.verify.findings import Discrepancy, Kind
from pixverse_dagster.reports.verify.seen import Seen

_ROWS_AT_ONCE = 500
_ENDED = {
    *(Event.FAIL, Event.EXPIRE, Event.ABANDON, Event.RELEASE, Event.MARK_UNKNOWN, Event.DISPUTE),
    *(Event.RESTORE, Event.FIND, Event.ADOPT, Event.REFUSE, Event.REFUSE_LATE, Event.NOT_ACCEPTED),
}
"""After one of these, a further attempt was right, whatever became of the first one later."""


_EVENTS = frozenset(Event)
_LEADS_TO = frozenset({Event.STORE, Event.FIND, Event.FORGET, Event.FAIL, Event.EXPIRE, Event.ABANDON})
"""Events that lead to one state, whoever caused them."""
Histories = Mapping[str, Sequence[tuple[str, str]]]
"""The events of tasks, in order, each with the state that it led to."""


def compare_table(ledger: Ledger, pipeline: str) -> Iterator[Discrepancy]:
    """Whether the digest of every row of the table is that of its request."""
    for page in ledger.consistency.row_pages(pipeline, _ROWS_AT_ONCE):
        for row in page:
            for words in compare_digest(row):
                yield Discrepancy(row.id, "the ledger: rows", words, kinds.DIGEST)


def compare_history(ledger: Ledger, pipeline: str) -> Iterator[Discrepancy]:
    """Whether the history is whole, and every task of which it tells is there."""
    if missing := ledger.consistency.missing_entries():
        words = f"{abs(missing)} entries are {'missing' if missing > 0 else 'there twice'}"
        yield Discrepancy("", "the ledger: history", words, kinds.HISTORY)
    for lost in ledger.consistency.lost_tasks(pipeline):
        words = f"tells of a task that the ledger does not have any more: {lost.task}"
        yield Discrepancy(lost.row, "the ledger: history", words, kinds.HISTORY)


def compare_ids(ledger: Ledger, pipeline: str) -> Iterator[Discrepancy]:
    """Whether every task id is one task's."""
    for account, task_id in ledger.consistency.shared_ids():
        tasks = ledger.consistency.with_task_id(account, task_id)
        rows = ", ".join(f"{task.row!r} of {task.pipeline!r}, claim {task.claim}" for task in tasks)
        for task in tasks:
            if task.pipeline == pipeline:
                words = f"task {task_id} at account {account!r} is that of rows {rows}"
                yield Discrepancy(task.row, "the ledger: tasks", words, kinds.TASK_ID_TWICE, task.id)


def compare_tasks(page: Sequence[Task], histories: Histories, seen: Seen) -> Iterator[Discrepancy]:
    """What contradicts itself about these tasks, all of each row; `histories` are the events of each."""
    for task in page:

        def name(kind: Kind, words: str, task: Task = task) -> Discrepancy:
            return Discrepancy(task.row, "the ledger: tasks", f"task {task.task_id}: {words}", kind, task.id)

        if task.state is not TaskState.FORGOTTEN:
            yield from (name(kinds.DIGEST, words) for words in compare_digest(task))
        yield from (name(kinds.HISTORY, words) for words in _compare_events(task, histories.get(task.id, ())))
        if (common := seen.shared(task.id)) is not None:
            words = f"an output has the same bytes as one of another task (mark {common:016x})"
            yield name(kinds.BYTES_TWICE, words)
    yield from _compare_requests(page, histories)


def _compare_events(task: Task, events: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Whether a task is what its history says, and the history what can happen."""
    last = events[-1][1] if events else "nothing"
    if last != task.state:
        yield f"it is {task.state}, and its history ends with {last}"
    for event, state in events:
        move = TRANSITIONS.get(Event(event)) if event in _EVENTS else None
        if move is None:
            yield f"its history has {event!r}, which is no event"
        elif event in _LEADS_TO and state != move.to:
            yield f"its history says that {event!r} led to {state!r}, and not to {move.to}"
    if task.found_at is not None and not {event for event, _ in events} & {Event.RESTORE, Event.FIND}:
        yield "it is said to have been found in a store, and its history knows nothing of that"
    if task.folder and parse_folder(task.folder) is None:
        yield f"its folder is {task.folder!r}, which is none of a store"


def _compare_requests(page: Sequence[Task], histories: Histories) -> Iterator[Discrepancy]:
    by_request: dict[tuple[str, str, str], list[Task]] = {}
    for task in page:
        if task.state is TaskState.STORED:
            by_request.setdefault((task.row, task.digest, task.world), []).append(task)
    for (row, _, _), stored in by_request.items():
        first, *others = sorted(stored, key=lambda task: task.claim)
        if others and not {event for event, _ in histories.get(first.id, ())} & _ENDED:
            ids = " and ".join(str(task.task_id) for task in stored)
            words = f"tasks {ids} of one request are both stored, and the first one had not ended before"
            yield Discrepancy(row, "the ledger: tasks", words, kinds.CLIP_TWICE, first.id)
