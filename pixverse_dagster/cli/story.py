"""`tasks show`: one row's story, from its reading to its clip, with what it cost and what to do now."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from pixverse_dagster.cli.documents import Document, json_option, print_json
from pixverse_dagster.cli.export import TaskDocument, export
from pixverse_dagster.cli.lines import describe_money, row_state
from pixverse_dagster.cli.many import describe_price
from pixverse_dagster.cli.output import print_table
from pixverse_dagster.cli.project import Project, ProjectChoice, project_options
from pixverse_dagster.core.ages import describe_age
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.lifecycle import Event, TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import QueuedRow, Task, governing, task_cost
from pixverse_dagster.core.values import iso
from pixverse_dagster.ledger.history import HistoryEntry
from pixverse_dagster.policy.advice import describe_trouble
from pixverse_dagster.policy.endings import TASKS, condition, describe_ending

_SAID = {
    Event.CLAIM: "claimed, to be sent",
    Event.ACCEPT: "accepted by the provider",
    Event.REFUSE: "not accepted, nothing paid",
    Event.REFUSE_LATE: "not accepted, nothing paid",
    Event.MARK_UNKNOWN: "no answer to the submit: nobody knows whether it was paid",
    Event.DISPUTE: "the provider gave its task to another submit as well: nobody knows whose it is",
    Event.SUCCEED: "the clip is ready at the provider",
    Event.FAIL: "failed at the provider",
    Event.EXPIRE: "the clip was gone before it was stored",
    Event.STORE: "stored",
    Event.ADOPT: "adopted by a person",
    Event.NOT_ACCEPTED: "not accepted, a person found: nothing paid",
    Event.ABANDON: "given up by a person; what it cost stays spent",
    Event.RELEASE: "one more paid attempt was allowed by a person",
    Event.WITHDRAW: "the further attempt was withdrawn by a person",
    Event.RELOCATE: "its clip goes to another folder: another task's clip stands in the first",
    Event.DESCRIBE: "its manifest was written anew",
    Event.RESTORE: "taken in from the store",
    Event.FIND: "its clip was found in the store",
    Event.FORGET: "deleted on demand",
}
"""What each event of a task means, in a story."""
_TIMES = {0: "not asked about yet", 1: "asked about once so far"}
_POLLED = {Event.SUCCEED, Event.FAIL}
_OPEN = {TaskState.CLAIMED, TaskState.SUBMITTED, TaskState.SUCCEEDED, TaskState.UNKNOWN}


@dataclass(frozen=True)
class Moment:
    """One thing that happened to a row, when (seconds since the epoch), and in which of its attempts."""

    at: float
    attempt: str
    what: str


class HistoryDocument(Document):
    """One thing that happened to a task; the time is UTC."""

    at: str
    event: str
    state: str
    detail: str


class TaskStoryDocument(TaskDocument):
    """A task, and what happened to it, in order."""

    history: list[HistoryDocument]


@click.command("show")
@click.argument("row")
@click.option("--wide", is_flag=True, help="Also everything else that the ledger keeps of each task.")
@project_options
@json_option(list[TaskStoryDocument])
def show_task(row: str, choice: ProjectChoice, *, wide: bool, as_json: bool) -> None:
    """One row's story: read, queued and why, sent, asked about, its outcome, where its clip is, what it cost.

    Every attempt and every take, what it is now, and what to do. Exits with 1 if the row has no task.
    """
    with choice.open_kept() as project:
        found = project.ledger.tasks.find(project.name, keys=[row])
        waits = next((entry for entry in project.ledger.queue.find(project.name) if entry.row == row), None)
        asked = project.ledger.rows.find(project.name, [row]).get(row)
        history = project.ledger.history.of_row(project.name, row)
        read_at = project.ledger.rows.read_at(project.name)
        places = {task.id: _place(project, task) for task in found if task.state is TaskState.STORED}
    if as_json:
        print_json([_export_story(task, history) for task in found])
        sys.exit(0 if found else 1)
    click.echo(redact_text(_verdict(row, found, asked, waits)))
    if not found:
        click.echo(f"row {row!r} of {project.name!r} has no task: it was never submitted", err=True)
    moments = [*_moments(found, history, places), *_of_row(asked, waits, read_at), *_of_polls(found)]
    if moments:
        ordered = sorted(moments, key=lambda one: one.at)
        records = [[f"{iso(one.at)[:19]}Z", one.attempt, one.what] for one in ordered]
        print_table(f"{row} of {project.name}", ["when (UTC)", "attempt", "what"], records)
    if found:
        click.echo(_describe_cost(found))
    for words in _advise(project, found, asked, waits):
        click.echo(redact_text(words))
    for task in found if wide else ():
        _print_fields(task)
    sys.exit(0 if found else 1)


def _export_story(task: Task, history: Sequence[HistoryEntry]) -> TaskStoryDocument:
    happened = [
        HistoryDocument(at=iso(one.at), event=one.event, state=one.state, detail=redact_text(one.detail))
        for one in history
        if one.task == task.id
    ]
    return TaskStoryDocument(**export(task).model_dump(mode="json"), history=happened)


def _verdict(row: str, found: Sequence[Task], asked: Row | None, waits: QueuedRow | None) -> str:
    """How the row stands now, in one line."""
    now = time.time()
    mine = [task for task in found if asked is None or task.digest == asked.digest]
    answer = governing(mine)
    if waits is not None:
        return f"{row}: waiting for {describe_age(now - waits.since)}, nothing is paid for it yet: {waits.reason}"
    if answer is None:
        if asked is None:
            return f"{row}: not in the table as it was last read" + (", which asked for other words" if found else "")
        return f"{row}: new, nothing paid: nobody asked for it yet, or it was withdrawn"
    kind = f" ({answer.kind})" if answer.state is TaskState.FAILED else ""
    gone = " Its row left the table." if asked is None else ""
    return f"{row}: {row_state(answer)}{kind}, {describe_money(answer)}.{gone}"


def _moments(found: Sequence[Task], history: Sequence[HistoryEntry], places: dict[str, str]) -> Iterator[Moment]:
    """What happened to the row's tasks, in order."""
    tasks = {task.id: task for task in found}
    several = len({task.take for task in found}) > 1
    for entry in history:
        task = tasks.get(entry.task)
        number = f"{task.claim}" + (f", take {task.take}" if several else "") if task else ""
        yield Moment(entry.at, number, redact_text(_what(entry, task, places)))


