"""What a person should do about a task, in words."""

from __future__ import annotations

from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.lifecycle import MAY_STALL, TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Place, Task
from pixverse_dagster.core.values import iso

OTHERWISE = "(if it is not there: --not-accepted in the place of --adopt TASK_ID; to give it up: --abandon)"
"""The other two ways to resolve it."""


def describe_trouble(task: Task, commands: CommandLine) -> str:
    """Why a person should look at this task, whether it may have been charged, and what to do. Empty if all is well.

    That is also of a task that does not come on, though it may still do so by itself.
    """
    return describe_end(task, commands) or _stalled(task, commands)


def describe_end(task: Task, commands: CommandLine) -> str:
    """As `describe_trouble`, of a task that brings no clip by itself. Empty for one that still may, or has."""
    who, stake = _who(task), _stake(task)
    match task.state:
        case TaskState.REFUSED:
            return f"{who} was not accepted: {task.reason} Fix the cause and run the row again"
        case TaskState.FAILED:
            return (
                f"{who} failed at the provider ({task.kind}) and may have been charged ({stake}); it is not submitted "
                f"again by itself. Task {task.task_id}: {task.reason}. To pay for another attempt: "
                f"{commands.tasks('retry', task.row)}"
            )
        case TaskState.UNKNOWN:
            return f"{who} {_unknown(task, stake, commands)}"
        case TaskState.CLAIMED:
            return f"{who} is being submitted by run {task.run_id}; run it again when that run has ended"
        case TaskState.ABANDONED | TaskState.FORGOTTEN:
            return f"{who} {_given_up(task, commands)}"
        case _:
            return ""


def describe_stall(task: Task) -> str:
    """Since when a task does not come on, and what its provider or its clips' host said last. Empty if it comes on."""
    if task.stalled_at is None:
        return ""
    what = "unreachable" if task.state is TaskState.SUCCEEDED else "unread"
    return f"{what} since {iso(task.stalled_at)}: {redact_text(task.note)}"


def _who(task: Task) -> str:
    attempt = f", attempt {task.attempt}" if task.attempt else ""
    return f"row {task.row!r} ({task.request.MODEL}{attempt})"


def _stake(task: Task) -> str:
    return "a price that nobody publishes" if task.estimate_usd is None else f"about {task.estimate_usd:.3f} USD"


def _stalled(task: Task, commands: CommandLine) -> str:
    if task.stalled_at is None or task.state not in MAY_STALL:
        return ""
    since, said = iso(task.stalled_at), redact_text(task.note)
    if task.state is TaskState.SUCCEEDED:
        return (
            f"{_who(task)} is paid for and not paid again: its clip is ready at {task.provider} and could not be "
            f"stored since {since}. It is tried again every 15 min, each time with fresh links. The last try: {said}. "
            f"To try at once, and to see what the host says: {commands.tasks('resolve', task.row)}. To pay for "
            f"another attempt in its place ({_stake(task)}): {commands.tasks('retry', task.row)}. To give it up: "
            f"{commands.tasks('abandon', task.row)}"
        )
    return (
        f"{_who(task)} is paid for ({_stake(task)}) and not paid again: no answer of {task.provider} about task "
        f"{task.task_id} could be read since {since}. It is asked about every 15 min. The last answer: {said}. Look "
        f"for it in {task.provider}'s console. To pay for another attempt in its place: "
        f"{commands.tasks('retry', task.row)}. To give it up: {commands.tasks('abandon', task.row)}"
    )


def describe_refusal(task: Task, place: Place | None, *, unclear: bool) -> str:
    """What is said of a row whose submit was not accepted: where it stands now, or why it is not sent again by itself.

    `unclear` says that the refusal may be about the row, and about anything else: no code says what it is about.
    """
    who = f"{_who(task)} was not accepted"
    if place is None:
        times = ", for the third time with the same answer, and is not sent again by itself" if unclear else ""
        return f"{who}{times}: {task.reason} Fix the cause and run the row again"
    if unclear:
        return f"{who}: {task.reason} It goes to the end of the queue, and is tried again; the third time is the last"
    return f"{who}: {task.reason} It keeps its place in the queue, and is sent when the account takes rows again"


def _unknown(task: Task, stake: str, commands: CommandLine) -> str:
    if task.found_at is None:
        return (
            f"has an unknown outcome: {task.reason}. At stake: {stake}; it counts as spent and is never sent again. "
            f"Look for it in {task.provider}'s console, then, with its id for TASK_ID: "
            f"{resolve_command(task, commands)} {OTHERWISE}"
        )
    # A submit that a lost ledger may have made: the row is kept from being paid for until that is known.
    words = f"may have been paid for: {task.reason}. Nothing is sent for it, and no budget counts it"
    if task.resolves_itself:
        return f"{words}. {task.provider} is asked about it by itself, which is free"
    return (
        f"{words}. Look for it in {task.provider}'s console, then, with its id for TASK_ID: "
        f"{resolve_command(task, commands)} {OTHERWISE}. Where the console shows none of the rows that may have been "
        f"pending, for all at once: {commands.render('ledger', 'rebuild', '--nothing-pending')}"
    )


def _given_up(task: Task, commands: CommandLine) -> str:
    if task.state is TaskState.ABANDONED:
        return f"was abandoned: {task.reason}"
    another = commands.tasks("retry", task.row, "--take")
    return f"was deleted on demand ({task.decision}) and is not paid for again. For another clip of it: {another}"


def resolve_command(task: Task, commands: CommandLine) -> str:
    """The command that resolves a submit of unknown outcome: its task is at the provider."""
    return commands.tasks("resolve", task.row, "--adopt", "TASK_ID")
