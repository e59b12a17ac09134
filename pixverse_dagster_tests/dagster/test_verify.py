"""What was done to Dagster, the ledger or the store behind the pipeline's back is named, and what is free is mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from pixverse_dagster import build_clips_definitions
from pixverse_dagster.cli.project import Project
from pixverse_dagster.cli.repair import repair
from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.layout import clip_folder
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger import schema
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.orchestration.events.clips import check_event
from pixverse_dagster.orchestration.events.found import report_found
from pixverse_dagster.orchestration.events.reported import ReportedRows
from pixverse_dagster.orchestration.io_managers.local import LocalClipIOManager
from pixverse_dagster.orchestration.resources import RunwareResource
from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.policy.quality import Finding
from pixverse_dagster.reports.verify import Verification, kinds, verify
from pixverse_dagster.reports.verify.findings import Kind
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.stages.options import PipelineOptions
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.s3 import S3Store
from pixverse_dagster_tests.harness.factories import NAME, make_row, session_in, succeeded_tasks
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.servers import running_simulator

KITE, BOAT = make_row("kite"), make_row("boat")
ROWS = f"{NAME}_rows"
CLIPS, TASKS = dg.AssetKey([NAME, "clips"]), dg.AssetKey([NAME, "tasks"])


@dataclass
class Home:
    """A pipeline with two stored rows, as its ledger, its store and Dagster have it."""

    session: Session
    store: ClipStore
    folder: Path
    instance: dg.DagsterInstance
    engine: sa.Engine
    bucket: tuple[Any, str] | None = None

    @property
    def project(self) -> Any:
        """What a command knows of the pipeline."""
        spec = PipelineSpec(self.session.pipeline, ("runware",))
        return _Project(spec, dg.Definitions(), SimpleNamespace(), self.instance, CommandLine(), home=self)

    def verify(self, *, deep: bool = False) -> Verification:
        """Everything compared."""
        side = ReportedRows(self.instance, self.project.spec, NAME)
        return verify(self.session.ledger, self.store, NAME, deep=deep, dagster=side)

    def named(self) -> set[tuple[str, str]]:
        """The rows and kinds of what is found."""
        return {(one.row, one.kind.name) for one in self.verify(deep=True).disagreements}

    def task(self, row: str = "kite") -> Task:
        return self.session.ledger.tasks.current(NAME, [row])[row]

    def delete(self, name: str) -> None:
        """Delete a file of the kite's clip, as somebody would with the store's own means."""
        key = f"{clip_folder(NAME, 'kite', KITE.digest, 1)}/{name}"
        if self.bucket:
            client, bucket = self.bucket
            client.delete_object(Bucket=bucket, Key=key)
        else:
            (self.folder / "store" / key).unlink()

    def change(self, row: str = "kite", **values: Any) -> None:
        """Change the ledger's task of a row behind its back."""
        with self.engine.begin() as connection:
            connection.execute(sa.update(schema.tasks).where(schema.tasks.c.row == row).values(values))


@dataclass(frozen=True)
class _Project(Project):
    home: Any = None

    @property
    def store(self) -> ClipStore:
        return self.home.store

    @property
    def ledger(self) -> Any:
        return self.home.session.ledger

    def open(self) -> Any:
        """The session stays open for the next repair."""
        return _Kept(self.home.session)


class _Kept:
    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> Session:
        return self._session

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module", params=["local", pytest.param("s3", marks=pytest.mark.cover)])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder, place = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("simulator")
    bucket: tuple[Any, str] | None = request.getfixturevalue("shared_bucket") if request.param == "s3" else None
    store: ClipStore = S3Store(*bucket) if bucket else LocalStore(folder / "store")
    engine = open_engine(ledger_in(folder))
    with (
        running_simulator(place, generation_seconds=0) as server,
        session_in(folder, server.url) as session,
        dg.instance_for_test(temp_dir=str(tmp_path_factory.mktemp("dagster"))) as instance,
    ):
        done = list(collect_tasks(session, store, succeeded_tasks(session, [KITE, BOAT])))
        clips = [(one.task, one.manifest) for one in done if one.manifest]
        assert report_found(instance, ROWS, session, store, clips) == 2
        yield Home(session, store, folder, instance, engine, bucket)
    engine.dispose()


def wipe(home: Home, key: dg.AssetKey) -> None:
    home.instance.wipe_assets([key])


def report_another_clip(home: Home) -> None:
    tags = {"dagster/data_version": "f" * 64, f"dagster/input_data_version/{NAME}/tasks": "another"}
    home.instance.report_runless_asset_event(dg.AssetMaterialization(CLIPS, partition="kite", tags=tags))


