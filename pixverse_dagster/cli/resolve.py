"""`tasks resolve`, `abandon` and `retry`: what only a person can decide. They send nothing to a provider that costs."""

import time

import click

from pixverse_dagster.cli.project import Project, ProjectChoice, project_options
from pixverse_dagster.core.lifecycle import (
    MAY_BE_RELEASED,
    MAY_STALL,
    TRANSITIONS,
    UNDER_WAY,
    Event,
    TaskState,
)
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Move, MoveRefused, Task, task_cost
from pixverse_dagster.core.values import iso
from pixverse_dagster.orchestration.events.prompts import report_changes
from pixverse_dagster.orchestration.events.tasks import ended_event, judge_outcomes
from pixverse_dagster.policy.prices import estimate_usd
from pixverse_dagster.stages.adopt import AdoptionRefused, AdoptionUnanswered, adopt
from pixverse_dagster.stages.places import queued_row
from pixverse_dagster.stages.reach import reach
from pixverse_dagster.stages.session import Session

_MAX_ID_CHARACTERS = 255
_GIVEN_UP = "given up by hand; perhaps paid"


@click.command("resolve")
@click.argument("row")
@click.option("--adopt", "task_id", metavar="TASK_ID", help="The provider's console shows the task: this is its id.")
@click.option("--unchecked", is_flag=True, help="With --adopt: also if the provider cannot be asked about the id.")
@click.option("--not-accepted", is_flag=True, help="The console shows no such task: nothing was paid, try again.")
@click.option("--abandon", is_flag=True, help="Leave it: never submitted again, counts as spent.")
@project_options
def resolve_task(
    row: str,
    choice: ProjectChoice,
    *,
    task_id: str | None,
    unchecked: bool,
    not_accepted: bool,
    abandon: bool,
) -> None:
    """Resolve a task whose outcome is unknown, by what the provider's console shows.

    Give one of --adopt, --not-accepted and --abandon. --adopt asks the provider about the id, which is free, and also
    revives a task that was refused, lost, expired or abandoned: what was paid for is paid for. Without any, a task that
    is under way is asked about at once: a finished one for fresh links, whose hosts are asked as well, and it is
    collected soon. Exits with 2 if the row has no such task, with 1 if it was not resolved.
    """
    if task_id is None and not (not_accepted or abandon) and _ask_at_once(row, choice):
        return
    if (task_id is not None) + not_accepted + abandon != 1:
        raise click.UsageError("give exactly one of --adopt TASK_ID, --not-accepted and --abandon")
    if task_id is not None and not (task_id.strip() and task_id.isprintable() and len(task_id) <= _MAX_ID_CHARACTERS):
        raise click.UsageError("--adopt takes the task's id as the provider's console shows it")
    with choice.open_kept() as project, project.open() as session:
        ledger, now = project.ledger, time.time()
        if task_id is not None:
            task, move = _adopt(project, session, row, task_id.strip(), unchecked=unchecked)
        elif not_accepted:
            task = _newest(project, row, Event.NOT_ACCEPTED)
            reason = "a person found that it was not accepted."
            move = ledger.set_not_accepted(task, reason, now, _by_hand(now, "not accepted"))
        else:
            task = _newest(project, row, Event.NOT_ACCEPTED)
            move = ledger.abandon(task, _GIVEN_UP, _by_hand(now, "abandoned"))
        _report(project, task, move)


@click.command("abandon")
@click.argument("row")
@project_options
def abandon_task(row: str, choice: ProjectChoice) -> None:
    """Withdraw what was asked for and not sent yet, or give up a task that is unknown or under way.

    A row that waits is not submitted: not by a sensor either, and a take or a further attempt that a person asked for
    is taken back. A task is not polled, collected or submitted again, and what it cost stays spent.
    Exits with 2 if there is neither.
    """
    with choice.open_kept() as project, project.open() as session:
        if any(entry.row == row for entry in project.ledger.queue.find(project.name)):
            _withdraw(project, session, row)
            return
        task = _newest(project, row, Event.ABANDON)
        _report(project, task, project.ledger.abandon(task, _GIVEN_UP, _by_hand(time.time(), "abandoned")))


