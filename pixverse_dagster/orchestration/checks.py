"""Asset checks: what a person should look at, with the reason and what to do."""

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dagster as dg

from pixverse_dagster.core.errors import StoreConflict
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.task import Task
from pixverse_dagster.orchestration.events.clips import check_event
from pixverse_dagster.orchestration.events.metadata import CLIP_CHECK
from pixverse_dagster.orchestration.events.tasks import UNKNOWN_CHECK, judge_unknown
from pixverse_dagster.orchestration.io_managers.base import ClipIOManager
from pixverse_dagster.orchestration.resources import LedgerResource
from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.policy.quality import CheckRules, Finding
from pixverse_dagster.stages.check import check_clip
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.reading import read_manifest

_WORKERS = 4


def build_unknown_check(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    """The check on `tasks` that fails while the outcome of a paid submit is unknown. Every run and tick reports it."""

    @dg.asset_check(
        asset=dg.AssetKey([spec.name, "tasks"]),
        name=UNKNOWN_CHECK,
        description="Every paid submit has a known outcome. Fails while somebody has to look at a provider's console.",
        required_resource_keys={spec.ledger_key},
    )
    def outcomes_known(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        resource: LedgerResource = getattr(context.resources, spec.ledger_key)
        ledger = resource.get_ledger(context.instance)
        commands = spec.commands(context.instance, context.run)
        judged = judge_unknown(spec.name, ledger.tasks.unresolved(spec.name), commands)
        return dg.AssetCheckResult(passed=judged.passed, description=judged.description, metadata=judged.metadata)

    return outcomes_known


def build_clip_check(spec: PipelineSpec) -> list[dg.AssetChecksDefinition]:
    """The check on `clips`, with a result of its own for every row; none if the rules are not enabled.

    The run that stores a clip evaluates it. Executed by itself, it reads the stored clips again, of a partition, of a
    range, or of all rows, and compares them anew: with the manifest's digest, and with the rules as they are now.
    """
    rules = spec.pipeline.options.checks
    if not rules.enabled:
        return []
    with warnings.catch_warnings():
        # A check with partitions is a preview in Dagster 1.13.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        check_spec = dg.AssetCheckSpec(
            CLIP_CHECK,
            asset=dg.AssetKey([spec.name, "clips"]),
            partitions_def=spec.partitions,
            blocking=rules.blocking,
            description="The stored clip is intact, decodes from first to last frame, is neither blank nor frozen, and "
            "its duration, size, sound and number are what the row asked for.",
        )

    # `can_subset` makes its output optional: the step reports each row itself, which an output could not.
    @dg.multi_asset_check(
        name=f"{spec.name}_check_clips",
        specs=[check_spec],
        can_subset=True,
        required_resource_keys={spec.ledger_key, spec.clips_key},
    )
    def check_clips(context: dg.AssetCheckExecutionContext) -> Iterator[Any]:
        partitioned = context.has_partition_key or context.has_partition_key_range
        resource: LedgerResource = getattr(context.resources, spec.ledger_key)
        ledger = resource.get_ledger(context.instance)
        rows = list(context.partition_keys) if partitioned else list(ledger.rows.find(spec.name))
        log: Any = context.op_execution_context
        io_manager: ClipIOManager = getattr(context.resources, spec.clips_key)
        store = io_manager.get_store()
        tasks = ledger.tasks.newest_stored(spec.name, rows)
        failed = 0
        for row, findings in _check_rows(store, rows if partitioned else list(tasks), tasks, rules):
            event = check_event(context.instance, spec.name, row, findings, rules)
            log.log_event(event)
            failed += not event.passed
        if not partitioned:
            log.log_event(_overall(spec.name, failed, len(tasks)))
        yield from ()

    return [check_clips]


def _check_rows(
    store: ClipStore, rows: Sequence[str], tasks: dict[str, Task], rules: CheckRules
) -> Iterator[tuple[str, Sequence[Finding]]]:
    def check(row: str) -> Sequence[Finding]:
        return _check_row(store, tasks.get(row), rules)

    with ThreadPoolExecutor(_WORKERS) as pool:
        yield from zip(rows, pool.map(check, rows), strict=True)


def _check_row(store: ClipStore, task: Task | None, rules: CheckRules) -> Sequence[Finding]:
    if task is None:
        return [Finding("outputs", passed=False, asked="a stored clip", came="none yet")]
    try:
        manifest = read_manifest(store, task_folder(task).manifest)
    except (FileNotFoundError, StoreConflict) as error:
        return [Finding("intact", passed=False, asked="a manifest", came=f"{type(error).__name__}: {error}")]
    return check_clip(store, manifest, task.request, rules)


def _overall(pipeline: str, failed: int, clips: int) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey([pipeline, "clips"]),
        check_name=CLIP_CHECK,
        passed=not failed,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{failed} of {clips} clips fail; see their partitions",
        metadata={"pixverse/failed_clips": failed, "pixverse/clips": clips},
    )
