"""`tasks resolve`, `abandon` and `retry`: what only a person can decide, about one row or many."""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import click

from pixverse_dagster.cli import decide
from pixverse_dagster.cli.decide import Answer
from pixverse_dagster.cli.lines import Line, describe_money, read_lines
from pixverse_dagster.cli.many import Decision, Target, carry_out, describe_price, yes_option
from pixverse_dagster.cli.project import Project, ProjectChoice, project_options
from pixverse_dagster.cli.selection import Selection, selection_options
from pixverse_dagster.core.lifecycle import MAY_BE_RELEASED, MAY_STALL, Event, TaskState
from pixverse_dagster.core.row_state import RowState
from pixverse_dagster.core.task import Task, task_cost
from pixverse_dagster.stages.plan import open_book
from pixverse_dagster.stages.session import Session

_MAX_ID_CHARACTERS = 255
_HAS_CLIP = frozenset({TaskState.STORED, TaskState.FORGOTTEN})


@click.command("resolve")
@click.argument("row", required=False)
@click.option("--adopt", "task_id", metavar="TASK_ID", help="The provider's console shows the task: this is its id.")
@click.option("--unchecked", is_flag=True, help="With --adopt: also if the provider cannot be asked about the id.")
@click.option("--not-accepted", is_flag=True, help="The console shows no such task: nothing was paid, try again.")
@click.option("--abandon", is_flag=True, help="Leave it: never submitted again, counts as spent.")
@selection_options
@yes_option
@project_options
def resolve_tasks(  # noqa: PLR0913 - one for each option
    row: str | None,
    choice: ProjectChoice,
    *,
    task_id: str | None,
    unchecked: bool,
    not_accepted: bool,
    abandon: bool,
    selection: Selection,
    yes: bool,
) -> None:
    """Resolve a task whose outcome is unknown, by what the provider's console shows.

    Give one of --adopt, --not-accepted and --abandon. --adopt asks the provider about the id, which is free, and also
    revives a task that was refused, lost, expired or abandoned: what was paid for is paid for. Without any, a task that
    is under way is asked about at once: a finished one for fresh links, whose hosts are asked as well, and it is
    collected soon. Exits with 2 if the row has no such task, with 1 if it was not resolved.

    In the place of ROW, --state, --kind, --label, --provider and --since choose many: what it would do is shown, and
    asked first.
    """
    _check_choice(row, selection)
    answers = (task_id is not None) + not_accepted + abandon
    if row is None:
        if task_id is not None or answers > 1:
            raise click.UsageError("for many rows give --not-accepted or --abandon, or neither to ask about all")
        decision = partial(_not_accepted, not_accepted=not_accepted) if answers else _ask_about
        _decide(choice, selection, decision, yes=yes or not answers, again=("resolve", *_flags(not_accepted, abandon)))
        return
    if answers == 0 and _ask_at_once(row, choice):
        return
    if answers != 1:
        raise click.UsageError("give exactly one of --adopt TASK_ID, --not-accepted and --abandon")
    if task_id is not None and not (task_id.strip() and task_id.isprintable() and len(task_id) <= _MAX_ID_CHARACTERS):
        raise click.UsageError("--adopt takes the task's id as the provider's console shows it")
    with choice.open_kept() as project, project.open() as session:
        answer = Answer((task_id or "").strip(), unchecked, not_accepted)
        said = decide.resolve_row(project, session, row, answer)
        decide.report_outcomes(project)
    click.echo(said)


@click.command("abandon")
@click.argument("row", required=False)
@selection_options
@yes_option
@project_options
def abandon_tasks(row: str | None, choice: ProjectChoice, *, selection: Selection, yes: bool) -> None:
    """Withdraw what was asked for and not sent yet, or give up a task that is unknown or under way.

    A row that waits is not submitted: not by a sensor either, and a take or a further attempt that a person asked for
    is taken back. A task is not polled, collected or submitted again, and what it cost stays spent.
    Exits with 2 if there is neither.

    In the place of ROW, --state, --kind, --label, --provider and --since choose many: what it would do is shown, and
    asked first.
    """
    _check_choice(row, selection)
    if row is None:
        _decide(choice, selection, _given_up, yes=yes, again=("abandon",))
        return
    with choice.open_kept() as project, project.open() as session:
        said = decide.abandon_row(project, session, row)
        decide.report_outcomes(project)
    click.echo(said)


