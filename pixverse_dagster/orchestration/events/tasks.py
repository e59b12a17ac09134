"""What people see of a task: submitted, adopted, out of date, ended, of unknown outcome."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.manifest import World
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import iso
from pixverse_dagster.ledger.accounts import HeldSlots
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.orchestration.events.metadata import (
    TABLE_VERSION,
    found_words,
    metadata_table,
    task_metadata,
    version_tags,
)
from pixverse_dagster.policy.advice import describe_stall, describe_trouble, resolve_command

UNKNOWN_CHECK = "outcomes_known"
_UNKNOWN_SHOWN = 100


def task_event(task: Task, *, sent: bool) -> dg.AssetMaterialization:
    """A row's task handle: submitted just now, or adopted, also from what the store holds."""
    how = "submitted" if sent else "adopted" if task.found_at is None else found_words(task)
    return dg.AssetMaterialization(
        asset_key=[task.pipeline, "tasks"],
        partition=task.row,
        description=f"row {task.row!r} is {how}: {task.request.MODEL}, task {task.task_id}",
        metadata=task_metadata(task) | {"pixverse/submitted_now": sent},
        tags=version_tags(task, task.id, "prompts", TABLE_VERSION),
    )


def outdated_event(task: Task, columns: Iterable[str]) -> dg.AssetMaterialization:
    """The handle of a row's last task, whose row has changed since: Dagster takes the partition for out of date.

    It is what it was, with the same data version, so that its clip is not out of date until there is a new task.
    """
    return dg.AssetMaterialization(
        asset_key=[task.pipeline, "tasks"],
        partition=task.row,
        description=f"row {task.row!r} is out of date: its {', '.join(columns)} changed since this task was submitted",
        metadata=task_metadata(task) | {"pixverse/submitted_now": False},
        tags=version_tags(task, task.id, "prompts", f"before {task.row} changed"),
    )


def ended_event(task: Task, commands: CommandLine, words: str = "", asset: str = "tasks") -> dg.AssetObservation:
    """A task that ended without a clip: what to do, or what a person did about it, or on `clips` why there is none.

    An observation is of a moment: unlike a materialisation it may say the task's state.
    """
    reason = redact_text(words or describe_trouble(task, commands))
    return dg.AssetObservation(
        asset_key=[task.pipeline, asset],
        partition=task.row,
        description=reason,
        metadata={"pixverse/reason": reason, "pixverse/state": str(task.state)}
        | ({"pixverse/kind": str(task.kind)} if task.kind else {})
        | task_metadata(task),
    )


def judge_outcomes(
    ledger: Ledger, pipeline: str, commands: CommandLine, worlds: Mapping[str, World] | None = None
) -> dg.AssetCheckEvaluation:
    """The check on outcomes, as the ledger is now: of unknown ones, and of tasks that do not come on."""
    tasks = ledger.tasks
    unknown, stalled = tasks.unresolved(pipeline, worlds), tasks.stalled(pipeline, worlds)
    return judge_unknown(pipeline, unknown, commands, stalled, ledger.accounts.neglected(pipeline, time.time()))


def judge_unknown(
    pipeline: str,
    unknown: Sequence[Task],
    commands: CommandLine,
    stalled: Sequence[Task] = (),
    held: Sequence[HeldSlots] = (),
) -> dg.AssetCheckEvaluation:
    """The check that no submit's outcome is unknown, and that every task comes on.

    It says which rows, what is at stake, and the commands that resolve it; and it warns of slots that are held by tasks
    of another pipeline that nobody asks about.
    """
    metadata = _unknown_metadata(unknown, commands) | _stalled_metadata(stalled, commands)
    words = " ".join(filter(None, (_unknown_words(unknown, commands), _stalled_words(stalled, commands))))
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey([pipeline, "tasks"]),
        check_name=UNKNOWN_CHECK,
        passed=not (words or held),
        severity=dg.AssetCheckSeverity.ERROR if words else dg.AssetCheckSeverity.WARN,
        description=redact_text(f"{words} {_held_words(held, commands)}".strip()) or "Every submit's outcome is known.",
        metadata=metadata,
    )


def _held_words(held: Sequence[HeldSlots], commands: CommandLine) -> str:
    if not held:
        return ""
    return (
        f"Slots are held up: {', '.join(map(str, held))}. Nothing is lost by it, and they are free after two days. Who "
        f"they are, and how to settle them or give them up: {commands.render('tasks', 'list', '--all')}"
    )


def _unknown_words(unknown: Sequence[Task], commands: CommandLine) -> str:
    if not unknown:
        return ""
    known = [task.estimate_usd for task in unknown if task.estimate_usd is not None]
    unpriced = len(unknown) - len(known)
    stake = f"about {sum(known):.3f} USD" + (f" and {unpriced} tasks at prices that nobody publishes" * bool(unpriced))
    return (
        f"{len(unknown)} rows were perhaps paid for ({stake}) and nobody knows. They are never sent again: look for "
        f"each in its provider's console, then resolve it. The first: {describe_trouble(unknown[0], commands)}"
    )


def _stalled_words(stalled: Sequence[Task], commands: CommandLine) -> str:
    if not stalled:
        return ""
    return (
        f"{len(stalled)} rows are paid for and do not come on. They are tried again by themselves, which is free, and "
        f"never paid for again by that. The first: {describe_trouble(stalled[0], commands)}"
    )


def _unknown_metadata(unknown: Sequence[Task], commands: CommandLine) -> dict[str, Any]:
    at_stake = sum(task.estimate_usd or 0 for task in unknown)
    found: dict[str, Any] = {"pixverse/unknown_rows": len(unknown), "pixverse/at_stake_usd": round(at_stake, 6)}
    rows = [
        (task.row, task.provider, iso(task.claimed_at), _usd(task), resolve_command(task, commands))
        for task in unknown[:_UNKNOWN_SHOWN]
    ]
    table = ("row", "provider", "since", "usd", "resolve")
    return found | ({"pixverse/unknown": metadata_table(table, rows)} if rows else {})


def _stalled_metadata(stalled: Sequence[Task], commands: CommandLine) -> dict[str, Any]:
    rows = [
        (task.row, task.provider, _usd(task), redact_text(describe_stall(task)), commands.tasks("show", task.row))
        for task in stalled[:_UNKNOWN_SHOWN]
    ]
    table = ("row", "provider", "usd", "why", "show")
    if not rows:
        return {}
    return {"pixverse/stalled_rows": len(stalled), "pixverse/stalled": metadata_table(table, rows)}


def _usd(task: Task) -> str:
    return "?" if task.estimate_usd is None else f"{task.estimate_usd:.3f}"
