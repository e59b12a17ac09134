"""What Dagster's event log says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster._core.event_api import PartitionKeyFilter

from pixverse_dagster.core.task import Task
from pixverse_dagster.orchestration.events.metadata import CLIP_CHECK, DATA_VERSION_TAG

_EVENTS_READ = 20
"""Of a row's tasks, the newest first: a row rarely has more takes under way at once."""


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


def task_event_id(instance: dg.DagsterInstance, task: Task) -> int | None:
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


def latest_materialization(
    instance: dg.DagsterInstance, key: dg.AssetKey, row: str
) -> AssetCheckEvaluationTargetMaterializationData | None:
    found = _materializations(instance, key, row, limit=1)
    if not found:
        return None
    return AssetCheckEvaluationTargetMaterializationData(
        storage_id=found[0].storage_id, run_id=found[0].run_id, timestamp=found[0].timestamp
    )