@click.command("retry")
@click.argument("row", required=False)
@click.option("--take", "another_take", is_flag=True, help="Ask for one more clip, beside the one that is stored.")
@selection_options
@yes_option
@project_options
def retry_tasks(row: str | None, choice: ProjectChoice, *, another_take: bool, selection: Selection, yes: bool) -> None:
    """Allow one more paid attempt at a row: of a request that failed or was abandoned, or of its next take.

    The row is queued: a sensor submits it, or any run that submits the row. The budget holds. A clip that is ready and
    could not be stored, or a task that cannot be read, is given up for it: what it cost stays spent.
    Exits with 2 if the row has nothing to retry.

    In the place of ROW, --state, --kind, --label, --provider and --since choose many: what it costs is shown, and asked
    first. Whatever was asked for already is left out.
    """
    _check_choice(row, selection)
    if row is None:
        decision = partial(_tried_again, another_take=another_take)
        _decide(choice, selection, decision, yes=yes, again=("retry", *(["--take"] if another_take else [])))
        return
    with choice.open() as project, project.open() as session:
        said = decide.retry_row(project, session, row, another_take=another_take)
        click.echo(f"{said} {decide.describe_turn(project)}")


def _check_choice(row: str | None, selection: Selection) -> None:
    if (row is None) == (not selection):
        raise click.UsageError(
            "give ROW, or choose rows by --state, --kind, --label, --provider or --since: one of the two"
        )


def _flags(not_accepted: bool, abandon: bool) -> list[str]:  # noqa: FBT001 - two options of one command
    return ["--not-accepted"] * not_accepted + ["--abandon"] * abandon


Decide = Callable[[Project, Session, Sequence[Line]], Decision]


def _decide(choice: ProjectChoice, selection: Selection, decision: Decide, *, yes: bool, again: Sequence[str]) -> None:
    """Decide about all rows that the selection has."""
    with choice.open_kept() as project, project.open() as session:
        made = decision(project, session, read_lines(project, selection))
        verb, *options = again
        command = project.commands.render("tasks", verb, *options, *selection.as_options(), "--yes")
        code = carry_out(made, command, yes=yes)
        if code != 2 and made.targets:  # noqa: PLR2004 - nothing was done
            decide.report_outcomes(project)
        if verb == "retry" and made.targets and code == 0:
            click.echo(decide.describe_turn(project))
    sys.exit(code)


def _tried_again(project: Project, session: Session, lines: Sequence[Line], *, another_take: bool) -> Decision:
    """One more paid attempt, or take, of each row that may have one."""
    name, ledger = project.name, project.ledger
    rows, current = ledger.rows.find(name), ledger.tasks.current(name, worlds=session.worlds)
    queued = {(entry.row, entry.digest) for entry in ledger.queue.find(name, session.worlds)}
    book = open_book(session)
    targets: list[Target] = []
    left: list[str] = []
    for task in _present(lines):
        row, answer = rows.get(task.row), current.get(task.row)
        if row is None or answer is None or answer.id != task.id:
            left.append(f"row {task.row!r} ({task.state}): it left the table, or asks for something else now")
        elif (row.id, row.digest) in queued or task.released:
            left.append(f"row {task.row!r}: a further attempt was asked for already")
        elif not (task.state in _HAS_CLIP if another_take else _may_be_tried_again(task)):
            left.append(f"row {task.row!r}: {task.state}")
        else:
            act = partial(decide.retry_row, project, session, task.row, another_take=another_take, shown=task)
            targets.append(Target(task.row, str(task.state), book.estimate_usd(row.request), describe_money(task), act))
    what = "one more take" if another_take else "one more paid attempt"
    price = describe_price([one.usd for one in targets])
    question = f"Allow {what} of {_rows(len(targets))}, for {price}? What was paid before stays spent"
    return Decision(f"{what.capitalize()} for {name}", question, targets, left)


