"""`build_clips_definitions`: a prompt table, provider accounts and a store become a pipeline's Dagster definitions."""

import re
from collections.abc import Callable, Sequence
from typing import Any
from zoneinfo import available_timezones

import dagster as dg

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.orchestration.assets import build_clip_assets, build_prompts_asset
from pixverse_dagster.orchestration.commands import loaded_from
from pixverse_dagster.orchestration.gallery import build_gallery_asset, build_gallery_job, build_gallery_sensor
from pixverse_dagster.orchestration.io_managers.base import ClipIOManager
from pixverse_dagster.orchestration.jobs import build_collect_job, build_report_job, build_resolve_job, build_submit_job
from pixverse_dagster.orchestration.resources import ProviderResource
from pixverse_dagster.orchestration.sensors import (
    build_continue_sensor,
    build_poll_sensor,
    build_submit_sensor,
    build_table_sensor,
)
from pixverse_dagster.orchestration.spec import PIPELINE_NAME, PipelineSpec
from pixverse_dagster.orchestration.verification import build_verified_check, build_verify_schedule
from pixverse_dagster.stages.options import PipelineOptions
from pixverse_dagster.stages.session import Pipeline
from pixverse_dagster.tables import AssetTable, FileTable, PromptTable, open_table


def build_clips_definitions(
    name: str,
    prompts: Any,
    *,
    providers: Sequence[ProviderResource],
    clips: ClipIOManager,
    options: PipelineOptions | None = None,
    get_asset_spec: Callable[[dg.AssetSpec], dg.AssetSpec] | None = None,
) -> dg.Definitions:
    """The assets, jobs, sensor and resources of one pipeline.

    Args:
        name: The pipeline's name: the first part of its asset keys and of its folder in the store.
        prompts: The prompt table: the path or URL of a .csv, .jsonl, .ndjson or .parquet file, a SqlTable, rows in
            memory (mappings, pandas, polars, Arrow), a function that returns such rows, an asset (or its AssetKey)
            whose value is such rows, or anything with `read()` and `describe()`.
        providers: One resource per provider account that rows may name.
        clips: Where clips are stored, and the ledger.
        options: Everything else.
        get_asset_spec: Changes the specs of the assets: owners, tags, automation conditions. Keys must stay.

    Several pipelines stand side by side: merge their definitions. They may share resources, a ledger and a bucket.

    Raises:
        InvalidTable: The name, a default or a label is not what it should be.
    """
    if not re.fullmatch(PIPELINE_NAME, name):
        raise InvalidTable(
            f"pipeline name {name!r}: use letters, digits and '_', at most 100; it names assets and jobs"
        )
    options = options or PipelineOptions()
    table_asset = _asset_key(prompts)
    table = AssetTable(table_asset.to_user_string()) if table_asset else open_table(prompts, rules=options.download)
    pipeline = Pipeline(name, table, options)
    pipeline.rules.check()
    spec = PipelineSpec(
        pipeline,
        providers=tuple(resource.PROVIDER.NAME for resource in providers),
        table_asset=table_asset,
        loaded_from=loaded_from(),
    )
    sensors, schedules = _table_triggers(spec, table, options)
    submit_job, collect_job, resolve_job = build_submit_job(spec), build_collect_job(spec), build_resolve_job(spec)
    report_job = build_report_job(spec)
    assets = [build_prompts_asset(spec), build_clip_assets(spec)]
    jobs = [submit_job, collect_job, resolve_job, report_job]
    if options.gallery:
        gallery_job = build_gallery_job(spec)
        assets.append(build_gallery_asset(spec))
        jobs.append(gallery_job)
        sensors.append(build_gallery_sensor(spec, gallery_job))
    return dg.Definitions(
        assets=[asset.map_asset_specs(get_asset_spec) for asset in assets] if get_asset_spec else assets,
        jobs=jobs,
        asset_checks=build_verified_check(spec),
        sensors=[
            build_poll_sensor(spec, collect_job, resolve_job, report_job),
            build_continue_sensor(spec, submit_job),
            build_submit_sensor(spec),
            *sensors,
        ],
        schedules=[*schedules, *build_verify_schedule(spec)],
        resources={
            spec.ledger_key: clips.ledger,
            spec.clips_key: clips,
            **{spec.provider_key(resource.PROVIDER.NAME): resource for resource in providers},
            f"{name}_pipeline": spec,
        },
    )


def _table_triggers(
    spec: PipelineSpec, table: PromptTable, options: PipelineOptions
) -> tuple[list[dg.SensorDefinition], list[dg.ScheduleDefinition]]:
    """What reads the table again by itself, where the options ask for it."""
    sensors: list[dg.SensorDefinition] = []
    if options.watch_table:
        if not (isinstance(table, FileTable) and table.can_be_watched):
            raise InvalidTable(f"{table.describe()} cannot be watched: only a local file or one in S3; use read_cron")
        sensors.append(build_table_sensor(spec, table))
    if not options.read_cron:
        return sensors, []
    if options.read_time_zone and options.read_time_zone not in available_timezones():
        raise InvalidTable(
            f"read_time_zone {options.read_time_zone!r}: there is no such time zone; write one as Europe/Berlin"
        )
    schedule = dg.ScheduleDefinition(
        name=f"{spec.name}_read",
        cron_schedule=options.read_cron,
        execution_timezone=options.read_time_zone,
        target=[dg.AssetKey([spec.name, "prompts"])],
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Reads the prompt table again. Costs nothing.",
    )
    return sensors, [schedule]


def _asset_key(prompts: Any) -> dg.AssetKey | None:
    """The key of the asset that is meant, if one is."""
    if isinstance(prompts, dg.AssetsDefinition | dg.AssetSpec):
        return prompts.key
    return prompts if isinstance(prompts, dg.AssetKey) else None
