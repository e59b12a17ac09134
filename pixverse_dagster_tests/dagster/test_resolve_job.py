"""What a tick may not pay for: it asks for a run, which replays a submit of unknown outcome and reports its task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pixverse_dagster import LedgerResource, LocalClipIOManager, PipelineOptions, RunwareResource
from pixverse_dagster.orchestration.factory import build_clips_definitions
from pixverse_dagster.stages.sending import Sending
from pixverse_dagster_tests.harness.factories import NAME, QUICK, RUNWARE
from pixverse_dagster_tests.harness.servers import Simulator


@pytest.mark.filterwarnings("ignore:.*(run_id|dagster_run) is deprecated:DeprecationWarning")
def test_a_tick_asks_for_a_run_that_replays_a_submit_of_unknown_outcome(server: Simulator, tmp_path: Path) -> None:
    """Once: while that run is awaited, no other is asked for. It pays once, and the row has its task."""
    definitions = build_clips_definitions(
        NAME,
        [{"id": "kite", "model": RUNWARE, "prompt": "a kite", "resolution": "360p"}],
        providers=[RunwareResource(api_key="simulator", base_url=f"{server.url}/runware")],
        clips=LocalClipIOManager(base_dir=str(tmp_path / "clips"), ledger=LedgerResource()),
        options=PipelineOptions.model_validate({"pace": QUICK, "download": {"allow_private_network": True}}),
    )
    resources: Any = definitions.resources
    sensor = definitions.resolve_sensor_def(f"{NAME}_poll")
    wanted = {key: resources[key] for key in sensor.required_resource_keys}
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:

        def tick() -> Any:
            with dg.build_sensor_context(instance=instance, resources=wanted, definitions=definitions) as context:
                return sensor.evaluate_tick(context)

        job = definitions.resolve_implicit_global_asset_job_def()
        job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey([NAME, "prompts"])])
        with dg.build_sensor_context(instance=instance, resources=wanted, definitions=definitions) as context:
            session = resources[f"{NAME}_pipeline"].open(context.resources, instance)
        with session:
            row = session.ledger.rows.find(NAME)["kite"]
            sending = Sending(session, session.clients["runware"], row, lambda: None)
            sending.begin()
            sending.doubt("no answer came", session.clock())
        (request,) = tick().run_requests
        assert request.job_name == f"{NAME}_resolve"
        assert (server.tasks(), tick().run_requests) == ([], [])
        ran = definitions.resolve_job_def(request.job_name).execute_in_process(
            instance=instance, run_config=request.run_config
        )
        (event,) = ran.asset_materializations_for_node(f"{NAME}_resolve_rows")
        (task,) = server.tasks()
        assert (event.partition, event.description) == (
            "kite",
            f"row 'kite' is submitted: {RUNWARE}, task {task['task_id']}",
        )
