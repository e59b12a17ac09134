"""What people see in Dagster: a submission, an outcome, a stored clip, each as an event on its row's partition."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import dagster as dg

from pixverse_dagster.clip import TaskState
from pixverse_dagster.collection import Collected
from pixverse_dagster.ledger import Task
from pixverse_dagster.lineage import DIGEST_DIGITS, iso, manifest_key, task_cost, task_folder
from pixverse_dagster.redaction import redact_text
from pixverse_dagster.settlement import describe_trouble, settling_command
from pixverse_dagster.storage.base import ClipStore

DATA_VERSION_TAG = "dagster/data_version"
TABLE_VERSION = "by row"
"""The data version of every reading: a changed row is marked by an event of its own, and no other is out of date."""
UNKNOWN_CHECK = "outcomes_known"
_PROBLEMS_SHOWN = 20
_PROBLEMS_REPORTED = 500
_UNKNOWN_SHOWN = 100
_MAX_POSTER_BYTES = 16_000
"""A larger poster would weigh more than all the rest of the event log."""


def task_event(task: Task, *, sent: bool) -> dg.AssetMaterialization:
    """A row's task handle: submitted just now, or adopted."""
    return dg.AssetMaterialization(
        asset_key=[task.pipeline, "tasks"],
        partition=task.row,
        description=f"{'submitted' if sent else 'adopted'}: {task.request.MODEL}, task {task.task_id}",
        metadata=_task_metadata(task) | {"pixverse/submitted_now": sent},
        tags=_version_tags(task, task.id, "prompts", TABLE_VERSION),
    )


def outdated_event(task: Task, columns: Iterable[str]) -> dg.AssetMaterialization:
    """The handle of a row's last task, whose row has changed since: Dagster takes the partition for out of date.

    It is what it was, with the same data version, so that its clip is not out of date until there is a new task.
    """
    return dg.AssetMaterialization(
        asset_key=[task.pipeline, "tasks"],
        partition=task.row,
        description=f"out of date: the row's {', '.join(columns)} changed since this task was submitted",
        metadata=_task_metadata(task) | {"pixverse/submitted_now": False},
        tags=_version_tags(task, task.id, "prompts", f"before {task.row} changed"),
    )


def ended_event(task: Task, words: str = "", asset: str = "tasks") -> dg.AssetObservation:
    """A task that ended without a clip: what to do, or what a person did about it, or on `clips` why there is none."""
    return dg.AssetObservation(
        asset_key=[task.pipeline, asset],
        partition=task.row,
        description=redact_text(words or describe_trouble(task)),
        metadata=_task_metadata(task),
    )


def problem_events(pipeline: str, asset: str, problems: Mapping[str, str]) -> Iterator[dg.AssetObservation]:
    """What is wrong with rows, each on its partition's own page: the first 500, for an event costs 10 ms."""
    for row, words in islice(problems.items(), _PROBLEMS_REPORTED):
        yield dg.AssetObservation([pipeline, asset], description=redact_text(words), partition=row)


def clip_event(
    collected: Collected, store: ClipStore, now: float, task_event_id: int | None = None
) -> dg.AssetMaterialization:
    """A row's stored clip, made from the task that the event with this storage id tells of."""
    task, manifest = collected.task, collected.manifest
    assert manifest is not None  # noqa: S101 - the callers have checked
    first = manifest.outputs[0]
    folder = task_folder(task)
    waited = (task.finished_at or now) - (task.submitted_at or now)
    metadata: dict[str, Any] = {}
    if len(collected.poster) <= _MAX_POSTER_BYTES:
        encoded = base64.b64encode(collected.poster).decode()
        metadata["pixverse/poster"] = dg.MetadataValue.md(f"![poster](data:image/jpeg;base64,{encoded})")
    metadata["pixverse/prompt"] = str(getattr(task.request, "prompt", ""))
    metadata |= {f"pixverse/label/{label}": value for label, value in manifest.labels.items()}
    metadata |= _task_metadata(task) | {
        "pixverse/state": str(TaskState.STORED),
        "pixverse/generation_seconds": round(waited, 3),
        "pixverse/duration_seconds": first.duration_seconds,
        "pixverse/width": first.width,
        "pixverse/height": first.height,
        "pixverse/fps": first.fps,
        "pixverse/codec": first.codec,
        "pixverse/audio": first.audio,
        "pixverse/size_bytes": sum(output.size_bytes for output in manifest.outputs),
        "pixverse/outputs": len(manifest.outputs),
        "pixverse/outputs_asked": manifest.outputs_asked,
        "dagster/uri": store.uri(first.key),
        "pixverse/manifest": dg.MetadataValue.json(manifest.model_dump(mode="json", exclude_none=True)),
        "pixverse/manifest_uri": dg.PathMetadataValue(store.uri(manifest_key(folder))),
    }
    if page := store.page(first.key):
        metadata["pixverse/clip"] = dg.MetadataValue.url(page)
    return dg.AssetMaterialization(
        asset_key=[task.pipeline, "clips"],
        partition=task.row,
        description=f"{task.request.MODEL}: {first.width}x{first.height}, {first.duration_seconds:g} s",
        metadata=metadata,
        tags=_version_tags(task, first.sha256, "tasks", task.id, task_event_id),
    )


