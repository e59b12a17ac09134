"""The jobs that the sensors ask for: any subset of rows in one run."""

from typing import Any

import dagster as dg

from pixverse_dagster.orchestration.events.failures import raise_failures
from pixverse_dagster.orchestration.io_managers.base import ClipBatch
from pixverse_dagster.orchestration.runs import submit_only
from pixverse_dagster.orchestration.spec import PipelineSpec

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
        with spec.open_run(context) as session:
            problems = submit_only(session, keys, context)
        raise_failures("failed", list(problems.values()), len(keys))

    @dg.job(  # pyright: ignore[reportUnknownMemberType]
        name=f"{spec.name}_submit",
        executor_def=dg.in_process_executor,
        description="Submits rows, each once. Costs money for rows that have no task yet.",
    )
    def submit_job() -> None:
        submit_op()

    return submit_job


def build_collect_job(spec: PipelineSpec) -> dg.JobDefinition:
    """A job that stores the clips of any subset of rows in one run, as materialisations of `clips`."""

    @dg.op(
        name=f"{spec.name}_collect_rows",
        config_schema=_ROWS_CONFIG,
        required_resource_keys=spec.run_resource_keys,
        out=dg.Out(io_manager_key=spec.clips_key),
    )
    def collect_op(context: dg.OpExecutionContext) -> Any:
        session = spec.open(context.resources, context.instance, context.run)
        return ClipBatch(
            session, session.ledger.tasks.collectable(spec.name, context.op_config["rows"], session.worlds), context
        )

    @dg.job(  # pyright: ignore[reportUnknownMemberType]
        name=f"{spec.name}_collect",
        executor_def=dg.in_process_executor,
        description="Stores the clips of tasks that the provider has finished. Costs nothing.",
    )
    def collect_job() -> None:
        collect_op()

    return collect_job