def report_another_cost(home: Home) -> None:
    """As the clip's own event, but for what it cost."""
    found = home.instance.fetch_materializations(dg.AssetRecordsFilter(CLIPS, asset_partitions=["kite"]), limit=1)
    event = found.records[0].asset_materialization
    assert event
    metadata = {**event.metadata, "pixverse/cost_usd": dg.MetadataValue.float(99.0)}
    home.instance.report_runless_asset_event(event._replace(metadata=metadata))


def report_failed_check(home: Home) -> None:
    finding = Finding("duration", passed=False, asked="5 s", came="1 s")
    event = check_event(home.instance, NAME, "kite", [finding], home.session.options.checks)
    home.instance.report_runless_asset_event(event)


def lose_task(home: Home) -> None:
    with home.engine.begin() as connection:
        connection.execute(sa.delete(schema.files).where(schema.files.c.task == home.task().id))
        connection.execute(sa.delete(schema.tasks).where(schema.tasks.c.row == "kite"))


CORRUPTIONS: dict[str, tuple[Callable[[Home], None], set[Kind]]] = {
    "clips wiped from Dagster": (lambda home: wipe(home, CLIPS), {kinds.CLIP_UNREPORTED}),
    "tasks wiped from Dagster": (lambda home: wipe(home, TASKS), {kinds.TASK_UNREPORTED}),
    "a partition deleted": (
        lambda home: home.instance.delete_dynamic_partition(ROWS, "kite"), {kinds.PARTITION_MISSING}
    ),
    "another clip shown": (report_another_clip, {kinds.CLIP_OUTDATED}),
    "another cost shown": (report_another_cost, {kinds.CLIP_METADATA}),
    "a check that failed in Dagster alone": (report_failed_check, {kinds.CHECK_DIFFERS}),
    "a poster deleted": (lambda home: home.delete("1.jpg"), {kinds.POSTER_MISSING}),
    "a manifest deleted": (lambda home: home.delete("manifest.json"), {kinds.MANIFEST_MISSING}),
    "no sha256 of a manifest": (lambda home: home.change(manifest_sha256=None), {kinds.MANIFEST_UNKEPT}),
    "a task lost": (lose_task, {kinds.CLIP_UNKNOWN, kinds.STRAY, kinds.HISTORY, kinds.CLIP_NOWHERE}),
}  # fmt: skip


@pytest.mark.parametrize("what", CORRUPTIONS)
def test_what_is_named_is_repaired_for_free_and_only_once(home: Home, what: str):
    """Each is named, mended, and then there is nothing left to name or to mend; nobody was paid."""
    corrupt, expected = CORRUPTIONS[what]
    assert home.named() == set()
    corrupt(home)
    found = home.verify().disagreements
    assert {one.kind for one in found} == expected, found
    assert {one.row for one in found} <= {"kite", "boat", ""}
    done = repair(home.project, found)
    assert done
    assert not [one for one in done if one.failed], done
    assert home.named() == set()
    assert repair(home.project, home.verify().disagreements) == []
    assert len(home.session.ledger.tasks.find(NAME)) == 2


@pytest.mark.filterwarnings("ignore:.*dagster_run:DeprecationWarning")  # Dagster meets its own
def test_the_check_is_there_where_it_is_asked_for_and_fails_with_the_command(tmp_path: Path):
    """Off by default; with a schedule it is a job's; it blocks nothing, and says what differs and what repairs it."""
    clips = LocalClipIOManager(base_dir=str(tmp_path / "store"))
    runware = RunwareResource(api_key="simulator", base_url="http://127.0.0.1:9/runware")

    def build(**options: Any) -> dg.Definitions:
        return build_clips_definitions(NAME, [], providers=[runware], clips=clips, options=PipelineOptions(**options))

    plain, asked = build(), build(verify_cron="0 5 * * *")
    assert f"{NAME}_verify" not in {one.name for one in plain.schedules or ()}
    job = asked.resolve_job_def(f"{NAME}_verify")
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        assert _evaluate(job, instance).passed
        event = dg.AssetMaterialization(CLIPS, partition="kite", tags={"dagster/data_version": "f" * 64})
        instance.report_runless_asset_event(event)
        judged = _evaluate(job, instance)
    assert not judged.passed
    assert not judged.blocking
    assert kinds.CLIP_NOWHERE.name in (judged.description or "")
    assert "pixverse-dagster verify" in (judged.description or "")


def _evaluate(job: dg.JobDefinition, instance: dg.DagsterInstance) -> dg.AssetCheckEvaluation:
    result = job.execute_in_process(instance=instance)
    (judged,) = result.get_asset_check_evaluations()
    return judged