def _given_up(project: Project, session: Session, lines: Sequence[Line]) -> Decision:
    """What waits is withdrawn, and what is under way or unknown is given up."""
    targets: list[Target] = []
    for line in lines:
        if line.task is None and line.state == RowState.WAITING:
            act = partial(decide.withdraw_shown, project, session, line.row)
            targets.append(Target(line.row, line.state, 0.0, line.verdict, act))
        elif line.task is not None and line.task.allows(Event.ABANDON):
            act = partial(decide.abandon_task, project, line.task)
            targets.append(Target(line.row, line.state, task_cost(line.task).usd, line.verdict, act))
    waiting = [one for one in targets if one.state == RowState.WAITING]
    spent = [one.usd for one in targets if one.state != RowState.WAITING]
    question = ""
    if waiting:
        question += f"Withdraw {_rows(len(waiting))} of the queue, for which nothing was paid? "
    if spent:
        question += (
            f"Give up {_tasks(len(spent))}, whose clips are not fetched then? What they cost stays spent: "
            f"{describe_price(spent)}. "
        )
    return Decision(f"Given up for {project.name}", f"{question}Go on", targets, _others(lines, targets))


def _not_accepted(project: Project, session: Session, lines: Sequence[Line], *, not_accepted: bool) -> Decision:
    """Every unknown outcome is resolved in the same way."""
    answer = Answer(not_accepted=not_accepted)
    targets = [
        Target(
            task.row, str(task.state), task_cost(task).usd, describe_money(task),
            partial(decide.resolve_row, project, session, task.row, answer, task),
        )
        for task in _present(lines) if task.allows(Event.NOT_ACCEPTED)
    ]  # fmt: skip
    price, count = describe_price([one.usd for one in targets]), _tasks(len(targets))
    question = (
        f"Were {count} not accepted, does the provider's console show none of them? If one is there, it is paid for, "
        f"and its row is paid for again; at stake: {price}"
        if not_accepted
        else f"Give up {count} of unknown outcome? They are never submitted again, and count as spent: {price}"
    )
    return Decision(f"Resolved for {project.name}", question, targets, _others(lines, targets))


def _ask_about(project: Project, session: Session, lines: Sequence[Line]) -> Decision:
    """Every task that is under way is asked about at once, which is free."""
    targets = [
        Target(
            task.row, str(task.state), task_cost(task).usd, describe_money(task),
            partial(decide.ask_row, project, session, task.row),
        )
        for task in _present(lines) if task.state in MAY_STALL
    ]  # fmt: skip
    question = "Ask about them, which is free"
    return Decision(f"Asked about for {project.name}", question, targets, _others(lines, targets))


def _ask_at_once(row: str, choice: ProjectChoice) -> bool:
    """Ask about a task that is under way, and say what was said. False if the row has none."""
    with choice.open() as project, project.open() as session:
        said = decide.ask_row(project, session, row)
    if said:
        click.echo(said)
    return bool(said)


def _present(lines: Sequence[Line]) -> Iterator[Task]:
    """The tasks that no later attempt followed."""
    return (line.task for line in lines if line.task is not None and not line.followed)


def _may_be_tried_again(task: Task) -> bool:
    return task.state in MAY_BE_RELEASED or decide.may_be_replaced(task)


def _others(lines: Sequence[Line], targets: Sequence[Target]) -> list[str]:
    there = {one.row for one in targets}
    return [f"row {line.row!r}: {line.state}" for line in lines if line.row not in there]


def _rows(count: int) -> str:
    return f"{count} {'row' if count == 1 else 'rows'}"


def _tasks(count: int) -> str:
    return f"{count} {'task' if count == 1 else 'tasks'}"
