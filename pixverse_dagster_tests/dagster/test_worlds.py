"""A pipeline that goes live in the home of its simulator: what Dagster shows, and what is handed downstream."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pixverse_dagster import (
    Clip,
    LedgerResource,
    LocalClipIOManager,
    PipelineOptions,
    RunwareResource,
    build_clips_definitions,
)
from pixverse_dagster.core.manifest import World
from pixverse_dagster.ledger.engine import sqlite_url
from pixverse_dagster_tests.harness.factories import QUICK
from pixverse_dagster_tests.harness.servers import Simulator, StartSimulator

PROMPTS, CLIPS = dg.AssetKey(["films", "prompts"]), dg.AssetKey(["films", "clips"])
ROWS = [{"id": "r0", "model": "runware/pixverse-v4.5", "prompt": "a kite", "resolution": "360p"}]


def build(server: Simulator, world: World, folder: Path) -> dg.Definitions:
    """The pipeline on an account of this world, with an asset downstream, in one home."""

    @dg.asset(key="edit", ins={"clips": dg.AssetIn(CLIPS, partition_mapping=dg.AllPartitionMapping())})
    def edit(clips: dict[str, Clip]) -> dict[str, str]:
        return {row: clip.manifest.world for row, clip in clips.items()}

    pipeline = build_clips_definitions(
        "films",
        ROWS,
        providers=[RunwareResource(api_key="simulator", base_url=f"{server.url}/runware", world=world)],
        clips=LocalClipIOManager(
            base_dir=str(folder / "clips"), ledger=LedgerResource(url=sqlite_url(folder / "ledger.db"))
        ),
        options=PipelineOptions.model_validate({"pace": QUICK, "download": {"allow_private_network": True}}),
    )
    return dg.Definitions.merge(pipeline, dg.Definitions(assets=[edit]))


@pytest.mark.filterwarnings("ignore:.*dagster_run:DeprecationWarning")  # Dagster meets its own
def test_a_pipeline_that_goes_live_pays_for_its_rows_and_hands_no_test_card_on(
    simulator: StartSimulator, tmp_path: Path
):
    """From the sensor's first tick on: the tasks are out of date, downstream has no clip until there is a live one."""
    servers: dict[World, Simulator] = {}
    for world in ("simulator", "live"):
        servers[world] = simulator(generation_seconds=0)
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:

        def run(definitions: dg.Definitions, key: dg.AssetKey, row: str | None = None) -> Any:
            job = definitions.resolve_implicit_global_asset_job_def()
            done = job.execute_in_process(instance=instance, asset_selection=[key], partition_key=row)
            assert done.success
            return done

        def edited(definitions: dg.Definitions) -> dict[str, str]:
            return run(definitions, dg.AssetKey("edit")).output_for_node("edit")

        simulated, live = (build(server, world, tmp_path) for world, server in servers.items())
        run(simulated, PROMPTS)
        run(simulated, CLIPS, "r0")
        assert edited(simulated) == {"r0": "simulator"}
        sensor = live.resolve_sensor_def("films_poll")
        wanted = {k: v for k, v in (live.resources or {}).items() if k in sensor.required_resource_keys}
        for outdated in (1, 0):
            with dg.build_sensor_context(instance=instance, resources=wanted, definitions=live) as context:
                events = sensor.evaluate_tick(context).asset_events
            told = [event for event in events if event.partition is not None]
            assert ["world changed" in str(event.description) for event in told] == [True] * outdated
        assert edited(live) == {}
        run(live, CLIPS, "r0")
        assert edited(live) == {"r0": "live"}
        run(simulated, PROMPTS)
        assert edited(simulated) == {"r0": "simulator"}
    assert [len(server.tasks()) for server in servers.values()] == [1, 1]
