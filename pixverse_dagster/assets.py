"""The three assets of a pipeline: prompts, and tasks and clips, partitioned by row."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from pixverse_dagster.clip import TaskState
from pixverse_dagster.collection import Collected
from pixverse_dagster.delivery import Delivery
from pixverse_dagster.download import Downloader, DownloadRules
from pixverse_dagster.events import clip_event, ended_event, raise_failures, task_event
from pixverse_dagster.intake import Reading, read_table, record
from pixverse_dagster.io_managers.base import ClipIOManager
from pixverse_dagster.ledger import SnapshotChange, Task
from pixverse_dagster.pipeline import Pipeline, Workshop
from pixverse_dagster.prompts import Problem
from pixverse_dagster.resources import LedgerResource, ProviderResource
from pixverse_dagster.submission import submit_rows

LEDGER_KEY = "pixverse_ledger"
CLIPS_KEY = "pixverse_clips"
_ROWS_SHOWN = 100


@dataclass(frozen=True)
class Blueprint:
    """A pipeline as Dagster runs it: its configuration, its partitions, and the resources it asks for by key."""

    pipeline: Pipeline
    providers: tuple[str, ...]
    download: DownloadRules = field(default_factory=DownloadRules)
    deadline_seconds: float = 1800
    group_name: str | None = None

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.pipeline.name

    @property
    def partitions(self) -> dg.DynamicPartitionsDefinition:
        """One partition per row."""
        return dg.DynamicPartitionsDefinition(name=f"{self.name}_rows")

    @property
    def resource_keys(self) -> set[str]:
        """What an op or a sensor of this pipeline needs."""
        return {LEDGER_KEY, *self.providers}

    def open(self, resources: Any, instance: dg.DagsterInstance, run_id: str) -> Workshop:
        """A workshop on this pipeline; close it after use."""
        ledger: LedgerResource = getattr(resources, LEDGER_KEY)
        clients: Mapping[str, ProviderResource] = {name: getattr(resources, name) for name in self.providers}
        return Workshop(
            pipeline=self.pipeline,
            ledger=ledger.get_ledger(instance),
            accounts={name: resource.get_client() for name, resource in clients.items()},
            downloader=Downloader(self.download),
            run_id=run_id,
            clock=time.time,
        )


def build_prompts_asset(blueprint: Blueprint) -> dg.AssetsDefinition:
    """The unpartitioned asset that reads the table, checks every row, and registers new rows as partitions."""
    key = dg.AssetKey([blueprint.name, "prompts"])

    @dg.asset(
        key=key,
        description="The prompt table as it was last read: every row checked for its model. Costs nothing.",
        group_name=blueprint.group_name,
        kinds={"pixverse"},
        required_resource_keys=blueprint.resource_keys,
        check_specs=[
            dg.AssetCheckSpec("rows_valid", asset=key, description="Every row of the table can be generated.")
        ],
    )
    def prompts(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # pyright: ignore[reportMissingTypeArgument, reportUnknownParameterType]
        with blueprint.open(context.resources, context.instance, context.run_id) as shop:
            reading = read_table(shop)
            change = record(shop, reading)
        keys = [row.id for row in reading.rows]
        known = set(context.instance.get_dynamic_partitions(blueprint.partitions.name or ""))
        context.instance.add_dynamic_partitions(
            blueprint.partitions.name or "", [row for row in keys if row not in known]
        )
        for problem in reading.problems[:_ROWS_SHOWN]:
            context.log.warning("not generated: %s", problem)
        return dg.MaterializeResult(
            metadata=_reading_metadata(blueprint, reading, change), check_results=[_rows_valid(reading)]
        )

    return prompts


def build_clip_assets(blueprint: Blueprint) -> dg.AssetsDefinition:
    """The two assets partitioned by row: `tasks` submits a row once, `clips` is its stored clip."""
    name = blueprint.name
    common: dict[str, Any] = {
        "group_name": blueprint.group_name,
        "partitions_def": blueprint.partitions,
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
        "task, or submits it, and waits.",
        kinds={"pixverse", "mp4"},
        **common,
    ).with_io_manager_key(CLIPS_KEY)

    @dg.multi_asset(
        name=f"{name}_generate",
        specs=[tasks_spec, clips_spec],
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys=blueprint.resource_keys | {CLIPS_KEY},
    )
    def generate(context: dg.AssetExecutionContext) -> Iterator[Any]:
        selected = context.selected_asset_keys
        keys = list(context.partition_keys)
        report = context.log_event if tasks_spec.key in selected else None
        with blueprint.open(context.resources, context.instance, context.run_id) as shop:
            submissions = submit(shop, keys, report)
            if clips_spec.key in selected:
                problems = _deliver(blueprint, context, shop, submissions)
            else:
                problems = [problem for _, problem in submissions if problem]
        raise_failures("failed", problems, len(keys))
        # A generator that yields nothing: the events above are per row, Dagster's own would repeat them for every row.
        yield from ()

    return generate


def submit(shop: Workshop, keys: list[str], report: Callable[[Any], None] | None) -> Iterator[tuple[Task | None, str]]:
    """Submit rows and report each as an event; yields its task and what is wrong with it, if anything."""
    for submission in submit_rows(shop, keys):
        if report and submission.task and not submission.problem:
            report(task_event(submission, submission.task))
        elif report and submission.task and submission.task.state is not TaskState.CLAIMED:
            report(ended_event(submission.task))
        yield submission.task, submission.problem


def _deliver(
    blueprint: Blueprint, context: Any, shop: Workshop, submissions: Iterator[tuple[Task | None, str]]
) -> list[str]:
    """Store clips as their tasks finish, some while others are still being submitted; returns what went wrong."""
    io_manager: ClipIOManager = getattr(context.resources, CLIPS_KEY)
    store = io_manager.get_store()
    delivery = Delivery(shop, store)
    problems: list[str] = []

    def report(found: Iterator[Collected]) -> None:
        for collected in found:
            if collected.manifest is None:
                problems.append(collected.problem)
            else:
                context.log_event(clip_event(collected, store, shop.clock()))

    for task, problem in submissions:
        # An open submit is waited for like any other task; a run that only submits would report it.
        if task and (task.settling or not problem):
            delivery.add(task)
        else:
            problems.append(problem)
        report(delivery.look())
    report(delivery.finish(blueprint.deadline_seconds))
    return problems


def _reading_metadata(blueprint: Blueprint, reading: Reading, change: SnapshotChange) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "pixverse/table": blueprint.pipeline.table.describe(),
        "pixverse/rows": len(reading.rows),
        "pixverse/new_rows": len(change.new),
        "pixverse/changed_rows": len(change.changed),
        "pixverse/unchanged_rows": change.unchanged,
        "pixverse/removed_rows": len(change.removed),
        "pixverse/invalid_rows": len({problem.line for problem in reading.problems}),
        "pixverse/models": ", ".join(sorted({row.request.MODEL for row in reading.rows})),
    }
    if reading.problems:
        metadata["pixverse/problems"] = _problem_table(reading.problems)
    if reading.cautions:
        metadata["pixverse/cautions"] = _problem_table(reading.cautions)
    return metadata


def _problem_table(problems: tuple[Problem, ...]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord({"line": p.line, "row": p.row, "column": p.column, "message": p.message})
            for p in problems[:_ROWS_SHOWN]
        ],
        schema=dg.TableSchema(
            columns=[
                dg.TableColumn("line", "int"),
                dg.TableColumn("row", "string"),
                dg.TableColumn("column", "string"),
                dg.TableColumn("message", "string"),
            ]
        ),
    )


def _rows_valid(reading: Reading) -> dg.AssetCheckResult:
    bad = len({problem.line for problem in reading.problems})
    return dg.AssetCheckResult(
        check_name="rows_valid",
        passed=not reading.problems,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{bad} rows cannot be generated; the first: {reading.problems[0]}" if bad else "",
        metadata={"pixverse/invalid_rows": bad},
    )