@click.command("retry")
@click.argument("row")
@click.option("--take", "another_take", is_flag=True, help="Ask for one more clip, beside the one that is stored.")
@project_options
def retry_task(row: str, choice: ProjectChoice, *, another_take: bool) -> None:
    """Allow one more paid attempt at a row: of a request that failed or was abandoned, or of its next take.

    The row is queued: a sensor submits it, or any run that submits the row. The budget holds. A clip that is ready and
    could not be stored, or a task that cannot be read, is given up for it: what it cost stays spent.
    Exits with 2 if the row has nothing to retry.
    """
    with choice.open() as project, project.open() as session:
        ledger, name, now = project.ledger, project.name, time.time()
        asked = ledger.rows.find(name, [row]).get(row)
        if asked is None:
            raise click.UsageError(f"row {row!r} is not in the table of {name!r} as it was last read")
        if another_take:
            asked = ledger.rows.raise_take(name, row)
            words = f"take {asked.take} was asked for by hand"
            instance = project.instance
            report_changes(session, {row: ("take",)}, (), instance, instance.report_runless_asset_event)
        else:
            words = _release(project, row, now)
        ledger.queue.add(name, [queued_row(session, asked, words)], now)
        price = estimate_usd(asked.request, session.options.prices)
    cost = "at a price that nobody publishes" if price is None else f"for about {price:.3f} USD"
    who = f"The {name}_continue sensor submits it at its next tick, or a run of {name}_submit"
    click.echo(f"row {row!r}: {words}, {cost}. {who}.")


def _adopt(project: Project, session: Session, row: str, task_id: str, *, unchecked: bool) -> tuple[Task, Move]:
    task = _newest(project, row, Event.ADOPT, task_id)
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
    replaced = task is not None and _may_be_replaced(task)
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


def _may_be_replaced(task: Task) -> bool:
    """Whether a person may give the task up for another attempt: it does not come on. One that does is let go on."""
    return task.stalled_at is not None or (task.state is TaskState.SUCCEEDED and task.collects > 0)


def _ask_at_once(row: str, choice: ProjectChoice) -> bool:
    """Ask about a task that is under way, and say what was said. False if the row has none."""
    with choice.open() as project, project.open() as session:
        found = project.ledger.tasks.find(project.name, MAY_STALL, keys=[row])
        if not found:
            return False
        task = max(found, key=lambda task: (task.state is TaskState.SUCCEEDED, task.claim))
        after, said = reach(session, task)
        click.echo(redact_text(f"row {row!r} (task {task.task_id}) is {after.state}. {'; '.join(said)}."))
        if task.note:
            click.echo(redact_text(f"Before that: {task.note}."))
        if after.state is TaskState.SUCCEEDED:
            click.echo(f"It is collected at the next tick of the {project.name}_poll sensor; nothing is paid for it.")
        return True


def _withdraw(project: Project, session: Session, row: str) -> None:
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
    click.echo(f"row {row!r} waits no longer.{take} Nothing was sent for it, and nothing was spent.")


def _price(session: Session, row: Row | None) -> str:
    price = estimate_usd(row.request, session.options.prices) if row else None
    return "a price that nobody publishes" if price is None else f"about {price:.3f} USD"


def _by_hand(now: float, what: str) -> str:
    return f"by hand, {iso(now)}: {what}"


def _newest(project: Project, row: str, event: Event, task_id: str | None = None) -> Task:
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


def _report(project: Project, before: Task, move: Move) -> None:
    if isinstance(move, MoveRefused):
        raise click.ClickException(f"row {before.row!r} was not resolved: {_as_it_is(move)}")
    after = move.task
    words = f"settled by hand: {before.state} → {after.state}"
    project.instance.report_runless_asset_event(ended_event(after, project.commands, words))
    judged = judge_outcomes(project.ledger, project.name, project.commands)
    project.instance.report_runless_asset_event(judged)
    following = {
        TaskState.SUBMITTED: "It is polled and collected like any other; nothing is charged.",
        TaskState.REFUSED: "The next submission of the row makes a new, paid attempt.",
    }
    if project.gone and after.state is TaskState.SUBMITTED:
        following[after.state] = f"Nothing is charged. It is polled and collected once a project has {project.gone!r}."
    click.echo(f"row {after.row!r}: {before.state} → {after.state}. {following.get(after.state, 'It stays as it is.')}")
