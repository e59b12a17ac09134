"""Rows without a clip that Dagster shows as failed.

Dagster shows a partition as failed exactly where the last of its planned and made materialisations is a planned one,
and the run that planned it failed. So a run that ends in failure plans the rows that have no clip: one event for each.
A later materialisation makes the row green again. A row that has a clip is never planned: it would turn red.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import dagster as dg

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.task import Task
from pixverse_dagster.orchestration.events.clips import no_clip_event
from pixverse_dagster.orchestration.events.log import reported_version
from pixverse_dagster.orchestration.internal import internal
from pixverse_dagster.policy.advice import describe_end
from pixverse_dagster.reports.ended import find_without_clip
from pixverse_dagster.stages.session import Session
from pixverse_dagster.transport.logs import get_logger

ROWS_AT_ONCE = 500
"""How many rows one run tells of: two events each, of 5 to 12 ms."""
_NEVER_SENT = frozenset({TaskState.UNKNOWN, TaskState.REFUSED})
"""Such a row has no task at the provider that anybody knows of: `tasks` is as empty as `clips`."""
_log = get_logger()


def report_without_clip(
    context: Any, session: Session, rows: Sequence[str], planned: Iterable[dg.AssetKey] = ()
) -> dict[str, str]:
    """Tell of the rows that ended without a clip, in a run that then fails; returns what is wrong with each.

    The row's check on `clips` says why. `planned` are assets whose rows Dagster planned itself with the run.
    """
    ended = find_without_clip(session.ledger, session.pipeline.name, rows, session.worlds)
    words = {row: describe_end(task, session.commands) for row, task in ended.items()}
    first = dict(islice(ended.items(), ROWS_AT_ONCE))
    if session.options.checks.enabled:
        for row, task in first.items():
            context.log_event(no_clip_event(task, words[row]))
    name = session.pipeline.name
    wanted = {
        dg.AssetKey([name, "clips"]): list(first),
        dg.AssetKey([name, "tasks"]): _without_task(context.instance, name, first),
    }
    for key, found in wanted.items():
        if key not in planned:
            _plan(context, key, found)
    return words


def _without_task(instance: dg.DagsterInstance, pipeline: str, ended: Mapping[str, Task]) -> list[str]:
    """The rows that never had a task that Dagster was told of."""
    key = dg.AssetKey([pipeline, "tasks"])
    unsent = [row for row, task in ended.items() if task.state in _NEVER_SENT]
    return [row for row in unsent if not reported_version(instance, key, row)]


def _plan(context: Any, key: dg.AssetKey, rows: Sequence[str]) -> None:
    """Record that the run was to make these partitions. Where Dagster has no such names, they stay grey."""
    data, report = internal("AssetMaterializationPlannedData"), getattr(context.instance, "report_dagster_event", None)
    if data is None or report is None:
        return
    for row in rows:
        event = dg.DagsterEvent(
            event_type_value="ASSET_MATERIALIZATION_PLANNED",
            job_name=context.job_name,
            message=f"row {row!r} was to become a part of {key.to_user_string()}, and has none",
            event_specific_data=data(key, partition=row),
        )
        report(event, context.run.run_id, logging.DEBUG)


def red_rows(instance: dg.DagsterInstance, key: dg.AssetKey) -> set[str]:
    """The partitions that Dagster shows as failed, or will once a run has failed; none where it cannot tell."""
    find: Any = getattr(
        instance.event_log_storage, "get_latest_asset_partition_materialization_attempts_without_materializations", None
    )
    if find is None:
        _log.warning("this release of Dagster does not tell which partitions failed; going on without it")
        return set()
    attempts: Mapping[str, tuple[str, int]] = find(key)
    if not attempts:
        return set()
    runs = instance.get_runs(dg.RunsFilter(run_ids=sorted({run_id for run_id, _ in attempts.values()})))
    failed = {run.run_id for run in runs if run.status is dg.DagsterRunStatus.FAILURE or not run.is_finished}
    return {row for row, (run_id, _) in attempts.items() if run_id in failed}
