"""Asset checks: what a person should look at, with the reason and what to do."""

import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dagster as dg

from pixverse_dagster.core.errors import StoreConflict, redacted_errors
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.task import Task
from pixverse_dagster.orchestration.events.clips import check_event, unchecked_event
from pixverse_dagster.orchestration.events.metadata import CLIP_CHECK
from pixverse_dagster.orchestration.events.tasks import UNKNOWN_CHECK, judge_outcomes
from pixverse_dagster.orchestration.io_managers.base import ClipIOManager
from pixverse_dagster.orchestration.resources import LedgerResource
from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.policy.quality import CheckRules, Finding
from pixverse_dagster.stages.check import Checked, check_clip, describe_read_error
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.reading import read_manifest

_WORKERS = 4


def build_unknown_check(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    """The check on `tasks` that fails while a person has to look at a paid submit. Runs and ticks report it."""

    @dg.asset_check(
        asset=dg.AssetKey([spec.name, "tasks"]),
        name=UNKNOWN_CHECK,
        description="Every paid submit has a known outcome and comes on. Fails while somebody has to look at a "
        "provider's console, or at what keeps a finished clip from being stored.",
        required_resource_keys={spec.ledger_key},
    )
    def outcomes_known(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        resource: LedgerResource = getattr(context.resources, spec.ledger_key)
        ledger = resource.get_ledger(context.instance)
        commands = spec.commands(context.instance, context.run)
        with redacted_errors():
            judged = judge_outcomes(ledger, spec.name, commands)
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
        with redacted_errors():
            rows = list(context.partition_keys) if partitioned else list(ledger.rows.find(spec.name))
            log: Any = context.op_execution_context
            io_manager: ClipIOManager = getattr(context.resources, spec.clips_key)
            store = io_manager.get_store()
            tasks = ledger.tasks.newest_stored(spec.name, rows)
            failed = not_made = 0
            for row, checked in _check_rows(store, rows if partitioned else list(tasks), tasks, rules):
                if checked.undecided:
                    log.log_event(unchecked_event(spec.name, row, checked.not_made))
                else:
                    log.log_event(check_event(context.instance, spec.name, row, checked.findings, rules))
                    if row in tasks:
                        ledger.checks.record(tasks[row], checked.findings, time.time())
                failed += bool(checked.failed)
                not_made += checked.undecided
            if not_made:
                log.log.warning(
                    "%d of %d checks could not be made; execute them again, which is free", not_made, len(rows)
                )
            if not partitioned and (not_made < len(tasks) or not tasks):
                log.log_event(_overall(spec.name, failed, not_made, len(tasks)))
        yield from ()

    return [check_clips]


def _check_rows(
    store: ClipStore, rows: Sequence[str], tasks: dict[str, Task], rules: CheckRules
) -> Iterator[tuple[str, Checked]]:
    def check(row: str) -> Checked:
        return _check_row(store, tasks.get(row), rules)

    with ThreadPoolExecutor(_WORKERS) as pool:
        yield from zip(rows, pool.map(check, rows), strict=True)


def _check_row(store: ClipStore, task: Task | None, rules: CheckRules) -> Checked:
    if task is None:
        return Checked((Finding("outputs", passed=False, asked="a stored clip", came="none yet"),))
    try:
        manifest = read_manifest(store, task_folder(task).manifest)
    except (FileNotFoundError, StoreConflict) as error:
        return Checked((Finding("intact", passed=False, asked="a manifest", came=describe_read_error(error)),))
    except Exception as error:  # noqa: BLE001 - a store's own errors have no common base, and none is about the clip
        return Checked(not_made=f"the manifest could not be read: {describe_read_error(error)}")
    return check_clip(store, manifest, task.request, rules, task.urls)


def _overall(pipeline: str, failed: int, not_made: int, clips: int) -> dg.AssetCheckEvaluation:
    unmade = f", and {not_made} could not be checked" if not_made else ""
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey([pipeline, "clips"]),
        check_name=CLIP_CHECK,
        passed=not failed,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{failed} of {clips} clips fail{unmade}; see their partitions",
        metadata={"pixverse/failed_clips": failed, "pixverse/unchecked_clips": not_made, "pixverse/clips": clips},
    )
