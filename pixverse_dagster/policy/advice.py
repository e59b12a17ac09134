"""What a person should do about a task, in words."""

from __future__ import annotations

from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.task import Task

OTHERWISE = "(if it is not there: --not-accepted in the place of --adopt TASK_ID; to give it up: --abandon)"
"""The other two ways to resolve it."""


def describe_trouble(task: Task, commands: CommandLine) -> str:
    """Why a person should look at this task, whether it may have been charged, and what to do. Empty if all is well."""
    attempt = f", attempt {task.attempt}" if task.attempt else ""
    who = f"row {task.row!r} ({task.request.MODEL}{attempt})"
    stake = "a price that nobody publishes" if task.estimate_usd is None else f"about {task.estimate_usd:.3f} USD"
    match task.state:
        case TaskState.REFUSED:
            return f"{who} was not accepted: {task.reason} Fix the cause and run the row again"
        case TaskState.FAILED:
            return (
                f"{who} failed at the provider ({task.kind}): {task.reason}. Task {task.task_id} may have been "
                f"charged ({stake}). It is not submitted again by itself; to pay for another attempt: "
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
