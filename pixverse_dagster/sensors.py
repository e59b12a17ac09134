"""The poll sensor and the jobs it asks for: any subset of rows in one run."""

from typing import Any

import dagster as dg

from pixverse_dagster.assets import CLIPS_KEY, Blueprint, submit
from pixverse_dagster.clip import TaskState
from pixverse_dagster.events import ended_event, raise_failures
from pixverse_dagster.io_managers.base import ClipBatch
from pixverse_dagster.ledger import Task
from pixverse_dagster.pace import Pace
from pixverse_dagster.polling import poll_due

TICK_BUDGET_SECONDS = 15.0
"""A tick is killed after 60 s and its results are lost; this leaves room for one slow answer."""

_ROWS_CONFIG = {"rows": dg.Field(dg.Array(str), description="Row ids: any subset, in any order.")}


def build_submit_job(blueprint: Blueprint) -> dg.JobDefinition:
    """A job that submits any subset of rows in one run, as events of `tasks`."""

    @dg.op(
        name=f"{blueprint.name}_submit_rows",
        config_schema=_ROWS_CONFIG,
        required_resource_keys=blueprint.resource_keys,
    )
    def submit_op(context: dg.OpExecutionContext) -> None:
        keys: list[str] = context.op_config["rows"]
        with blueprint.open(context.resources, context.instance, context.run_id) as shop:
            problems = [problem for _, problem in submit(shop, keys, context.log_event) if problem]
        raise_failures("failed", problems, len(keys))

    @dg.job(  # pyright: ignore[reportUnknownMemberType]
        name=f"{blueprint.name}_submit",
        executor_def=dg.in_process_executor,
        description="Submits rows, each once. Costs money for rows that have no task yet.",
    )
    def submit_job() -> None:
        submit_op()

    return submit_job


def build_collect_job(blueprint: Blueprint) -> dg.JobDefinition:
    """A job that stores the clips of any subset of rows in one run, as materialisations of `clips`."""

    @dg.op(
        name=f"{blueprint.name}_collect_rows",
        config_schema=_ROWS_CONFIG,
        required_resource_keys=blueprint.resource_keys,
        out=dg.Out(io_manager_key=CLIPS_KEY),
    )
    def collect_op(context: dg.OpExecutionContext) -> Any:
        shop = blueprint.open(context.resources, context.instance, context.run_id)
        return ClipBatch(shop, shop.ledger.collectable(blueprint.name, context.op_config["rows"]))

    @dg.job(  # pyright: ignore[reportUnknownMemberType]
        name=f"{blueprint.name}_collect",
        executor_def=dg.in_process_executor,
        description="Stores the clips of tasks that the provider has finished. Costs nothing.",
    )
    def collect_job() -> None:
        collect_op()

    return collect_job


def choose_batch(ready: list[Task], pending: int, now: float, pace: Pace) -> list[Task]:
    """Which ready tasks to collect now. Pure.

    A run costs seconds however few rows it has, so a small batch waits `collect_after_seconds` for company, unless
    nothing else is under way.
    """
    if len(ready) >= pace.collect_batch:
        return ready[: pace.collect_batch]
    oldest = min((task.finished_at or now for task in ready), default=now)
    return ready if ready and (not pending or now - oldest >= pace.collect_after_seconds) else []


def build_poll_sensor(blueprint: Blueprint, collect_job: dg.JobDefinition) -> dg.SensorDefinition:
    """The sensor that asks the providers about tasks that are due, and asks for a collect run when clips are ready."""

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=f"{blueprint.name}_poll",
        job_name=collect_job.name,
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys=blueprint.resource_keys,
        description="Polls pending tasks and collects finished ones. Costs nothing.",
    )
    def poll(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with blueprint.open(context.resources, context.instance, run_id="") as shop:
            pace = blueprint.pipeline.pace
            report = poll_due(shop, TICK_BUDGET_SECONDS)
            ready = shop.ledger.ready(blueprint.name, shop.clock(), pace.collect_batch)
            counts = shop.ledger.counts(blueprint.name)
            pending = counts.get(TaskState.SUBMITTED, 0) + counts.get(TaskState.CLAIMED, 0)
            batch = choose_batch(ready, pending, shop.clock(), pace)
            shop.ledger.lease_collect(batch, shop.clock() + pace.collect_request_seconds)
        events = [ended_event(task) for task in report.ended]
        if not batch:
            words = f"{report}; {pending} under way, {len(ready)} ready and waiting for company"
            return dg.SensorResult(skip_reason=dg.SkipReason(words), asset_events=events)
        config = {"ops": {f"{blueprint.name}_collect_rows": {"config": {"rows": sorted({task.row for task in batch})}}}}
        request = dg.RunRequest(run_config=config, tags={"pixverse/rows": str(len(batch))})
        return dg.SensorResult(run_requests=[request], asset_events=events)

    return poll
