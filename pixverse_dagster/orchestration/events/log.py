"""What Dagster's event log says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import chunked
from pixverse_dagster.orchestration.events.metadata import CLIP_CHECK, DATA_VERSION_TAG
from pixverse_dagster.orchestration.internal import internal

_PAGE = 100
EVENTS_READ = 20
"""Of a row's tasks or checks, the newest first: a row rarely has more takes under way at once."""
ROWS_READ = 50
"""How many rows a query asks about at once."""


class TaskEvents:
    """Finds the newest event that tells of a task: a newer task of its row makes the clip out of date.

    Those of a batch are read when it is made, in few queries: one costs 3 ms of CPU, and each of its rows 0.2 ms.
    """

    def __init__(self, instance: dg.DagsterInstance, pipeline: str, batch: Sequence[Task] = ()) -> None:
        self._instance = instance
        self._key = dg.AssetKey([pipeline, "tasks"])
        self._found: dict[str, int] = {}
        for rows in chunked({task.row: None for task in batch}, ROWS_READ):
            self._read(rows)

    def find(self, task: Task) -> int | None:
        """The event's storage id; None if there is none. Looks again for what was not there with the batch."""
        if task.id not in self._found:
            self._read([task.row])
        return self._found.get(task.id)

    def _read(self, rows: Sequence[str]) -> None:
        for event in _materializations(self._instance, self._key, rows, limit=EVENTS_READ * len(rows)):
            self._found.setdefault(_version(event), event.storage_id)


def withheld_rows(instance: dg.DagsterInstance, pipeline: str, stored: Mapping[str, Task]) -> dict[str, str]:
    """The rows whose stored clip fails a blocking check, each with what is wrong.

    One query, and one more per row whose last check has not passed.
    """
    partition_filter = internal("PartitionKeyFilter")
    if partition_filter is None:
        return never_materialized(instance, pipeline, stored)
    log, key = instance.event_log_storage, dg.AssetCheckKey(dg.AssetKey([pipeline, "clips"]), CLIP_CHECK)
    infos = log.get_asset_check_partition_info([key], partition_keys=list(stored))
    doubtful = [info.partition_key for info in infos if info.latest_execution_status.value != "SUCCEEDED"]
    found: dict[str, str] = {}
    for row in filter(None, doubtful):
        # A check that was planned and could not be made leaves what the one before it found.
        history = log.get_asset_check_execution_history(key, EVENTS_READ, partition_filter=partition_filter(key=row))
        record = next((one for one in history if one.status.value in {"FAILED", "SUCCEEDED"}), None)
        event = record.event.dagster_event if record and record.event else None
        judged = event.asset_check_evaluation_data if event else None
        if judged and judged.blocking and not judged.passed:
            found[row] = judged.description or "its check failed"
    return found


def never_materialized(instance: dg.DagsterInstance, pipeline: str, stored: Mapping[str, Task]) -> dict[str, str]:
    """The rows whose stored clip has no materialisation: a run that withholds a clip logs none. By public names."""
    made_from = f"dagster/input_data_version/{pipeline}/tasks"
    found: dict[str, str] = {}
    for row, task in stored.items():
        events = _materializations(instance, dg.AssetKey([pipeline, "clips"]), [row], limit=EVENTS_READ)
        if not any(_tags(event).get(made_from) == task.id for event in events):
            found[row] = "its check failed when it was stored; see the checks of `clips`"
    return found


def reported_version(instance: dg.DagsterInstance, key: dg.AssetKey, row: str) -> str:
    """The data version of a partition as Dagster has it; empty if it was never materialised."""
    return next(map(_version, _materializations(instance, key, [row], limit=1)), "")


def known_versions(instance: dg.DagsterInstance, key: dg.AssetKey, row: str) -> list[str]:
    """The data versions of a partition that Dagster has, the newest first."""
    return [_version(record) for record in _materializations(instance, key, [row], limit=EVENTS_READ)]


def _version(record: dg.EventLogRecord) -> str:
    return _tags(record).get(DATA_VERSION_TAG, "")


def _tags(record: dg.EventLogRecord) -> Mapping[str, str]:
    event = record.asset_materialization
    return (event.tags or {}) if event else {}


def _materializations(
    instance: dg.DagsterInstance, key: dg.AssetKey, rows: Sequence[str], limit: int
) -> Sequence[dg.EventLogRecord]:
    return instance.fetch_materializations(dg.AssetRecordsFilter(key, asset_partitions=rows), limit=limit).records


def materializations_of(instance: dg.DagsterInstance, key: dg.AssetKey, row: str) -> Sequence[dg.EventLogRecord]:
    """Every materialisation of a partition, the newest first."""
    found: list[dg.EventLogRecord] = []
    records_filter, cursor = dg.AssetRecordsFilter(key, asset_partitions=[row]), None
    while True:
        page = instance.fetch_materializations(records_filter, limit=_PAGE, cursor=cursor)
        found += page.records
        if not page.has_more:
            return found
        cursor = page.cursor


def latest_materialization(instance: dg.DagsterInstance, key: dg.AssetKey, row: str) -> Any:
    """What a check names as the materialisation that it is about; None where there is none.

    Without it, Dagster takes a check that a run logs itself for one of an older clip, and shows it as unchecked.
    """
    target = internal("AssetCheckEvaluationTargetMaterializationData")
    found = _materializations(instance, key, [row], limit=1) if target else ()
    if not found:
        return None
    return target(storage_id=found[0].storage_id, run_id=found[0].run_id, timestamp=found[0].timestamp)
