"""The sensors and the jobs they ask for: any subset of rows in one run."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from pixverse_dagster.assets import report_unknown, submit_only
from pixverse_dagster.blueprint import Blueprint
from pixverse_dagster.clip import TaskState
from pixverse_dagster.events import ended_event, raise_failures
from pixverse_dagster.io_managers.base import ClipBatch
from pixverse_dagster.ledger import Task, Waiting
from pixverse_dagster.pace import Pace
from pixverse_dagster.pipeline import Workshop
from pixverse_dagster.plan import Verdict
from pixverse_dagster.polling import poll_due
from pixverse_dagster.submission import ask_for_new_rows, find_room
from pixverse_dagster.tables import FileTable

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
        with blueprint.open_run(context) as shop:
            problems = submit_only(shop, keys, context)
        raise_failures("failed", list(problems.values()), len(keys))

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
        out=dg.Out(io_manager_key=blueprint.clips_key),
    )
    def collect_op(context: dg.OpExecutionContext) -> Any:
        shop = blueprint.open(context.resources, context.instance, context.run.run_id)
        return ClipBatch(shop, shop.ledger.collectable(blueprint.name, context.op_config["rows"]), context)

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


def choose_turn(
    waiting: Sequence[Waiting], room: Mapping[str, float], since_last_seconds: float, pace: Pace
) -> list[str]:
    """Which waiting rows to submit now, in the order of their waiting. Pure.

    Slots become free one by one, and a run costs seconds: so one is asked for at most every `collect_after_seconds`,
    unless all who wait have room.
    """
    left = dict(room)
    turn: list[str] = []
    for entry in waiting:
        if left.get(entry.account, 0) >= 1:
            left[entry.account] -= 1
            turn.append(entry.row)
    everybody = len(turn) == len(waiting)
    return turn[: pace.collect_batch] if everybody or since_last_seconds >= pace.collect_after_seconds else []


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
        with blueprint.open(context.resources, context.instance) as shop:
            report = poll_due(shop, TICK_BUDGET_SECONDS)
            request, words = _collect_request(shop)
            events: list[Any] = [
                ended_event(task, asset=asset) for task in report.ended for asset in ("tasks", "clips")
            ]
            if any(task.state is TaskState.UNKNOWN for task in report.ended):
                report_unknown(shop, events.append)
        if request is None:
            return dg.SensorResult(skip_reason=f"{report}; {words}", asset_events=events)
        return dg.SensorResult(run_requests=[request], asset_events=events)

    return poll


def build_continue_sensor(blueprint: Blueprint, submit_job: dg.JobDefinition) -> dg.SensorDefinition:
    """The sensor that asks for a submit run when it is the turn of rows that wait."""

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=f"{blueprint.name}_continue",
        job_name=submit_job.name,
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys=blueprint.resource_keys,
        description="Goes on with rows that somebody asked to be submitted and that wait for a slot, for a provider "
        "that asked to slow down, or for their retry. Spends what was asked for; stop it to stop that.",
    )
    def go_on(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with blueprint.open(context.resources, context.instance) as shop:
            request, words = _submit_request(shop, float(context.cursor or 0))
        if request is None:
            return dg.SensorResult(skip_reason=words, cursor=context.cursor)
        return dg.SensorResult(run_requests=[request], cursor=str(time.time()))

    return go_on


def build_submit_sensor(blueprint: Blueprint) -> dg.SensorDefinition:
    """The sensor that asks for every new and changed row to be submitted. Off, until somebody decides to spend."""

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=f"{blueprint.name}_submit_new",
        asset_selection=[dg.AssetKey([blueprint.name, "tasks"])],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.STOPPED,
        required_resource_keys=blueprint.resource_keys,
        description="Asks for every new and changed row to be submitted, within the budget. Turning it on is the "
        f"decision to spend. {blueprint.name}_continue submits them as slots are free.",
    )
    def submit_new(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with blueprint.open(context.resources, context.instance) as shop:
            wanted, plan = ask_for_new_rows(shop, blueprint.pipeline.pace.collect_batch)
        left = len(plan.lines) - len(wanted)
        words = f"{len(wanted)} new rows asked for, about {plan.cost_usd:.3f} USD"
        over = next((line.note for line in plan.lines if line.verdict is Verdict.OVER_BUDGET), "")
        return dg.SensorResult(skip_reason=f"{words}; {left} left: the next {over}" if over else words)

    return submit_new


def build_table_sensor(blueprint: Blueprint, table: FileTable) -> dg.SensorDefinition:
    """The sensor that reads the table again when its file has changed. Costs nothing."""
    key = dg.AssetKey([blueprint.name, "prompts"])

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=f"{blueprint.name}_table",
        asset_selection=[key],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Reads {table.describe()} again when it has changed. Costs nothing.",
    )
    def table_changed(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        seen = table.fingerprint()
        if seen is None:
            return dg.SensorResult(skip_reason=f"{table.describe()} is not there", cursor=context.cursor)
        if seen == context.cursor:
            return dg.SensorResult(skip_reason=f"{table.describe()} is as it was", cursor=seen)
        return dg.SensorResult(run_requests=[dg.RunRequest(asset_selection=[key])], cursor=seen)

    return table_changed


def _collect_request(shop: Workshop) -> tuple[dg.RunRequest | None, str]:
    """A run for the clips that are ready, if it is time for one, and what is under way, in words."""
    name, pace, ledger, now = shop.pipeline.name, shop.pipeline.pace, shop.ledger, shop.clock()
    ready = ledger.ready(name, now, pace.collect_batch)
    counts = ledger.counts(name)
    pending = counts.get(TaskState.SUBMITTED, 0) + counts.get(TaskState.CLAIMED, 0)
    batch = choose_batch(ready, pending, now, pace)
    ledger.lease_collect(batch, now + pace.collect_request_seconds)
    request = _request(f"{name}_collect", {task.row for task in batch}) if batch else None
    return request, f"{pending} under way, {len(ready)} ready and waiting for company"


def _submit_request(shop: Workshop, last_at: float) -> tuple[dg.RunRequest | None, str]:
    """A run for rows whose turn has come, and how many wait, in words."""
    name, pace, waiting, now = shop.pipeline.name, shop.pipeline.pace, shop.ledger.waiting, shop.clock()
    due = waiting.due(name, now)
    turn = choose_turn(due, find_room(shop), now - last_at, pace) if due else []
    waiting.offer(name, turn, now + pace.collect_request_seconds)
    request = _request(f"{name}_submit", turn) if turn else None
    return request, f"{len(due)} rows wait for their turn: {due[0].reason}" if due else "no row waits"


def _request(job: str, rows: Iterable[str]) -> dg.RunRequest:
    keys = sorted(set(rows))
    config = {"ops": {f"{job}_rows": {"config": {"rows": keys}}}}
    return dg.RunRequest(run_config=config, tags={"pixverse/rows": str(len(keys))})
