"""What people see of a task: submitted, adopted, out of date, ended, of unknown outcome."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg

from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import iso
from pixverse_dagster.orchestration.events.metadata import (
    TABLE_VERSION,
    found_words,
    metadata_table,
    task_metadata,
    version_tags,
)
from pixverse_dagster.policy.advice import describe_trouble, resolve_command

UNKNOWN_CHECK = "outcomes_known"
_UNKNOWN_SHOWN = 100


def task_event(task: Task, *, sent: bool) -> dg.AssetMaterialization:
    """A row's task handle: submitted just now, or adopted, also from what the store holds."""
    how = "submitted" if sent else "adopted" if task.found_at is None else found_words(task)
    return dg.AssetMaterialization(
        asset_key=[task.pipeline, "tasks"],
        partition=task.row,
        description=f"{how}: {task.request.MODEL}, task {task.task_id}",
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
        description=f"out of date: the row's {', '.join(columns)} changed since this task was submitted",
        metadata=task_metadata(task) | {"pixverse/submitted_now": False},
        tags=version_tags(task, task.id, "prompts", f"before {task.row} changed"),
    )


def ended_event(task: Task, commands: CommandLine, words: str = "", asset: str = "tasks") -> dg.AssetObservation:
    """A task that ended without a clip: what to do, or what a person did about it, or on `clips` why there is none."""
    return dg.AssetObservation(
        asset_key=[task.pipeline, asset],
        partition=task.row,
        description=redact_text(words or describe_trouble(task, commands)),
        metadata=task_metadata(task),
    )


def judge_unknown(pipeline: str, unknown: Sequence[Task], commands: CommandLine) -> dg.AssetCheckEvaluation:
    """The check that no submit's outcome is unknown: which rows, what is at stake, and the commands that resolve it."""
    known = [task.estimate_usd for task in unknown if task.estimate_usd is not None]
    unpriced = len(unknown) - len(known)
    stake = f"about {sum(known):.3f} USD" + (f" and {unpriced} tasks at prices that nobody publishes" * bool(unpriced))
    table = metadata_table(
        ("row", "provider", "since", "usd", "resolve"),
        [
            (
                task.row,
                task.provider,
                iso(task.claimed_at),
                "?" if task.estimate_usd is None else f"{task.estimate_usd:.3f}",
                resolve_command(task, commands),
            )
            for task in unknown[:_UNKNOWN_SHOWN]
        ],
    )
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey([pipeline, "tasks"]),
        check_name=UNKNOWN_CHECK,
        passed=not unknown,
        severity=dg.AssetCheckSeverity.ERROR,
        description=redact_text(
            f"{len(unknown)} rows were perhaps paid for ({stake}) and nobody knows. They are never sent again: "
            "look for each in its provider's console, then resolve it. The first: "
            f"{describe_trouble(unknown[0], commands)}"
        )
        if unknown
        else "Every submit's outcome is known.",
        metadata={
            "pixverse/unknown_rows": len(unknown),
            "pixverse/at_stake_usd": round(sum(known), 6),
            **({"pixverse/unknown": table} if unknown else {}),
        },
    )
