"""The three assets of a pipeline: prompts, and tasks and clips, partitioned by row."""

from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg

from pixverse_dagster.core.lifecycle import UNDER_WAY, TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.orchestration.checks import check_specs, run_checks
from pixverse_dagster.orchestration.events.failures import raise_failures
from pixverse_dagster.orchestration.events.marks import marks_metadata, report_marks
from pixverse_dagster.orchestration.events.metadata import TABLE_VERSION
from pixverse_dagster.orchestration.events.prompts import (
    ROWS_SHOWN,
    problem_table,
    reading_metadata,
    report_changes,
    report_worlds,
)
from pixverse_dagster.orchestration.events.red import report_without_clip
from pixverse_dagster.orchestration.events.status import report_status
from pixverse_dagster.orchestration.runs import generate_clips, submit_only
from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.stages.marks import record_marks
from pixverse_dagster.stages.plan import plan_rows
from pixverse_dagster.stages.read import TableReading, read_table, record_table
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.shrinkage import check_shrinkage
from pixverse_dagster.tables import ValueTable


def build_prompts_asset(spec: PipelineSpec) -> dg.AssetsDefinition:
    """The unpartitioned asset that reads the table, checks every row, and registers new rows as partitions."""
    key = dg.AssetKey([spec.name, "prompts"])

    @dg.asset(
        key=key,
        description="The prompt table as it was last read: every row checked for its model. Costs nothing.",
        group_name=spec.group_name,
        kinds={"pixverse"},
        tags={"pixverse/pipeline": spec.name},
        ins={"table": dg.AssetIn(spec.table_asset)} if spec.table_asset else {},
        required_resource_keys=spec.run_resource_keys,
        check_specs=[
            dg.AssetCheckSpec("rows_valid", asset=key, description="Every row of the table can be generated.")
        ],
    )
    def prompts(context: dg.AssetExecutionContext, **upstream: Any) -> dg.MaterializeResult:  # pyright: ignore[reportMissingTypeArgument, reportUnknownParameterType]
        with spec.open(context.resources, context.instance, context.run) as session:
            given = [ValueTable(value, spec.pipeline.table.describe()) for value in upstream.values()]
            report_worlds(session, context.instance, context.log_event)
            reading = read_table(session, *given)
            going = _partitions_that_go(spec, context.instance, session, reading)
            reading = check_shrinkage(session, reading, going)
            change = record_table(session, reading)
            plan = plan_rows(session, reading.rows, reading.problems)
            _update_partitions(spec, context.instance, reading, going)
            report_changes(session, change.changed, change.new, context.instance, context.log_event)
            marks = record_marks(session)
            report_marks(session, context.log_event)
            report_status(session, context.log_event)
        if marks and marks.trouble:
            context.log.warning("the marks stay as they were: %s", marks.trouble)
        for problem in reading.problems[:ROWS_SHOWN]:
            context.log.warning("not generated: %s", redact_text(str(problem)))
        return dg.MaterializeResult(
            data_version=dg.DataVersion(TABLE_VERSION),
            metadata=reading_metadata(spec.pipeline, reading, change, plan) | marks_metadata(marks),
            check_results=[_rows_valid(reading)],
        )

    return prompts


def _partitions_that_go(
    spec: PipelineSpec, instance: dg.DagsterInstance, session: Session, reading: TableReading
) -> list[str]:
    """The partitions of rows that left the table; none, if the options keep them.

    A row stays while it is in the table, invalid or not, and while its task is under way or unknown: there is
    something to see. What Dagster recorded of a partition that went is there again when it comes back.
    """
    if spec.pipeline.options.keep_removed_partitions:
        return []
    tasks = session.ledger.tasks.find(spec.name, (*UNDER_WAY, TaskState.UNKNOWN))
    known = set(instance.get_dynamic_partitions(spec.partitions.name or ""))
    return sorted(known - reading.ids - {task.row for task in tasks})


def _update_partitions(
    spec: PipelineSpec, instance: dg.DagsterInstance, reading: TableReading, going: Iterable[str]
) -> None:
    """Every row is a partition; of those that left the table, these go."""
    name = spec.partitions.name or ""
    known = set(instance.get_dynamic_partitions(name))
    instance.add_dynamic_partitions(name, [row.id for row in reading.rows if row.id not in known])
    for row in going:
        instance.delete_dynamic_partition(name, row)


def build_clip_assets(spec: PipelineSpec) -> dg.AssetsDefinition:
    """The two assets partitioned by row: `tasks` submits a row once, `clips` is its stored clip."""
    name = spec.name
    common: dict[str, Any] = {
        "group_name": spec.group_name,
        "partitions_def": spec.partitions,
        "tags": {"pixverse/pipeline": name},
        "skippable": True,
    }
    tasks_spec = dg.AssetSpec(
        key=[name, "tasks"],
        deps=[[name, "prompts"]],
        description="The paid task of each row's request, submitted once. Materialising it again adopts what is there.",
        kinds={"pixverse"},
        **common,
    )
    clips_spec = dg.AssetSpec(
        key=[name, "clips"],
        deps=[[name, "tasks"]],
        description="The stored clip of each row, with its manifest. Materialised directly, it adopts the row's "
        "task, or submits it, and waits: a warning that upstream partitions are missing does no harm.",
        kinds={"pixverse", "mp4"},
        **common,
    ).with_io_manager_key(spec.clips_key)

    @dg.multi_asset(
        name=f"{name}_generate",
        specs=[tasks_spec, clips_spec],
        check_specs=check_specs(spec),
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys=spec.run_resource_keys,
    )
    def generate(context: dg.AssetExecutionContext) -> Iterator[Any]:
        selected = context.selected_asset_keys
        if not selected:
            run_checks(spec, context)
            return
        keys = list(context.partition_keys)
        with spec.open_run(context, keys) as session:
            if clips_spec.key in selected:
                problems = generate_clips(spec, context, session, keys, adopted=tasks_spec.key in selected)
            else:
                problems = submit_only(session, keys, context)
            report_without_clip(context, session, list(problems), planned=selected)
        raise_failures("failed", list(problems.values()), len(keys))
        # A generator that yields nothing: the events above are per row, Dagster's own would repeat them for every row.
        yield from ()

    return generate


def _rows_valid(reading: TableReading) -> dg.AssetCheckResult:
    bad = len({problem.place for problem in reading.problems})
    return dg.AssetCheckResult(
        check_name="rows_valid",
        passed=not reading.problems,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{bad} {'row' if bad == 1 else 'rows'} cannot be generated; the first: "
        + redact_text(str(reading.problems[0]))
        if bad
        else "every row can be generated",
        metadata={"pixverse/invalid_rows": bad}
        | ({"pixverse/problems": problem_table(reading.problems)} if bad else {}),
    )