def _what(entry: HistoryEntry, task: Task | None, places: dict[str, str]) -> str:
    try:
        event = Event(entry.event)
    except ValueError:
        return f"{entry.event}: {entry.detail}"
    words = [_SAID.get(event, str(event))]
    if task and event is Event.CLAIM:
        words.append(f"{task.request.MODEL} at {task.account}, run {task.run_id}")
        words.append("price not public" if task.estimate_usd is None else f"about {task.estimate_usd:.3f} USD reserved")
    if task and event in _POLLED and task.polls:
        words.append("after 1 poll" if task.polls == 1 else f"after {task.polls} polls")
    if task and entry.detail == task.task_id:
        words += [f"task {entry.detail}"] if event in {Event.ACCEPT, Event.ADOPT, Event.RESTORE} else []
    elif entry.detail and event is not Event.CLAIM:
        words.append(entry.detail)
    if task and event in {Event.STORE, Event.FIND, Event.RESTORE} and task.id in places:
        words += [describe_money(task), places[task.id]]
    return "; ".join(words)


def _of_polls(found: Sequence[Task]) -> Iterator[Moment]:
    """What is asked about by itself, how often it was, and when it is next."""
    now = time.time()
    for task in found:
        if task.state in _OPEN and task.next_poll_at is not None and (task.polls or task.state is TaskState.SUBMITTED):
            said = f"; the last answer: {task.note}" if task.note else ""
            times = _TIMES.get(task.polls, f"asked about {task.polls} times so far")
            turn = f"{times}, next in {describe_age(task.next_poll_at - now)}{said}"
            yield Moment(now, str(task.claim), redact_text(turn))


def _of_row(asked: Row | None, waits: QueuedRow | None, read_at: float | None) -> Iterator[Moment]:
    if waits is not None:
        yield Moment(waits.since, "", redact_text(f"in the queue since then: {waits.reason}"))
    if asked is not None:
        labels = "".join(f", {key} {value}" for key, value in asked.labels.items())
        what = f"{asked.request.MODEL}, take {asked.take}{labels}"
        yield Moment(read_at or 0.0, "", redact_text(f"last read: in the table at line {asked.line}: {what}"))


def _describe_cost(found: Sequence[Task]) -> str:
    paid = [task for task in found if task.state is not TaskState.REFUSED]
    refused = len(found) - len(paid)
    free = f" Submits that were not accepted, and cost nothing: {refused}." if refused else ""
    if not paid:
        return f"Nothing was paid for it.{free}"
    tasks = "1 task" if len(paid) == 1 else f"{len(paid)} tasks"
    price = describe_price([task_cost(task).usd for task in paid], "task")
    return f"Spent on it, or perhaps spent, in {tasks}: {price}.{free}"


def _advise(project: Project, found: Sequence[Task], asked: Row | None, waits: QueuedRow | None) -> Iterator[str]:
    """What to do now; of a row that waits nothing but to withdraw it."""
    if waits is not None:
        yield (
            f"row {waits.row!r} waits to be submitted: {waits.reason.rstrip('.')}. "
            f"To withdraw it: {project.commands.tasks('abandon', waits.row)}"
        )
    newest = [task for task in found if asked is None or task.digest == asked.digest] or found
    shown = {task.id: task for task in (governing(newest), *(one for one in found if one.state in _OPEN)) if task}
    for task in shown.values():
        # Of a row in the queue nothing else is to be done: it is run again by itself.
        if waits is not None and waits.digest == task.digest and task.state not in _OPEN:
            continue
        if trouble := describe_trouble(task, project.commands):
            yield trouble
        yield describe_ending(TASKS[condition(task)])


def _place(project: Project, task: Task) -> str:
    """Where a task's clip is, as far as the store can be named now."""
    folder = str(task_folder(task))
    try:
        return project.store.uri(folder)
    except Exception:  # noqa: BLE001 - a store's own errors have no common base, and the folder is known without it
        return folder


def _print_fields(task: Task) -> None:
    records = [
        [name, json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)]
        for name, value in export(task).model_dump(mode="json").items()
        if value not in (None, "", [], {})
    ]
    print_table(f"{task.row}, take {task.take}, claim {task.claim}", ["field", "value"], records)
