"""What Dagster is told of a stored clip: its materialisation, its check, and what becomes of a clip that fails it."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import dagster as dg

from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import ClipManifest
from pixverse_dagster.core.redaction import redact_text, redact_value
from pixverse_dagster.core.secrets import redact_known
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.text import shorten
from pixverse_dagster.orchestration.events.gallery import address_metadata, clip_fragment
from pixverse_dagster.orchestration.events.log import TaskEvents, latest_materialization
from pixverse_dagster.orchestration.events.metadata import CLIP_CHECK, found_words, task_metadata, version_tags
from pixverse_dagster.policy.quality import CheckRules, Finding
from pixverse_dagster.stages.collect import Collected
from pixverse_dagster.stages.options import PipelineOptions
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore


def report_clip(context: Any, session: Session, store: ClipStore, stored: Collected, events: TaskEvents) -> str:
    """Log a stored clip's materialisation and its check, in a step's context; returns why its row fails, if it does.

    A check that could not be made, as the store could not be read, is told of as an observation: it has neither passed
    nor failed.

    One check with all findings, and not one check per finding: an event costs 10 ms of CPU, as much as everything else
    about a row.

    Where the rules say `blocking`, a clip that fails is withheld: it stays in the store and in the ledger, for it is
    paid for, and its check says what is wrong with it; but it is not materialised, so that Dagster starts nothing
    downstream on it, its row fails in the run and in a backfill, and `ClipIOManager.load_input` does not hand it out.
    Materialised again under rules that it passes, it is released.
    """
    task, rules = stored.task, session.options.checks
    failed = [finding for finding in stored.findings if not finding.passed]
    withheld = bool(failed) and rules.blocking
    if not withheld:
        context.log_event(clip_event(stored, store, session.clock(), session.options, events.find(task)))
    if stored.not_checked and not failed:
        context.log_event(unchecked_event(task.pipeline, task.row, stored.not_checked))
    elif stored.findings:
        context.log_event(check_event(context.instance, task.pipeline, task.row, stored.findings, rules))
    if not withheld:
        return ""
    return (
        f"row {task.row!r} is stored and withheld: {_words(failed)}. Look at {store.uri(_first_key(stored))}; "
        "then relax the rules and materialise it again, which is free, or raise its take"
    )


def check_event(
    instance: dg.DagsterInstance, pipeline: str, row: str, findings: Sequence[Finding], rules: CheckRules
) -> dg.AssetCheckEvaluation:
    """What the checks of a row's clip found, about the partition's latest materialisation."""
    key = dg.AssetKey([pipeline, "clips"])
    failed = [finding for finding in findings if not finding.passed]
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=CLIP_CHECK,
        partition=row,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if rules.blocking else dg.AssetCheckSeverity.WARN,
        blocking=rules.blocking,
        description=_words(failed) or f"{len(findings)} checks passed",
        # Flat: a table of the same costs 2 ms more per row, and has to be opened to be read.
        metadata={"pixverse/failed_checks": len(failed), **_metadata(findings)},
        target_materialization_data=latest_materialization(instance, key, row),
    )


def no_clip_event(task: Task, words: str) -> dg.AssetCheckEvaluation:
    """The check of a row that came to an end without a clip: it fails, and says why, and what to do.

    It never blocks: there is nothing to withhold, and a clip that is stored later has a result of its own.
    """
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey([task.pipeline, "clips"]),
        check_name=CLIP_CHECK,
        partition=task.row,
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR,
        blocking=False,
        description=redact_text(words),
        metadata={"pixverse/state": str(task.state), **({"pixverse/kind": str(task.kind)} if task.kind else {})},
    )


def unchecked_event(pipeline: str, row: str, why: str) -> dg.AssetObservation:
    """The check of a row's clip could not be made: no evaluation, as nothing is known of the clip."""
    return dg.AssetObservation(
        [pipeline, "clips"],
        partition=row,
        description=redact_text(
            f"row {row!r} is stored, and its check {CLIP_CHECK} is not made yet: {why}. Execute the check, or "
            "materialise the row again: both are free"
        ),
        metadata={"pixverse/check_not_made": redact_text(why)},
    )


