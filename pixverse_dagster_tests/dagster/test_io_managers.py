"""Clips through Dagster's io managers and resources."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_aws.s3 import S3Resource

from pixverse_dagster import build_clips_definitions
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.orchestration.io_managers.base import ClipBatch
from pixverse_dagster.orchestration.io_managers.local import LocalClipIOManager
from pixverse_dagster.orchestration.io_managers.s3 import S3ClipIOManager
from pixverse_dagster.orchestration.resources import LEDGER_FILE, LedgerResource, RunwareResource
from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.reports.verify import verify
from pixverse_dagster.stages.store import enter_store
from pixverse_dagster.storage.s3 import S3Store
from pixverse_dagster_tests.harness.factories import NAME, make_row, make_rows, session_in, succeeded_tasks
from pixverse_dagster_tests.harness.servers import S3Server, Simulator
from pixverse_dagster_tests.harness.stored import check_manifest, collect_all, manifest_of


def test_a_clip_is_stored_in_s3_as_on_disk(server: Simulator, s3_bucket: tuple[S3Server, str], tmp_path: Path):
    """The same layout and the same manifest, through dagster-aws's client."""
    s3, bucket = s3_bucket
    client: Any = S3Resource(
        endpoint_url=s3.endpoint_url,
        region_name=s3.region,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
    ).get_client()
    store = S3Store(client, bucket, "clips of films")
    with session_in(tmp_path, server.url) as session:
        tasks = succeeded_tasks(session, [make_row(outputs=2)])
        manifest = manifest_of(collect_all(session, store, tasks)["kite"])
        assert verify(session.ledger, store, NAME).disagreements == ()
        again = manifest_of(collect_all(session, store, tasks)["kite"])
    check_manifest(server, store, manifest, tmp_path)
    assert again == manifest
    client.close()


MANAGERS: dict[str, Callable[[], Any]] = {
    "local": lambda: LocalClipIOManager(base_dir="clips"),
    "s3": lambda: S3ClipIOManager(s3=S3Resource(), bucket="media"),
    "ledger is None": lambda: LocalClipIOManager.model_validate({"base_dir": "clips", "ledger": None}),
    "configured at launch": lambda: LocalClipIOManager.configure_at_launch(base_dir="clips"),  # pyright: ignore[reportUnknownMemberType]
}


@pytest.mark.filterwarnings("ignore:.*dagster_run:DeprecationWarning")  # Dagster meets its own
@pytest.mark.parametrize("kind", MANAGERS)
def test_a_ledger_that_is_left_out_is_the_instances_own(kind: str, tmp_path: Path):
    """Wired by hand, as any io manager: the SQLite file in Dagster's storage, and not the name of an attribute."""
    with (
        dg.instance_for_test(temp_dir=str(tmp_path)) as instance,
        dg.build_resources({"clips": MANAGERS[kind]()}, instance=instance) as built,
    ):
        ledger = built.clips.ledger.get_ledger()
        assert ledger.tasks.find(NAME) == []
        assert (Path(instance.storage_directory()) / LEDGER_FILE).exists()


def test_a_pipeline_has_the_ledger_that_its_io_manager_left_out():
    """And two io managers do not share one by accident."""
    clips = LocalClipIOManager(base_dir="clips")
    definitions = build_clips_definitions("films", [{"id": "a"}], providers=[], clips=clips)
    assert isinstance((definitions.resources or {})["films_ledger"], LedgerResource)
    assert clips.ledger is not LocalClipIOManager(base_dir="clips").ledger


@pytest.mark.filterwarnings("ignore:.*dagster_run:DeprecationWarning")  # Dagster meets its own
def test_a_collect_run_that_fails_for_one_row_has_told_dagster_of_the_others(server: Simulator, tmp_path: Path):
    """A clip's event is recorded as the clip lands, so it stays whatever becomes of its run."""
    clips = LocalClipIOManager(base_dir=str(tmp_path / "store"), ledger=LedgerResource())
    with session_in(tmp_path, server.url) as session, dg.instance_for_test() as instance:
        tasks = succeeded_tasks(session, make_rows(3))
        enter_store(clips.get_store(), session.ledger.id, NAME)
        taken = (tmp_path / "store" / str(task_folder(tasks[1]))).parent
        taken.parent.mkdir(parents=True)
        taken.write_text("something else")

        @dg.op(out=dg.Out(io_manager_key="clips"))
        def collect_rows(context: dg.OpExecutionContext) -> Any:
            return ClipBatch(session, tasks, context)

        @dg.job(resource_defs={"clips": clips}, executor_def=dg.in_process_executor)  # pyright: ignore[reportUnknownMemberType]
        def collect_job() -> None:
            collect_rows()

        result = collect_job.execute_in_process(instance=instance, raise_on_error=False)
        stored = {task.row for task in session.ledger.tasks.find(NAME, [TaskState.STORED])}
        shown = instance.get_materialized_partitions(dg.AssetKey([NAME, "clips"]))
    assert not result.success
    assert shown == stored == {tasks[0].row, tasks[2].row}


@pytest.mark.filterwarnings("ignore:.*dagster_run:DeprecationWarning")  # Dagster meets its own
def test_a_session_of_a_run_opens_the_store_that_its_clips_go_to(tmp_path: Path):
    """So that the store is asked before anybody is paid; a sensor's session needs none, and looks for none."""
    clips = LocalClipIOManager(base_dir=str(tmp_path / "store"), ledger=LedgerResource())
    runware = RunwareResource(api_key="simulator", base_url="http://127.0.0.1:9/runware")
    definitions = build_clips_definitions(NAME, [], providers=[runware], clips=clips)
    resources: Any = definitions.resources
    spec: PipelineSpec = resources[f"{NAME}_pipeline"]
    with dg.instance_for_test() as instance:
        for keys in (spec.run_resource_keys, spec.resource_keys):
            wanted = {key: resources[key] for key in keys}
            with dg.build_resources(wanted, instance=instance) as built, spec.open(built, instance) as session:
                assert session.open_store is not None
                if spec.clips_key in keys:
                    assert session.open_store().uri("a/b") == str(tmp_path / "store" / "a" / "b")
    assert not (tmp_path / "store").exists()
