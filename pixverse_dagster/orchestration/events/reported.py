"""What Dagster has of a pipeline's rows, read in pages, as values for whoever compares it with the ledger."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from pixverse_dagster.core.values import chunked
from pixverse_dagster.orchestration.events.log import ROWS_READ
from pixverse_dagster.orchestration.events.metadata import CLIP_CHECK, DATA_VERSION_TAG
from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.reports.verify.reported import Reported, RowReport

_EVENTS_AT_ONCE = 500
_PREFIX = "pixverse/"
_FACTS = ("task_id", "account", "model", "take", "digest", "attempt", "cost_usd", "cost_source", "state")
_UPSTREAM = {"tasks": "prompts", "clips": "tasks"}


@dataclass(frozen=True)
class ReportedRows:
    """Dagster's side of a pipeline. Reads only; a row costs a millisecond or two."""

    instance: dg.DagsterInstance
    spec: PipelineSpec
    pipeline: str

    @property
    def where(self) -> str:
        """Dagster's home."""
        return f"Dagster in {self.instance.root_directory}" if not self.instance.is_ephemeral else "Dagster"

    @property
    def checks_block(self) -> bool:
        """As `DagsterSide.checks_block`."""
        rules = self.spec.pipeline.options.checks
        return rules.enabled and rules.blocking

    @property
    def keeps_removed(self) -> bool:
        """As `DagsterSide.keeps_removed`."""
        return self.spec.pipeline.options.keep_removed_partitions

    def partitions(self) -> Collection[str]:
        """As `DagsterSide.partitions`."""
        return self.instance.get_dynamic_partitions(self.spec.partitions.name or "")

    def materialized(self) -> Collection[str]:
        """As `DagsterSide.materialized`."""
        return self.instance.get_materialized_partitions(self._key("clips"))

    def read(self, rows: Sequence[str]) -> Mapping[str, RowReport]:
        """As `DagsterSide.read`: every materialisation of these rows."""
        found: dict[str, RowReport] = {}
        for some in chunked(rows, ROWS_READ):
            tasks, clips = (self._materializations(asset, some) for asset in ("tasks", "clips"))
            checks = self._checks(some)
            found |= {row: RowReport(tasks.get(row, []), clips.get(row, []), checks.get(row)) for row in some}
        return found

    def _key(self, asset: str) -> dg.AssetKey:
        return dg.AssetKey([self.pipeline, asset])

    def _materializations(self, asset: str, rows: Sequence[str]) -> dict[str, list[Reported]]:
        found: dict[str, list[Reported]] = {}
        wanted, cursor = dg.AssetRecordsFilter(self._key(asset), asset_partitions=rows), None
        made_from = f"dagster/input_data_version/{self.pipeline}/{_UPSTREAM[asset]}"
        while True:
            page = self.instance.fetch_materializations(wanted, limit=_EVENTS_AT_ONCE, cursor=cursor)
            for record in page.records:
                event = record.asset_materialization
                if event is None or event.partition is None:
                    continue
                tags: Mapping[str, str] = event.tags or {}
                reported = Reported(tags.get(DATA_VERSION_TAG, ""), tags.get(made_from, ""), _facts(event.metadata))
                found.setdefault(event.partition, []).append(reported)
            if not page.has_more:
                return found
            cursor = page.cursor

    def _checks(self, rows: Sequence[str]) -> dict[str, bool]:
        """Whether the last check of each row passed; rows that were never checked are absent."""
        key = dg.AssetCheckKey(self._key("clips"), CLIP_CHECK)
        infos = self.instance.event_log_storage.get_asset_check_partition_info([key], partition_keys=list(rows))
        statuses = {info.partition_key: info.latest_execution_status.value for info in infos if info.partition_key}
        return {row: status == "SUCCEEDED" for row, status in statuses.items() if status in {"SUCCEEDED", "FAILED"}}


def _facts(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: getattr(metadata[_PREFIX + name], "value", None) for name in _FACTS if _PREFIX + name in metadata}