def judge_unknown(pipeline: str, unknown: Sequence[Task]) -> dg.AssetCheckEvaluation:
    """The check that no submit's outcome is unknown: which rows, what is at stake, and the commands that settle it."""
    known = [task.estimate_usd for task in unknown if task.estimate_usd is not None]
    unpriced = len(unknown) - len(known)
    stake = f"about {sum(known):.3f} USD" + (f" and {unpriced} tasks at prices that nobody publishes" * bool(unpriced))
    table = metadata_table(
        ("row", "provider", "since", "usd", "settle"),
        [
            (
                task.row,
                task.provider,
                iso(task.claimed_at),
                "?" if task.estimate_usd is None else f"{task.estimate_usd:.3f}",
                settling_command(task),
            )
            for task in unknown[:_UNKNOWN_SHOWN]
        ],
    )
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey([pipeline, "tasks"]),
        check_name=UNKNOWN_CHECK,
        passed=not unknown,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{len(unknown)} rows were perhaps paid for ({stake}) and nobody knows. They are never sent again: "
        f"look for each in its provider's console, then settle it. The first: {describe_trouble(unknown[0])}"
        if unknown
        else "Every submit's outcome is known.",
        metadata={
            "pixverse/unknown_rows": len(unknown),
            "pixverse/at_stake_usd": round(sum(known), 6),
            **({"pixverse/unknown": table} if unknown else {}),
        },
    )


def metadata_table(columns: Sequence[str], lines: Iterable[Sequence[str | int]]) -> dg.TableMetadataValue:
    """Lines of cells as a table in metadata; `line` and `rows` are numbers."""
    kinds = {"line": "int", "rows": "int"}
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(zip(columns, line, strict=True))) for line in lines],
        schema=dg.TableSchema([dg.TableColumn(name, kinds.get(name, "string")) for name in columns]),
    )


def raise_failures(what: str, problems: Sequence[str], rows: int) -> None:
    """End a step in dg.Failure if some rows failed, naming them. Not retried: what can be repeated safely was."""
    if not problems:
        return
    shown = [redact_text(problem) for problem in problems[:_PROBLEMS_SHOWN]]
    more = [f"… and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else []
    raise dg.Failure(
        description=f"{len(problems)} of {rows} rows {what}; the others are done.\n" + "\n".join([*shown, *more]),
        metadata={"pixverse/failed_rows": len(problems), "pixverse/rows": rows},
        allow_retries=False,
    )


def _version_tags(
    task: Task, version: str, upstream: str, upstream_version: str, upstream_event_id: int | None = None
) -> dict[str, str]:
    """What Dagster needs to tell whether a partition is up to date; it adds them itself only to its own events.

    Of a partitioned upstream it looks at the event alone, of an unpartitioned one at the version alone.
    """
    return {
        DATA_VERSION_TAG: version,
        "dagster/data_version_is_user_provided": "true",
        "dagster/code_version": task.request.CODE_VERSION,
        f"dagster/input_data_version/{task.pipeline}/{upstream}": upstream_version,
        f"dagster/input_event_pointer/{task.pipeline}/{upstream}": "NULL"
        if upstream_event_id is None
        else str(upstream_event_id),
    }


def _task_metadata(task: Task) -> dict[str, Any]:
    cost = task_cost(task)
    metadata: dict[str, Any] = {} if cost.usd is None else {"pixverse/cost_usd": cost.usd}
    metadata |= {
        "pixverse/cost_source": cost.source,
        "pixverse/model": task.request.MODEL,
        "pixverse/provider": task.provider,
        "pixverse/task_id": task.task_id or "",
        "pixverse/state": str(task.state),
        "pixverse/attempt": task.attempt,
        "pixverse/take": task.take,
        # Wide as the page is, a whole digest pushes the table over its edge; the manifest has it.
        "pixverse/digest": task.digest[:DIGEST_DIGITS],
    }
    if task.submitted_at:
        metadata["pixverse/submitted_at"] = dg.MetadataValue.timestamp(task.submitted_at)
    return metadata
