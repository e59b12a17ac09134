"""What a person decides about one row: resolved, given up, tried again. Sends nothing to a provider that costs.

Each function says what it did. What cannot be done is a UsageError where the row has nothing of the kind, else a
ClickException; then nothing was changed.
"""

import time
from dataclasses import dataclass

import click

from pixverse_dagster.cli.project import Project
from pixverse_dagster.core.lifecycle import MAY_BE_RELEASED, MAY_STALL, TRANSITIONS, UNDER_WAY, Event, TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.row import Row, retake
from pixverse_dagster.core.task import Move, MoveRefused, Task, task_cost
from pixverse_dagster.core.values import iso
from pixverse_dagster.orchestration.events.prompts import report_changes
from pixverse_dagster.orchestration.events.tasks import ended_event, judge_outcomes
from pixverse_dagster.stages.adopt import AdoptionRefused, AdoptionUnanswered, adopt
from pixverse_dagster.stages.places import queued_row
from pixverse_dagster.stages.plan import open_book
from pixverse_dagster.stages.reach import reach
from pixverse_dagster.stages.session import Session

_GIVEN_UP = "given up by hand; perhaps paid"


@dataclass(frozen=True)
class Answer:
    """How an unknown outcome is resolved: by the provider's id for the task, else not accepted, else given up."""

    task_id: str = ""
    unchecked: bool = False
    not_accepted: bool = False


def resolve_row(project: Project, session: Session, row: str, answer: Answer, shown: Task | None = None) -> str:
    """Resolve the row's task of unknown outcome; with an id, also one that was refused, lost, expired or abandoned.

    With `shown`, only this task, and only if it is as it was.
    """
    ledger, now = project.ledger, time.time()
    if answer.task_id:
        return _settled(project, *_adopt(project, session, row, answer.task_id, unchecked=answer.unchecked))
    task = _as_shown(project, shown) if shown else newest(project, row, Event.NOT_ACCEPTED)
    if answer.not_accepted:
        reason = "a person found that it was not accepted."
        return _settled(project, task, ledger.set_not_accepted(task, reason, now, _by_hand(now, "not accepted")))
    return _settled(project, task, ledger.abandon(task, _GIVEN_UP, _by_hand(now, "abandoned")))


def abandon_row(project: Project, session: Session, row: str) -> str:
    """Withdraw what the row waits for, else give up its task that is unknown or under way."""
    if any(entry.row == row for entry in project.ledger.queue.find(project.name)):
        return withdraw_row(project, session, row)
    return abandon_task(project, newest(project, row, Event.ABANDON))


def abandon_task(project: Project, shown: Task) -> str:
    """Give up this task, if it is as it was shown: what it cost stays spent."""
    task = _as_shown(project, shown)
    return _settled(project, task, project.ledger.abandon(task, _GIVEN_UP, _by_hand(time.time(), "abandoned")))


def retry_row(
    project: Project, session: Session, row: str, *, another_take: bool = False, shown: Task | None = None
) -> str:
    """Allow one more paid attempt at what failed or was given up, or ask for one more take; the row is queued.

    With `shown`, only if this task still answers for the row's request, as it was.
    """
    ledger, name, now = project.ledger, project.name, time.time()
    asked = ledger.rows.find(name, [row]).get(row)
    if asked is None:
        raise click.UsageError(f"row {row!r} is not in the table of {name!r} as it was last read")
    if shown and _as_shown(project, shown).digest != asked.digest:
        raise click.ClickException(f"row {row!r} asks for something else now. Nothing was changed")
    if another_take:
        asked, words = _raise_take(project, session, asked)
    else:
        words = _release(project, row, now)
    ledger.queue.add(name, [queued_row(session, asked, words)], now)
    price = open_book(session).estimate_usd(asked.request)
    cost = "at a price that nobody publishes" if price is None else f"for about {price:.3f} USD"
    return f"row {row!r}: {words}, {cost}."


