"""What Dagster is told of a stored clip: its materialisation, its check, and what becomes of a clip that fails it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import dagster as dg

# Not public, and the only way to say which materialisation a check that a run logs itself is about: without it, Dagster
# takes the check for one of an older clip and shows the partition as unchecked.
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster._core.event_api import PartitionKeyFilter

from pixverse_dagster.collection import Collected
from pixverse_dagster.events import DATA_VERSION_TAG, clip_event
from pixverse_dagster.inspection import CheckRules, Finding
from pixverse_dagster.ledger import Task
from pixverse_dagster.pipeline import Workshop
from pixverse_dagster.storage.base import ClipStore

CLIP_CHECK = "playable_as_asked"
_EVENTS_READ = 20
"""Of a row's tasks, the newest first: a row rarely has more takes under way at once."""


def report_clip(context: Any, shop: Workshop, store: ClipStore, stored: Collected) -> str:
    """Log a stored clip's materialisation and its check, in a step's context; returns why its row fails, if it does.

    One check with all findings, and not one check per finding: an event costs 10 ms of CPU, as much as everything else
    about a row.

    Where the rules say `blocking`, a clip that fails is withheld: it stays in the store and in the ledger, for it is
    paid for, and its check says what is wrong with it; but it is not materialised, so that Dagster starts nothing
    downstream on it, its row fails in the run and in a backfill, and `ClipIOManager.load_input` does not hand it out.
    Materialised again under rules that it passes, it is released.
    """
    task, rules = stored.task, shop.pipeline.checks
    failed = [finding for finding in stored.findings if not finding.passed]
    withheld = bool(failed) and rules.blocking
    if not withheld:
        made_from = _task_event_id(context.instance, task)
        context.log_event(clip_event(stored, store, shop.clock(), made_from))
    if stored.findings:
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
        target_materialization_data=_latest_materialization(instance, key, row),
    )


def withheld_rows(instance: dg.DagsterInstance, pipeline: str, rows: Iterable[str]) -> dict[str, str]:
    """The rows whose clip fails a blocking check, each with what is wrong. One query, and one more per failed row."""
    log, key = instance.event_log_storage, dg.AssetCheckKey(dg.AssetKey([pipeline, "clips"]), CLIP_CHECK)
    infos = log.get_asset_check_partition_info([key], partition_keys=list(rows))
    failed = [info.partition_key for info in infos if info.latest_execution_status.value == "FAILED"]
    found: dict[str, str] = {}
    for row in filter(None, failed):
        record = log.get_latest_asset_check_execution_by_key([key], PartitionKeyFilter(key=row)).get(key)
        event = record.event.dagster_event if record and record.event else None
        judged = event.asset_check_evaluation_data if event else None
        if judged and judged.blocking and not judged.passed:
            found[row] = judged.description or "its check failed"
    return found


def reported_version(instance: dg.DagsterInstance, key: dg.AssetKey, row: str) -> str:
    """The data version of a partition as Dagster has it; empty if it was never materialised."""
    return next(map(_version, _materializations(instance, key, row, limit=1)), "")


def _task_event_id(instance: dg.DagsterInstance, task: Task) -> int | None:
    """The newest event that tells of this task: a newer task of its row makes the clip out of date."""
    events = _materializations(instance, dg.AssetKey([task.pipeline, "tasks"]), task.row, limit=_EVENTS_READ)
    return next((event.storage_id for event in events if _version(event) == task.id), None)


def _version(record: dg.EventLogRecord) -> str:
    event = record.asset_materialization
    return ((event.tags or {}) if event else {}).get(DATA_VERSION_TAG, "")


def _materializations(
    instance: dg.DagsterInstance, key: dg.AssetKey, row: str, limit: int
) -> Sequence[dg.EventLogRecord]:
    return instance.fetch_materializations(dg.AssetRecordsFilter(key, asset_partitions=[row]), limit=limit).records


def _latest_materialization(
    instance: dg.DagsterInstance, key: dg.AssetKey, row: str
) -> AssetCheckEvaluationTargetMaterializationData | None:
    found = _materializations(instance, key, row, limit=1)
    if not found:
        return None
    return AssetCheckEvaluationTargetMaterializationData(
        storage_id=found[0].storage_id, run_id=found[0].run_id, timestamp=found[0].timestamp
    )


def _metadata(findings: Sequence[Finding]) -> dict[str, str]:
    """`pixverse/duration: asked …, came …`, and so on; several outputs share an entry."""
    found: dict[str, list[str]] = {}
    for one in findings:
        found.setdefault(f"pixverse/{one.check}", []).append(f"asked {one.asked}, came {one.came}")
    return {name: " | ".join(words) for name, words in found.items()}


def _words(failed: Sequence[Finding]) -> str:
    return "; ".join(map(str, failed))[:1000]


def _first_key(stored: Collected) -> str:
    assert stored.manifest is not None  # noqa: S101 - the callers have checked
    return stored.manifest.outputs[0].key