def _metadata(findings: Sequence[Finding]) -> dict[str, str]:
    """`pixverse/duration: asked …, came …`, and so on; several outputs share an entry."""
    found: dict[str, list[str]] = {}
    for one in findings:
        found.setdefault(f"pixverse/{one.check}", []).append(f"asked {one.asked}, came {one.came}")
    return {name: redact_text(" | ".join(words)) for name, words in found.items()}


def _words(failed: Sequence[Finding]) -> str:
    return shorten(redact_text("; ".join(map(str, failed))), 1000)


def _first_key(stored: Collected) -> str:
    assert stored.manifest is not None  # noqa: S101 - the callers have checked
    return stored.manifest.outputs[0].key


_SAID_ELSEWHERE = {"request_sent", "dagster_run_id", "dagster_asset_key", "dagster_partition", "labels"}
"""Parts of a manifest that are not repeated in metadata; the file has them."""
_MAX_POSTER_BYTES = 16_000
"""A larger poster would weigh more than all the rest of the event log."""


def clip_event(
    collected: Collected, store: ClipStore, now: float, options: PipelineOptions, task_event_id: int | None = None
) -> dg.AssetMaterialization:
    """A row's stored clip, made from the task that the event with this storage id tells of."""
    task, manifest = collected.task, collected.manifest
    assert manifest is not None  # noqa: S101 - the callers have checked
    first = manifest.outputs[0]
    folder = task_folder(task)
    waited = (task.finished_at or now) - (task.submitted_at or now)
    metadata: dict[str, Any] = {}
    if 0 < len(collected.poster) <= _MAX_POSTER_BYTES:
        encoded = base64.b64encode(collected.poster).decode()
        metadata["pixverse/poster"] = dg.MetadataValue.md(f"![poster](data:image/jpeg;base64,{encoded})")
    metadata["pixverse/prompt"] = redact_known(str(getattr(task.request, "prompt", "")))
    metadata |= {f"pixverse/label/{label}": redact_known(value) for label, value in manifest.labels.items()}
    metadata |= task_metadata(task) | {
        "pixverse/state": str(TaskState.STORED),
        "pixverse/generation_seconds": round(waited, 3),
        "pixverse/duration_seconds": first.duration_seconds,
        "pixverse/width": str(first.width),
        "pixverse/height": str(first.height),
        "pixverse/fps": f"{first.fps:g}",
        "pixverse/codec": first.codec,
        "pixverse/audio": first.audio,
        "pixverse/size_bytes": sum(output.size_bytes for output in manifest.outputs),
        "pixverse/outputs": str(len(manifest.outputs)),
        "pixverse/outputs_asked": str(manifest.outputs_asked),
        "dagster/uri": store.uri(first.key),
        "pixverse/manifest": dg.MetadataValue.json(_shown(manifest)),
        "pixverse/manifest_uri": dg.PathMetadataValue(store.uri(folder.manifest)),
    }
    if options.gallery:
        metadata |= address_metadata(store, task.pipeline, options, clip_fragment(folder, first.n))
    if page := store.page(first.key):
        metadata["pixverse/clip"] = dg.MetadataValue.url(page)
    return dg.AssetMaterialization(
        asset_key=[task.pipeline, "clips"],
        partition=task.row,
        description=f"row {task.row!r} is stored: {task.request.MODEL}, {first.width}x{first.height}, "
        f"{first.duration_seconds:g} s" + (f"; {found_words(task)}" if task.found_at is not None else ""),
        metadata=metadata,
        tags=version_tags(task, first.sha256, "tasks", task.id, task_event_id),
    )


def _shown(manifest: ClipManifest) -> Any:
    """The manifest as metadata, without what the event says itself: Dagster takes time for every part of it.

    It is searched for secrets as one text, and only then piece by piece.
    """
    document = manifest.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude=_SAID_ELSEWHERE)
    text = json.dumps(document, ensure_ascii=False)
    return document if redact_text(text) == text else redact_value(document)