def _raise_take(project: Project, session: Session, asked: Row) -> tuple[Row, str]:
    """The row with the next take, in the queue; once, however many ask for it at the same moment."""
    further = retake(asked, asked.take + 1)
    words = f"take {further.take} was asked for by hand"
    entry = queued_row(session, further, words)
    if not project.ledger.queue.add_retakes(project.name, [entry], {asked.id: asked.digest}, session.clock()):
        raise click.ClickException(
            f"row {asked.id!r} asks for something else by now: somebody else was faster. Nothing was changed"
        )
    instance = project.instance
    report_changes(session, {asked.id: ("take",)}, (), instance, instance.report_runless_asset_event)
    return further, words


def describe_turn(project: Project) -> str:
    """Who submits what was queued."""
    return f"The {project.name}_continue sensor submits it at its next tick, or a run of {project.name}_submit."


def ask_row(project: Project, session: Session, row: str) -> str:
    """Ask about the row's task that is under way, which is free, and say what was said. Empty if it has none."""
    found = project.ledger.tasks.find(project.name, MAY_STALL, keys=[row])
    if not found:
        return ""
    task = max(found, key=lambda task: (task.state is TaskState.SUCCEEDED, task.claim))
    after, said = reach(session, task)
    lines = [f"row {row!r} (task {task.task_id}) is {after.state}. {'; '.join(said)}."]
    if task.note:
        lines.append(f"Before that: {task.note}.")
    if after.state is TaskState.SUCCEEDED:
        lines.append(f"It is collected at the next tick of the {project.name}_poll sensor; nothing is paid for it.")
    return redact_text("\n".join(lines))


def withdraw_shown(project: Project, session: Session, row: str) -> str:
    """As `withdraw_row`, of a row that was shown to wait. Raises ClickException if it does not any more."""
    if any(entry.row == row for entry in project.ledger.queue.find(project.name)):
        return withdraw_row(project, session, row)
    raise click.ClickException(f"row {row!r} waited when it was shown, and does not any more. Nothing was changed")


def _as_shown(project: Project, shown: Task) -> Task:
    """The task, which a person saw and decided about. Raises ClickException if it is not what it was."""
    task = project.ledger.tasks.refresh(shown)
    if (task.state, task.released) == (shown.state, shown.released):
        return task
    raise click.ClickException(
        f"row {task.row!r} was {shown.state} when it was shown, and is {task.state} now. Nothing was changed"
    )


def report_outcomes(project: Project) -> None:
    """Have Dagster's check on outcomes say what is so now, after tasks were settled."""
    judged = judge_outcomes(project.ledger, project.name, project.commands)
    project.instance.report_runless_asset_event(judged)


def _adopt(project: Project, session: Session, row: str, task_id: str, *, unchecked: bool) -> tuple[Task, Move]:
    task = newest(project, row, Event.ADOPT, task_id)
    try:
        move = adopt(session, task, task_id, _by_hand(session.clock(), f"adopted as {task_id}"), unchecked=unchecked)
    except AdoptionUnanswered as error:
        anyway = project.commands.tasks("resolve", row, "--adopt", task_id, "--unchecked")
        raise click.ClickException(
            f"row {row!r} does not adopt {task_id}: {redact_text(str(error))}. If its console shows this id for this "
            f"row: {anyway}"
        ) from None
    except AdoptionRefused as error:
        raise click.ClickException(f"row {row!r} does not adopt {task_id}: {redact_text(str(error))}") from None
    return task, move


def _release(project: Project, row: str, now: float) -> str:
    ledger, name = project.ledger, project.name
    task = ledger.tasks.current(name, [row]).get(row)
    replaced = task is not None and may_be_replaced(task)
    if task is None or not (replaced or task.state in MAY_BE_RELEASED):
        state = f"its task is {task.state}" if task else "it was never submitted"
        raise click.UsageError(
            f"row {row!r} has nothing to retry: {state}. For another clip from the same words: "
            f"{project.commands.tasks('retry', row, '--take')}"
        )
    decision = _by_hand(now, "given up for another attempt" if replaced else "another attempt allowed")
    move = ledger.replace(task, _GIVEN_UP, decision) if replaced else ledger.release(task, decision)
    if isinstance(move, MoveRefused):
        raise click.ClickException(f"row {row!r} is not retried: {_as_it_is(move)}")
    attempts = [claim.attempt or 0 for claim in ledger.tasks.claims(task)]
    words = f"attempt {max(attempts) + 1} was allowed by hand"
    if replaced:
        usd = task_cost(task).usd
        cost = "at a price that nobody publishes" if usd is None else f"about {usd:.3f} USD"
        words += f" in the place of task {task.task_id}, which is given up and stays spent ({cost})"
    project.instance.report_runless_asset_event(ended_event(move.task, project.commands, words))
    return words


