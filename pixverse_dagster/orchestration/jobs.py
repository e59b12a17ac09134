"""The jobs that the sensors ask for: any subset of rows in one run."""

from typing import Any

import dagster as dg

from pixverse_dagster.orchestration.cancellation import RunWatch
from pixverse_dagster.orchestration.events.failures import raise_failures
from pixverse_dagster.orchestration.events.red import report_without_clip
from pixverse_dagster.orchestration.io_managers.base import ClipBatch
from pixverse_dagster.orchestration.runs import resolve_reported, submit_only
from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.stages.places import take_as_asked

_ASKED_BY = "dagster/sensor_name"
_ROWS_CONFIG = {"rows": dg.Field(dg.Array(str), description="Row ids: any subset, in any order.")}


def build_submit_job(spec: PipelineSpec) -> dg.JobDefinition:
    """A job that submits any subset of rows in one run, as events of `tasks`."""

    @dg.op(
        name=f"{spec.name}_submit_rows",
        config_schema=_ROWS_CONFIG,
        required_resource_keys=spec.run_resource_keys,
    )
    def submit_op(context: dg.OpExecutionContext) -> None:
        keys: list[str] = context.op_config["rows"]
        with spec.open_run(context, keys) as session:
            if context.run.tags.get(_ASKED_BY) == f"{spec.name}_continue":
                take_as_asked(session, keys)
            problems = submit_only(session, keys, context)
            report_without_clip(context, session, list(problems))
        raise_failures("failed", list(problems.values()), len(keys))

    return _job_of(
        submit_op,
        f"{spec.name}_submit",
        "Submits rows, each once. Costs money for rows that have no task yet.",
    )


def build_resolve_job(spec: PipelineSpec) -> dg.JobDefinition:
    """A job that finds out about submits of unknown outcome, and replays those that may be, as events of `tasks`."""

    @dg.op(
        name=f"{spec.name}_resolve_rows",
        config_schema=_ROWS_CONFIG,
        required_resource_keys=spec.run_resource_keys,
    )
    def resolve_op(context: dg.OpExecutionContext) -> None:
        keys: list[str] = context.op_config["rows"]
        with spec.open_run(context, keys) as session:
            resolve_reported(session, keys, context.log_event)

    return _job_of(
        resolve_op,
        f"{spec.name}_resolve",
        "Finds out about submits whose answer never came, and sends them again under their own id while "
        "the provider would know them. Costs what they would have cost, if they never arrived.",
    )


def build_report_job(spec: PipelineSpec) -> dg.JobDefinition:
    """A job that shows rows as failed that came to an end without a clip: it fails, and says why of each.

    Any number of rows in one run. It spends nothing and changes nothing but what Dagster shows.
    """

    @dg.op(name=f"{spec.name}_report_rows", config_schema=_ROWS_CONFIG, required_resource_keys=spec.resource_keys)
    def report_op(context: dg.OpExecutionContext) -> None:
        keys: list[str] = context.op_config["rows"]
        with spec.open(context.resources, context.instance, context.run) as session:
            problems = report_without_clip(context, session, keys)
        if not problems:
            context.log.info("none of these rows is without a clip for good: nothing to show")
        raise_failures("have no clip and need a person", list(problems.values()), len(keys))

    return _job_of(
        report_op,
        f"{spec.name}_report",
        "Fails on purpose: so Dagster shows the rows as failed that have no clip and get none by themselves, "
        "each with its reason. Costs nothing, and runs again for nothing that it has shown.",
    )


def build_collect_job(spec: PipelineSpec) -> dg.JobDefinition:
    """A job that stores the clips of any subset of rows in one run, as materialisations of `clips`."""

    @dg.op(
        name=f"{spec.name}_collect_rows",
        config_schema=_ROWS_CONFIG,
        required_resource_keys=spec.run_resource_keys,
        out=dg.Out(io_manager_key=spec.clips_key),
    )
    def collect_op(context: dg.OpExecutionContext) -> Any:
        watch = RunWatch(context.instance, context.run.run_id)
        session = spec.open(context.resources, context.instance, context.run, watch)
        return ClipBatch(
            session, session.ledger.tasks.collectable(spec.name, context.op_config["rows"], session.worlds), context
        )

    return _job_of(
        collect_op,
        f"{spec.name}_collect",
        "Stores the clips of tasks that the provider has finished. Costs nothing.",
    )


def _job_of(op: dg.OpDefinition, name: str, description: str) -> dg.JobDefinition:
    """A job of one op, in the run's own process: a row costs no process of its own."""

    @dg.job(name=name, executor_def=dg.in_process_executor, description=description)  # pyright: ignore[reportUnknownMemberType]
    def job() -> None:
        op()

    return job
