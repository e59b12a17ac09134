"""The sensors."""

import time
from collections.abc import Iterable
from typing import Any

import dagster as dg

from pixverse_dagster.core.lifecycle import OCCUPIES_SLOT, TaskState
from pixverse_dagster.orchestration.events.prompts import report_worlds
from pixverse_dagster.orchestration.events.tasks import ended_event
from pixverse_dagster.orchestration.runs import report_unknown
from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.policy.batching import choose_collect_batch, choose_submit_batch
from pixverse_dagster.policy.plan import Verdict
from pixverse_dagster.stages.poll import poll_due
from pixverse_dagster.stages.queue import find_room, queue_new_rows
from pixverse_dagster.stages.session import Session
from pixverse_dagster.tables import FileTable
from pixverse_dagster.tables.files import look_at

TICK_SECONDS = 15.0
"""A tick is killed after 60 s and its results are lost; this leaves room for one slow answer."""


def build_poll_sensor(spec: PipelineSpec, collect_job: dg.JobDefinition) -> dg.SensorDefinition:
    """The sensor that asks the providers about tasks that are due, and asks for a collect run when clips are ready."""

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=f"{spec.name}_poll",
        job_name=collect_job.name,
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys=spec.resource_keys,
        description="Polls pending tasks and collects finished ones. Pays for nothing that was not submitted.",
    )
    def poll(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with spec.open(context.resources, context.instance) as session:
            events: list[Any] = []
            report_worlds(session, context.instance, events.append)
            report = poll_due(session, TICK_SECONDS)
            request, words = _collect_request(session)
            events += [
                ended_event(task, session.commands, asset=asset)
                for task in report.ended
                for asset in ("tasks", "clips")
            ]
            if any(task.state is TaskState.UNKNOWN for task in report.ended):
                report_unknown(session, events.append)
        if request is None:
            return dg.SensorResult(skip_reason=f"{report}; {words}", asset_events=events)
        return dg.SensorResult(run_requests=[request], asset_events=events)

    return poll


def build_continue_sensor(spec: PipelineSpec, submit_job: dg.JobDefinition) -> dg.SensorDefinition:
    """The sensor that asks for a submit run when it is the turn of rows that wait."""

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=f"{spec.name}_continue",
        job_name=submit_job.name,
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys=spec.resource_keys,
        description="Goes on with rows that somebody asked to be submitted and that wait for a slot, for a provider "
        "that asked to slow down, or for their retry. Spends what was asked for; stop it to stop that.",
    )
    def go_on(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with spec.open(context.resources, context.instance) as session:
            request, words = _submit_request(session, float(context.cursor or 0))
        if request is None:
            return dg.SensorResult(skip_reason=words, cursor=context.cursor)
        return dg.SensorResult(run_requests=[request], cursor=str(time.time()))

    return go_on


def build_submit_sensor(spec: PipelineSpec) -> dg.SensorDefinition:
    """The sensor that asks for every new and changed row to be submitted. Off, until somebody decides to spend."""

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=f"{spec.name}_submit_new",
        asset_selection=[dg.AssetKey([spec.name, "tasks"])],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.STOPPED,
        required_resource_keys=spec.resource_keys,
        description="Asks for every new and changed row to be submitted, within the budget. Turning it on is the "
        f"decision to spend. {spec.name}_continue submits them as slots are free.",
    )
    def submit_new(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with spec.open(context.resources, context.instance) as session:
            wanted, plan = queue_new_rows(session, spec.pipeline.options.pace.collect_batch)
        left = len(plan.lines) - len(wanted)
        words = f"{len(wanted)} new rows asked for, about {plan.cost_usd:.3f} USD"
        over = next((line.note for line in plan.lines if line.verdict is Verdict.OVER_BUDGET), "")
        return dg.SensorResult(skip_reason=f"{words}; {left} left: the next {over}" if over else words)

    return submit_new


def build_table_sensor(spec: PipelineSpec, table: FileTable) -> dg.SensorDefinition:
    """The sensor that reads the table again when its file has changed and two ticks saw the same. Costs nothing."""
    key = dg.AssetKey([spec.name, "prompts"])

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=f"{spec.name}_table",
        asset_selection=[key],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Reads {table.describe()} again when it has changed and two ticks saw the same of it, so that it "
        "is not read while it is written. Costs nothing.",
    )
    def table_changed(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        look = look_at(context.cursor, table.fingerprint())
        if not look.is_due:
            return dg.SensorResult(skip_reason=f"{table.describe()} {look.words}", cursor=look.cursor)
        return dg.SensorResult(run_requests=[dg.RunRequest(asset_selection=[key])], cursor=look.cursor)

    return table_changed


def _collect_request(session: Session) -> tuple[dg.RunRequest | None, str]:
    """A run for the clips that are ready, if it is time for one, and what is under way, in words."""
    name, pace, ledger, now = session.pipeline.name, session.options.pace, session.ledger, session.clock()
    ready = ledger.tasks.ready(name, now, pace.collect_batch, session.worlds)
    counts = ledger.tasks.counts(name, session.worlds)
    pending = sum(counts.get(state, 0) for state in OCCUPIES_SLOT)
    batch = choose_collect_batch(ready, pending, now, pace)
    ledger.lease_collect(batch, now + pace.collect_request_seconds)
    request = _request(f"{name}_collect", {task.row for task in batch}) if batch else None
    return request, f"{pending} under way, {len(ready)} ready and waiting for company"


def _submit_request(session: Session, last_at: float) -> tuple[dg.RunRequest | None, str]:
    """A run for rows whose turn has come, and how many wait, in words."""
    name, pace, queue, now = session.pipeline.name, session.options.pace, session.ledger.queue, session.clock()
    due = queue.due(name, now, session.worlds)
    turn = choose_submit_batch(due, find_room(session), now - last_at, pace) if due else []
    queue.lease(name, turn, now + pace.collect_request_seconds)
    request = _request(f"{name}_submit", turn) if turn else None
    return request, f"{len(due)} rows wait for their turn: {due[0].reason}" if due else "no row waits"


def _request(job: str, rows: Iterable[str]) -> dg.RunRequest:
    keys = sorted(set(rows))
    config = {"ops": {f"{job}_rows": {"config": {"rows": keys}}}}
    return dg.RunRequest(run_config=config, tags={"pixverse/rows": str(len(keys))})