def may_be_replaced(task: Task) -> bool:
    """Whether a person may give the task up for another attempt: it does not come on. One that does is let go on."""
    return task.stalled_at is not None or (task.state is TaskState.SUCCEEDED and task.collects > 0)


def withdraw_row(project: Project, session: Session, row: str) -> str:
    """Take back what was asked for: the row's place, a take that was asked for, a further attempt that was allowed."""
    ledger, name, now = project.ledger, project.name, time.time()
    before = ledger.rows.find(name, [row]).get(row)
    after = ledger.rows.withdraw(name, row, now)
    task = ledger.tasks.current(name, [row]).get(row)
    if task is not None and task.state in UNDER_WAY:
        raise click.ClickException(
            f"row {row!r} is {task.state}: a run submitted it at this very moment, for {_price(session, after)}. "
            f"To give that task up: {project.commands.tasks('abandon', row)}"
        )
    if task is not None and task.released:
        ledger.withdraw(task, _by_hand(now, "the further attempt was withdrawn"))
    take = ""
    if before and after and after.take < before.take:
        take = f" Take {before.take} is withdrawn; the row asks for take {after.take}."
        instance = project.instance
        report_changes(session, {row: ("take",)}, (), instance, instance.report_runless_asset_event)
    return f"row {row!r} waits no longer.{take} Nothing was sent for it, and nothing was spent."


def _price(session: Session, row: Row | None) -> str:
    price = open_book(session).estimate_usd(row.request) if row else None
    return "a price that nobody publishes" if price is None else f"about {price:.3f} USD"


def _by_hand(now: float, what: str) -> str:
    return f"by hand, {iso(now)}: {what}"


def newest(project: Project, row: str, event: Event, task_id: str | None = None) -> Task:
    """The task of the row that a decision is about, of those that the event may happen to.

    The one with the id, else the newest; unknown ones come first.
    """
    states = TRANSITIONS[event].leaves
    found = [task for task in project.ledger.tasks.find(project.name, states, keys=[row]) if task.allows(event)]
    if not found:
        words = " or ".join(sorted(states))
        raise click.UsageError(
            f"row {row!r} of {project.name!r} has no task that is {words}; see: {project.commands.tasks('show', row)}"
        )
    return max(found, key=lambda t: (t.task_id == task_id, t.state is TaskState.UNKNOWN, t.claimed_at, t.claim))


def _as_it_is(move: MoveRefused) -> str:
    task = move.current
    if task.resolves_itself:
        return (
            f"it is {task.state}, and the provider is being asked: a replay may be under way. Nothing was changed; "
            "wait until the check on unknown outcomes names the row"
        )
    return f"it is {task.state} now: somebody else settled it at the same moment. Nothing was changed"


def _settled(project: Project, before: Task, move: Move) -> str:
    if isinstance(move, MoveRefused):
        raise click.ClickException(f"row {before.row!r} was not resolved: {_as_it_is(move)}")
    after = move.task
    words = f"settled by hand: {before.state} → {after.state}"
    project.instance.report_runless_asset_event(ended_event(after, project.commands, words))
    following = {
        TaskState.SUBMITTED: "It is polled and collected like any other; nothing is charged.",
        TaskState.REFUSED: "The next submission of the row makes a new, paid attempt.",
    }
    if project.gone and after.state is TaskState.SUBMITTED:
        following[after.state] = f"Nothing is charged. It is polled and collected once a project has {project.gone!r}."
    return f"row {after.row!r}: {before.state} → {after.state}. {following.get(after.state, 'It stays as it is.')}"
