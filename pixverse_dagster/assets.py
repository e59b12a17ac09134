"""The three assets of a pipeline: prompts, and tasks and clips, partitioned by row."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

import dagster as dg

from pixverse_dagster.blueprint import Blueprint
from pixverse_dagster.clip import PENDING, TaskState
from pixverse_dagster.delivery import Delivery
from pixverse_dagster.events import (
    TABLE_VERSION,
    ended_event,
    judge_unknown,
    problem_events,
    raise_failures,
    task_event,
)
from pixverse_dagster.intake import Reading, read_table, record
from pixverse_dagster.io_managers.base import ClipIOManager
from pixverse_dagster.pipeline import Workshop
from pixverse_dagster.readings import ROWS_SHOWN, problem_table, reading_metadata, report_changes
from pixverse_dagster.reporting import report_clip
from pixverse_dagster.submission import Submission, plan_rows, submit_rows
from pixverse_dagster.tables import ValueTable


def build_prompts_asset(blueprint: Blueprint) -> dg.AssetsDefinition:
    """The unpartitioned asset that reads the table, checks every row, and registers new rows as partitions."""
    key = dg.AssetKey([blueprint.name, "prompts"])

    @dg.asset(
        key=key,
        description="The prompt table as it was last read: every row checked for its model. Costs nothing.",
        group_name=blueprint.group_name,
        kinds={"pixverse"},
        tags={"pixverse/pipeline": blueprint.name},
        ins={"table": dg.AssetIn(blueprint.table_asset)} if blueprint.table_asset else {},
        required_resource_keys=blueprint.resource_keys,
        check_specs=[
            dg.AssetCheckSpec("rows_valid", asset=key, description="Every row of the table can be generated.")
        ],
    )
    def prompts(context: dg.AssetExecutionContext, **upstream: Any) -> dg.MaterializeResult:  # pyright: ignore[reportMissingTypeArgument, reportUnknownParameterType]
        with blueprint.open(context.resources, context.instance, context.run.run_id) as shop:
            given = [ValueTable(value, blueprint.pipeline.table.describe()) for value in upstream.values()]
            reading = read_table(shop, *given)
            change = record(shop, reading)
            plan = plan_rows(shop, reading.rows, reading.problems)
            _update_partitions(blueprint, context.instance, shop, reading)
            report_changes(shop, change.changed, change.new, context.instance, context.log_event)
        for problem in reading.problems[:ROWS_SHOWN]:
            context.log.warning("not generated: %s", problem)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(TABLE_VERSION),
            metadata=reading_metadata(blueprint.pipeline, reading, change, plan),
            check_results=[_rows_valid(reading)],
        )

    return prompts


def _update_partitions(blueprint: Blueprint, instance: dg.DagsterInstance, shop: Workshop, reading: Reading) -> None:
    """Every row is a partition; one that left the table stays one, or goes, as the options have it.

    A row stays while it is in the table, invalid or not, and while its task is under way or unknown: there is
    something to see. What Dagster recorded of a partition that went is there again when it comes back.
    """
    name = blueprint.partitions.name or ""
    known = set(instance.get_dynamic_partitions(name))
    instance.add_dynamic_partitions(name, [row.id for row in reading.rows if row.id not in known])
    if blueprint.keep_removed_partitions:
        return
    kept = {row.id for row in reading.rows} | {problem.row for problem in reading.problems}
    kept |= {task.row for task in shop.ledger.find(blueprint.name, (*PENDING, TaskState.UNKNOWN))}
    for row in sorted(known - kept):
        instance.delete_dynamic_partition(name, row)


def build_clip_assets(blueprint: Blueprint) -> dg.AssetsDefinition:
    """The two assets partitioned by row: `tasks` submits a row once, `clips` is its stored clip."""
    name = blueprint.name
    common: dict[str, Any] = {
        "group_name": blueprint.group_name,
        "partitions_def": blueprint.partitions,
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
    ).with_io_manager_key(blueprint.clips_key)

    @dg.multi_asset(
        name=f"{name}_generate",
        specs=[tasks_spec, clips_spec],
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys=blueprint.resource_keys | {blueprint.clips_key},
    )
    def generate(context: dg.AssetExecutionContext) -> Iterator[Any]:
        selected = context.selected_asset_keys
        keys = list(context.partition_keys)
        with blueprint.open_run(context) as shop:
            if clips_spec.key in selected:
                problems = _deliver(blueprint, context, shop, keys, adopted=tasks_spec.key in selected)
            else:
                problems = submit_only(shop, keys, context)
        raise_failures("failed", list(problems.values()), len(keys))
        # A generator that yields nothing: the events above are per row, Dagster's own would repeat them for every row.
        yield from ()

    return generate


def submit_reported(
    shop: Workshop, keys: Sequence[str], report: Callable[[Any], None], *, adopted: bool = True
) -> Generator[Submission]:
    """Submit rows, each reported as an event of `tasks`; close the iterator to stop.

    Without `adopted`, only what was sent now is: the run that sent the others has told of them.
    """
    with closing(submit_rows(shop, keys)) as submissions:
        for submission in submissions:
            task = submission.task
            if task and not submission.problem and not submission.waits:
                if submission.sent or adopted:
                    report(task_event(task, sent=submission.sent))
            elif task and task.state is not TaskState.CLAIMED:
                report(ended_event(task))
            yield submission


def submit_only(shop: Workshop, keys: Sequence[str], context: Any) -> dict[str, str]:
    """Submit rows and leave the rest to the poll sensor; returns what is wrong, by row."""
    problems: dict[str, str] = {}
    never_sent: dict[str, str] = {}
    waits: list[str] = []
    for submission in submit_reported(shop, keys, context.log_event):
        if submission.problem:
            problems[submission.row] = submission.problem
            if submission.task is None:
                never_sent[submission.row] = submission.problem
        waits += [submission.waits] if submission.waits else []
    for event in problem_events(shop.pipeline.name, "tasks", never_sent):
        context.log_event(event)
    if waits:
        context.log.info("%d of %d rows wait for their turn; the sensor goes on: %s", len(waits), len(keys), waits[0])
    report_unknown(shop, context.log_event)
    return problems


def report_unknown(shop: Workshop, report: Callable[[Any], None]) -> None:
    """Evaluate the check on unknown outcomes as they are now."""
    name = shop.pipeline.name
    report(judge_unknown(name, shop.ledger.undecided(name)))


def _deliver(
    blueprint: Blueprint, context: Any, shop: Workshop, keys: Sequence[str], *, adopted: bool
) -> dict[str, str]:
    """Submit rows and store their clips as the tasks finish; returns what is wrong, by row."""
    io_manager: ClipIOManager = getattr(context.resources, blueprint.clips_key)
    store = io_manager.get_store()
    delivery = Delivery(shop, store, lambda rows: submit_reported(shop, rows, context.log_event, adopted=adopted))
    withheld: dict[str, str] = {}
    with closing(delivery.run(keys, blueprint.deadline_seconds)) as found:
        for collected in found:
            if collected.manifest is not None:
                if problem := report_clip(context, shop, store, collected):
                    withheld[collected.task.row] = problem
            else:
                context.log_event(ended_event(collected.task, collected.problem))
    report_unknown(shop, context.log_event)
    for event in problem_events(blueprint.name, "clips", delivery.problems):
        context.log_event(event)
    return delivery.problems | withheld


def _rows_valid(reading: Reading) -> dg.AssetCheckResult:
    bad = len({problem.line for problem in reading.problems})
    return dg.AssetCheckResult(
        check_name="rows_valid",
        passed=not reading.problems,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{bad} {'row' if bad == 1 else 'rows'} cannot be generated; the first: {reading.problems[0]}"
        if bad
        else "every row can be generated",
        metadata={"pixverse/invalid_rows": bad}
        | ({"pixverse/problems": problem_table(reading.problems)} if bad else {}),
    )
