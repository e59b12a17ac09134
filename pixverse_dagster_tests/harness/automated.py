"""A project in which everything happens by itself, as `test_automation.py` has Dagster's daemon run it.

The rows are the value of an asset. Whenever it is materialised, the table is read again, and of each clip that lands a
thumbnail is made, by Dagster's own automation conditions; in between, the pipeline's sensors submit and collect.
"""

import json
import os
from pathlib import Path

import dagster as dg

from pixverse_dagster import (
    Clip,
    LedgerResource,
    LocalClipIOManager,
    PipelineOptions,
    RunwareResource,
    build_clips_definitions,
)

HOME = Path(os.environ["DAGSTER_HOME"])
ROWS = HOME / "rows.json"


@dg.asset
def scripts() -> list[dict[str, str]]:
    """What a model of the warehouse would be."""
    return json.loads(ROWS.read_text())


def read_again_by_itself(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Reading the table costs nothing: it may follow its upstream."""
    if spec.key.path[-1] != "prompts":
        return spec
    return spec.replace_attributes(automation_condition=dg.AutomationCondition.eager())  # pyright: ignore[reportUnknownMemberType]


@dg.asset(
    ins={"clips": dg.AssetIn(["demo", "clips"])},
    partitions_def=dg.DynamicPartitionsDefinition(name="demo_rows"),
    backfill_policy=dg.BackfillPolicy.single_run(),
    automation_condition=dg.AutomationCondition.eager(),
)
def thumbnail(context: dg.AssetExecutionContext, clips: dict[str, Clip]) -> None:
    """The poster of each row's clip."""
    for row, clip in clips.items():
        with clip.open_poster() as poster:
            context.log.info("row %s: %d bytes", row, len(poster.read()))


EVERY_SECONDS = 3


def often(sensor: dg.SensorDefinition) -> dg.SensorDefinition:
    """The same sensor, asked every 3 s: with the 15 s and 30 s of real life the test would wait for nothing else."""

    def ask(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        said = sensor.evaluate_tick(context)
        return dg.SensorResult(
            run_requests=said.run_requests,
            skip_reason=said.skip_message,
            cursor=said.cursor,
            asset_events=list(said.asset_events),
        )

    return dg.SensorDefinition(
        name=sensor.name,
        evaluation_fn=ask,
        job_name=None if len(sensor.targets) > 1 else next((target.job_name for target in sensor.targets), None),
        jobs=list(sensor.jobs) if len(sensor.targets) > 1 else None,
        asset_selection=sensor.asset_selection,
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=sensor.default_status,
        required_resource_keys=sensor.required_resource_keys,
    )


def build() -> dg.Definitions:
    """The pipeline, what is upstream and downstream of it, and every sensor asked often."""
    pipeline = build_clips_definitions(
        "demo",
        scripts,
        providers=[RunwareResource(api_key="simulator", base_url=os.environ["SIMULATOR"] + "/runware")],
        clips=LocalClipIOManager(base_dir=str(HOME / "clips"), ledger=LedgerResource()),
        options=PipelineOptions.model_validate(
            {
                "download": {"allow_private_network": True},
                "pace": {"first_poll_seconds": 0.3, "max_poll_seconds": 1, "collect_after_seconds": 0.5},
            }
        ),
        get_asset_spec=read_again_by_itself,
    )
    automation = dg.AutomationConditionSensorDefinition(
        "automation",
        target="*",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=EVERY_SECONDS,
    )
    oftener = [often(one) for one in pipeline.sensors or ()]
    # One run has one step here: a second process per run would only cost time.
    return dg.Definitions(
        assets=[*(pipeline.assets or ()), scripts, thumbnail],
        asset_checks=pipeline.asset_checks,
        jobs=pipeline.jobs,
        sensors=[automation, *oftener],
        resources=pipeline.resources,
        executor=dg.in_process_executor,
    )


defs = build()
