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
from pixverse_dagster.ledger.ledger import Ledger
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


def check_specs(spec: PipelineSpec) -> list[dg.AssetCheckSpec]:
    """The checks on `tasks` and `clips`, which are the generating step's own.

    As steps of their own they would be skipped in every run that makes clips, with a line of noise each: such a run
    reports what they say itself.

    That on `tasks` fails while a person has to look at a paid submit; runs and ticks report it. That on `clips` has a
    result of its own for every row; it is left out if the rules are not enabled.
    """
    rules = spec.pipeline.options.checks
    known = dg.AssetCheckSpec(
        UNKNOWN_CHECK,
        asset=dg.AssetKey([spec.name, "tasks"]),
        description="Every paid submit has a known outcome and comes on. Fails while somebody has to look at a "
        "provider's console, or at what keeps a finished clip from being stored.",
    )
    if not rules.enabled:
        return [known]
    with warnings.catch_warnings():
        # A check with partitions is a preview in Dagster 1.13.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        playable = dg.AssetCheckSpec(
            CLIP_CHECK,
            asset=dg.AssetKey([spec.name, "clips"]),
            partitions_def=spec.partitions,
            blocking=rules.blocking,
            description="The stored clip is intact, decodes from first to last frame, is neither blank nor frozen, and "
            "its duration, size, sound and number are what the row asked for.",
        )
    return [known, playable]


def run_checks(spec: PipelineSpec, context: Any) -> None:
    """Make the checks that a run selects without their assets. It opens no session: it cannot spend anything.

    Clips are read again, of a partition, of a range, or of all rows, and compared anew: with the manifest's digest,
    and with the rules as they are now.
    """
    chosen = {key.name for key in context.selected_asset_check_keys}
    resource: LedgerResource = getattr(context.resources, spec.ledger_key)
    ledger = resource.get_ledger(context.instance)
    with redacted_errors():
        if UNKNOWN_CHECK in chosen:
            context.log_event(judge_outcomes(ledger, spec.name, spec.commands(context.instance, context.run)))
        if CLIP_CHECK in chosen:
            _check_clips(spec, context, ledger)


def _check_clips(spec: PipelineSpec, context: Any, ledger: Ledger) -> None:
    rules = spec.pipeline.options.checks
    partitioned = context.has_partition_key or context.has_partition_key_range
    rows = list(context.partition_keys) if partitioned else list(ledger.rows.find(spec.name))
    io_manager: ClipIOManager = getattr(context.resources, spec.clips_key)
    store = io_manager.get_store()
    tasks = ledger.tasks.newest_stored(spec.name, rows)
    failed = not_made = 0
    for row, checked in _check_rows(store, rows if partitioned else list(tasks), tasks, rules):
        if checked.undecided:
            context.log_event(unchecked_event(spec.name, row, checked.not_made))
        else:
            context.log_event(check_event(context.instance, spec.name, row, checked.findings, rules))
            if row in tasks:
                ledger.checks.record(tasks[row], checked.findings, time.time())
        failed += bool(checked.failed)
        not_made += checked.undecided
    if not_made:
        context.log.warning("%d of %d checks could not be made; execute them again, which is free", not_made, len(rows))
    if not partitioned and (not_made < len(tasks) or not tasks):
        context.log_event(_overall(spec.name, failed, not_made, len(tasks)))


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
