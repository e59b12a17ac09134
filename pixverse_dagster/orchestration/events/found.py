"""What Dagster is told of clips that were found in the store and that it has no event of: a lost home comes back."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import dagster as dg

from pixverse_dagster.core.manifest import ClipManifest
from pixverse_dagster.core.task import Task
from pixverse_dagster.orchestration.events.clips import check_event, clip_event
from pixverse_dagster.orchestration.events.log import TaskEvents, known_versions
from pixverse_dagster.orchestration.events.tasks import task_event
from pixverse_dagster.stages.check import check_clip
from pixverse_dagster.stages.collect import Collected
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.reading import read_bytes


def report_found(
    instance: dg.DagsterInstance,
    partitions: str,
    session: Session,
    store: ClipStore,
    clips: Iterable[tuple[Task, ClipManifest]],
) -> int:
    """Report each of these stored clips that Dagster has no event of, the one of the row's present request last.

    Rows become partitions, those of the table in any case. Where a check may block, it is made first, and a clip that
    fails it is not materialised. Repeatable; returns how many clips were reported.
    """
    current = session.ledger.tasks.current(session.pipeline.name, worlds=session.worlds)
    by_row: dict[str, list[tuple[Task, ClipManifest]]] = {}
    for task, manifest in clips:
        if not session.counts(task):
            continue  # made in the other world
        by_row.setdefault(task.row, []).append((task, manifest))
    known, rows = set(instance.get_dynamic_partitions(partitions)), session.ledger.rows.find(session.pipeline.name)
    wanted = [*rows, *(by_row.keys() - rows.keys() if session.options.keep_removed_partitions else ())]
    instance.add_dynamic_partitions(partitions, [row for row in wanted if row not in known])
    reported = 0
    for row, of_row in by_row.items():
        answer = current.get(row)
        of_row.sort(key=lambda one: (answer is not None and one[0].id == answer.id, one[0].stored_at or 0.0))
        there = known_versions(instance, dg.AssetKey([session.pipeline.name, "clips"]), row)
        # Whatever is reported last is what Dagster takes for the row's clip.
        newest = of_row[-1][1].outputs[0].sha256
        missing = [one for one in of_row if one[1].outputs[0].sha256 not in there]
        if there[:1] != [newest] and of_row[-1] not in missing:
            missing.append(of_row[-1])
        for task, manifest in missing:
            _report(instance, session, store, task, manifest)
            reported += 1
    return reported


def report_clips_again(
    instance: dg.DagsterInstance, session: Session, store: ClipStore, clips: Iterable[tuple[Task, ClipManifest]]
) -> int:
    """Report all stored clips of one row, the one of its present request last, which Dagster then takes for the row's.

    Returns how many there were. What Dagster had before stays in its log.
    """
    clips = list(clips)
    answers = session.ledger.tasks.newest_stored(session.pipeline.name, {task.row for task, _ in clips}, session.worlds)
    last = {task.id for task in answers.values()}
    for task, manifest in sorted(clips, key=lambda one: (one[0].id in last, one[0].stored_at or 0.0)):
        _report(instance, session, store, task, manifest)
    return len(clips)


def report_check(instance: dg.DagsterInstance, judged: dg.AssetCheckEvaluation) -> None:
    """Report a check's result outside of any run.

    Under an id of its own: of the runless results of a partition, Dagster 1.13 keeps one, and refuses the next.
    """
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION.value
    event: Any = dg.DagsterEvent(kind, job_name="", event_specific_data=judged)
    instance.report_dagster_event(event, run_id=str(uuid.uuid4()))


def report_task_again(instance: dg.DagsterInstance, task: Task) -> None:
    """Report a task that Dagster has no event of."""
    instance.report_runless_asset_event(task_event(task, sent=False))


def _report(
    instance: dg.DagsterInstance, session: Session, store: ClipStore, task: Task, manifest: ClipManifest
) -> None:
    instance.report_runless_asset_event(task_event(task, sent=False))
    rules = session.options.checks
    checked = check_clip(store, manifest, task.request, rules) if rules.blocking else None
    if not (checked and checked.failed):
        poster = b""
        with suppress(Exception):  # a clip is worth telling of without its picture
            poster = read_bytes(store, manifest.outputs[0].poster_key)
        made_from = TaskEvents(instance, task.pipeline).find(task)
        collected = Collected(task, manifest, poster)
        instance.report_runless_asset_event(clip_event(collected, store, session.clock(), session.options, made_from))
    if checked and checked.findings:
        report_check(instance, check_event(instance, task.pipeline, task.row, checked.findings, rules))
        if checked.failed:
            session.ledger.checks.record(task, checked.findings, session.clock())
