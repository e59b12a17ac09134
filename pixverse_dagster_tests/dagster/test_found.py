"""What Dagster is told of clips that were found in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from pixverse_dagster.core.manifest import ClipManifest
from pixverse_dagster.core.row import Row, retake
from pixverse_dagster.core.task import Task
from pixverse_dagster.orchestration.events.found import report_found
from pixverse_dagster.policy.quality import CheckRules
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster_tests.harness.factories import NAME, NOW, make_row, moved, put_row, session_in
from pixverse_dagster_tests.harness.manifests import manifest_for, task_of

ROWS = "films_rows"
KEY = dg.AssetKey([NAME, "clips"])
Clip = tuple[Task, ClipManifest]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with session_in(tmp_path, "http://127.0.0.1:9") as session:
        yield session


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


@pytest.fixture
def report(session: Session, instance: dg.DagsterInstance, tmp_path: Path) -> Callable[..., int]:
    """A function that reports these clips with these rules."""

    def report(*clips: Clip, rules: CheckRules | None = None, keep: bool = True) -> int:
        options = {"checks": rules or session.options.checks, "keep_removed_partitions": keep}
        pipeline = replace(session.pipeline, options=session.options.model_copy(update=options))
        return report_found(instance, ROWS, replace(session, pipeline=pipeline), LocalStore(tmp_path), clips)

    return report


def found(session: Session, row: Row, sha256: str, stored_at: float = NOW, **values: str) -> Clip:
    """A stored clip of this row that the ledger took in, with these bytes."""
    whose = {"account": session.clients["runware"].account, **values}
    manifest = manifest_for(row, **whose)
    manifest = manifest.model_copy(update={"outputs": (manifest.outputs[0].model_copy(update={"sha256": sha256}),)})
    task = task_of(row, id=f"{row.id}-{row.take}", state="stored", stored_at=stored_at, **whose)
    return moved(session.ledger.restore(task)), manifest


def versions(instance: dg.DagsterInstance, row: str) -> list[str]:
    """The data versions of a row's clips, the newest first."""
    records = instance.fetch_materializations(dg.AssetRecordsFilter(KEY, asset_partitions=[row]), limit=10).records
    return [(record.asset_materialization.tags or {})["dagster/data_version"]  # pyright: ignore[reportOptionalMemberAccess]
            for record in records]  # fmt: skip


def test_every_clip_is_told_of_once_and_the_present_one_last(
    session: Session, instance: dg.DagsterInstance, report: Callable[..., int]
):
    """Also where the clip of another take was stored later; its row becomes a partition, with its task."""
    row = put_row(session.ledger, make_row("kite"))
    clips = found(session, row, "a" * 64, NOW), found(session, retake(row, 2), "b" * 64, NOW + 9)
    assert (report(*clips), report(*clips)) == (2, 0)
    assert versions(instance, "kite") == ["a" * 64, "b" * 64]
    assert instance.get_dynamic_partitions(ROWS) == ["kite"]
    assert instance.get_materialized_partitions(dg.AssetKey([NAME, "tasks"])) == {"kite"}
    put_row(session.ledger, retake(row, 2))
    assert (report(*clips), report(*clips)) == (1, 0)
    assert versions(instance, "kite")[0] == "b" * 64


@pytest.mark.parametrize("keep", [True, False])
def test_a_row_that_left_the_table_is_a_partition_where_removed_ones_are_kept(
    session: Session, instance: dg.DagsterInstance, report: Callable[..., int], *, keep: bool
):
    """As with a reading of the table."""
    put_row(session.ledger, make_row("dog"))
    assert report(found(session, make_row("kite"), "a" * 64), keep=keep) == 1
    assert instance.get_dynamic_partitions(ROWS) == ["dog", *["kite"] * keep]


def test_a_clip_that_fails_a_blocking_check_starts_nothing(
    session: Session, instance: dg.DagsterInstance, report: Callable[..., int]
):
    """It is withheld as when it was stored: the check says what is wrong, and there is no materialisation."""
    put_row(session.ledger, make_row("kite"))
    report(found(session, make_row("kite"), "a" * 64), rules=CheckRules(blocking=True))
    assert versions(instance, "kite") == []
    checks = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(KEY, "playable_as_asked"), limit=5
    )
    assert [check.status.value for check in checks] == ["FAILED"]


def test_a_clip_that_is_withheld_is_judged_as_often_as_it_is_told_of(
    session: Session, instance: dg.DagsterInstance, report: Callable[..., int]
):
    """As with every `ledger rebuild`: a second result for the same partition is no error, and the ledger has it too."""
    put_row(session.ledger, make_row("kite"))
    clip = found(session, make_row("kite"), "a" * 64)
    for _ in range(2):
        assert report(clip, rules=CheckRules(blocking=True)) == 1
    assert [one.detail for one in session.ledger.checks.failed(NAME)]


def test_what_was_made_in_the_other_world_is_not_told_of(
    session: Session, instance: dg.DagsterInstance, report: Callable[..., int]
):
    """A real clip is none of a pipeline that works with a simulator, and the other way round."""
    put_row(session.ledger, make_row("kite"))
    assert report(found(session, make_row("kite"), "a" * 64, world="live", account="runware/live")) == 0
    assert versions(instance, "kite") == []
