"""What Dagster is told of rows that were found in the store, and of rows that are withheld."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pixverse_dagster import (
    LedgerResource,
    LocalClipIOManager,
    PipelineOptions,
    RunwareResource,
    build_clips_definitions,
)
from pixverse_dagster.ledger.engine import sqlite_url
from pixverse_dagster.ledger.ledger import open_ledger
from pixverse_dagster.transport.download import DownloadRules
from pixverse_dagster_tests.harness.factories import QUICK, RUNWARE
from pixverse_dagster_tests.harness.servers import Simulator

pytestmark = pytest.mark.filterwarnings("ignore:.*(run_id|dagster_run) is deprecated:DeprecationWarning")


class Home:
    """A pipeline with a ledger and a Dagster instance of its own, and a store that others have, too."""

    def __init__(self, folder: Path, server: Simulator, instance: Any, name: str, rows: str) -> None:
        self.url = sqlite_url(folder / f"{name}.db")
        self.instance = instance
        self.definitions = build_clips_definitions(
            "films",
            [{"id": row, "prompt": f"a kite, {row}", "resolution": "360p"} for row in rows],
            providers=[RunwareResource(api_key="simulator", base_url=f"{server.url}/runware")],
            clips=LocalClipIOManager(base_dir=str(folder / "clips"), ledger=LedgerResource(url=self.url)),
            options=PipelineOptions(
                defaults={"model": RUNWARE}, pace=QUICK, download=DownloadRules(allow_private_network=True)
            ),
        )

    def read(self) -> None:
        job = self.definitions.resolve_implicit_global_asset_job_def()
        prompts = [dg.AssetKey(["films", "prompts"])]
        assert job.execute_in_process(instance=self.instance, asset_selection=prompts).success

    def clips(self, row: str) -> bool:
        job = self.definitions.resolve_implicit_global_asset_job_def()
        keys = [dg.AssetKey(["films", "tasks"]), dg.AssetKey(["films", "clips"])]
        return job.execute_in_process(
            instance=self.instance, asset_selection=keys, partition_key=row, raise_on_error=False
        ).success

    def submit(self, *rows: str) -> bool:
        config = {"ops": {"films_submit_rows": {"config": {"rows": list(rows)}}}}
        job = self.definitions.resolve_job_def("films_submit")
        return job.execute_in_process(instance=self.instance, run_config=config, raise_on_error=False).success

    def last(self, asset: str, row: str) -> Any:
        records = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(["films", asset]), asset_partitions=[row]), limit=1
        ).records
        return records[0].asset_materialization if records else None


def test_what_is_found_in_the_store_is_told_on_its_partition(tmp_path: Path, server: Simulator):
    """A task and a clip that were paid for earlier, and by whom; a row that is not there says why it is withheld."""
    make: Any = dg.DagsterInstance.ephemeral  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    with make(str(tmp_path)) as first, make(str(tmp_path)) as second:
        home = Home(tmp_path, server, first, "first", "ab")
        home.read()
        assert home.clips("a")
        assert home.clips("b")
        lost = open_ledger(home.url).id
        again = Home(tmp_path, server, second, "second", "abc")
        again.read()
        assert again.submit("a")
        assert not again.submit("b", "c")
        for row in "ab":
            task, clip, was = again.last("tasks", row), again.last("clips", row), home.last("clips", row)
            for event in (task, clip):
                assert f"found in the store, paid for by ledger {lost}" in event.description
                assert event.metadata["pixverse/paid_earlier"].value is True
                assert event.metadata["pixverse/paid_by_ledger"].value == lost
            assert "pixverse/poster" in clip.metadata
            assert clip.metadata["dagster/uri"] == was.metadata["dagster/uri"]
            assert clip.tags["dagster/data_version"] == was.tags["dagster/data_version"]
        assert again.last("clips", "c") is None
        observed = second.fetch_observations(
            dg.AssetRecordsFilter(dg.AssetKey(["films", "tasks"]), asset_partitions=["c"]), limit=1
        ).records
        assert "ledger rebuild" in str(observed[0].asset_observation.description)
    assert len(server.tasks()) == 2
