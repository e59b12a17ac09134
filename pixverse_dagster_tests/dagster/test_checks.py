"""Checks of clips in Dagster: one for each row, with its collection or by itself, and what a failed one does."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import dagster as dg
import pytest
from dagster._core.event_api import PartitionKeyFilter

from pixverse_dagster import CheckRules, LocalClipIOManager, PipelineOptions, RunwareResource, build_clips_definitions
from pixverse_dagster.core.clip import Clip
from pixverse_dagster.orchestration.events.metadata import CLIP_CHECK
from pixverse_dagster.orchestration.internal import INTERNAL, internal
from pixverse_dagster.orchestration.resources import LedgerResource
from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.transport.download import DownloadRules
from pixverse_dagster_tests.harness.factories import NAME, QUICK, RUNWARE
from pixverse_dagster_tests.harness.films import RULES, Film, film
from pixverse_dagster_tests.harness.servers import Simulator

pytestmark = pytest.mark.filterwarnings("ignore:.*(run_id|dagster_run) is deprecated:DeprecationWarning")
LOOK = "look_again"
look_job: Any = dg.define_asset_job  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
CHECKED = "ASSET_CHECK_EVALUATION"
KEY = dg.AssetCheckKey(dg.AssetKey([NAME, "clips"]), CLIP_CHECK)
PLANNED = "AssetMaterializationPlannedData"
"""Dagster needs it itself to start a run; `test_status.py` has a pipeline that does not find it."""
TOO_MUCH = 255
"""No clip of the simulator has so much contrast."""


class Stage:
    """A pipeline of three rows in real Dagster runs, in this process."""

    def __init__(self, folder: Path, server: Simulator, instance: dg.DagsterInstance, rules: CheckRules) -> None:
        self.instance = instance
        self.store = folder / "clips"
        self.definitions = dg.Definitions.merge(
            build_clips_definitions(
                NAME,
                [{"id": row, "prompt": f"a kite, {row}", "resolution": "360p"} for row in "abc"],
                providers=[RunwareResource(api_key="simulator", base_url=f"{server.url}/runware")],
                clips=LocalClipIOManager(base_dir=str(self.store), ledger=LedgerResource()),
                options=PipelineOptions(
                    defaults={"model": RUNWARE},
                    checks=rules,
                    pace=QUICK,
                    download=DownloadRules(allow_private_network=True),
                ),
            ),
            dg.Definitions(
                assets=[reel, trailer],
                jobs=[look_job(LOOK, selection=dg.AssetSelection.checks(KEY))] if rules.enabled else [],
            ),
        )

    def run(self, job: str, **arguments: Any) -> dg.ExecuteInProcessResult:
        definition = self.definitions.resolve_job_def(job)
        return definition.execute_in_process(instance=self.instance, raise_on_error=False, **arguments)

    def materialize(self, *asset: str, **arguments: Any) -> dg.ExecuteInProcessResult:
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance, raise_on_error=False, asset_selection=[dg.AssetKey(list(asset))], **arguments
        )

    def rows(self, job: str, config: Any) -> dg.ExecuteInProcessResult:
        return self.run(f"{NAME}_{job}", run_config=config)

    def collect(self, *rows: str) -> list[dg.ExecuteInProcessResult]:
        """Submit these rows and do what the daemon does until they are stored."""
        assert self.materialize(NAME, "prompts").success
        assert self.rows("submit", {"ops": {f"{NAME}_submit_rows": {"config": {"rows": list(rows)}}}}).success
        resources: Any = self.definitions.resources
        spec: PipelineSpec = resources[f"{NAME}_pipeline"]
        runs: list[dg.ExecuteInProcessResult] = []
        stored: set[str] = set()
        while stored < set(rows):
            context = dg.build_sensor_context(
                instance=self.instance,
                resources={key: resources[key] for key in spec.resource_keys},
                definitions=self.definitions,
            )
            ticked = self.definitions.resolve_sensor_def(f"{NAME}_poll").evaluate_tick(context)
            for request in ticked.run_requests or ():
                runs.append(self.rows("collect", dict(request.run_config)))
                stored |= set(request.run_config["ops"][f"{NAME}_collect_rows"]["config"]["rows"])
            Event().wait(0.05)
        return runs

    def checks(self) -> dict[str | None, str]:
        """The check's status by partition, as far as it is about the latest clip."""
        infos = self.instance.event_log_storage.get_asset_check_partition_info([KEY])
        return {info.partition_key: info.latest_execution_status.value for info in infos if info.is_current}

    def check(self, row: str | None) -> dg.AssetCheckEvaluation:
        """What was said last of this row's clip, or of all clips."""
        log, of = self.instance.event_log_storage, PartitionKeyFilter(key=row)
        record = log.get_latest_asset_check_execution_by_key([KEY], partition_filter=of)[KEY]
        assert record.event is not None
        assert record.event.dagster_event is not None
        return record.event.dagster_event.asset_check_evaluation_data

    def shown(self) -> set[str]:
        """The rows that Dagster shows as materialised."""
        return self.instance.get_materialized_partitions(dg.AssetKey([NAME, "clips"]))

    def file(self, row: str) -> Path:
        return next((self.store / NAME / "clips" / row).rglob("1.mp4"))


@dg.asset(ins={"clips": dg.AssetIn([NAME, "clips"], partition_mapping=dg.AllPartitionMapping())})
def reel(clips: dict[str, Clip]) -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(metadata={"rows": ",".join(clips)})


@dg.asset(ins={"clip": dg.AssetIn([NAME, "clips"])}, partitions_def=dg.DynamicPartitionsDefinition(name=f"{NAME}_rows"))
def trailer(clip: Clip) -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(metadata={"row": clip.manifest.row})


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def test_every_row_that_is_collected_has_a_check_of_its_own(
    server: Simulator, tmp_path: Path, instance: dg.DagsterInstance
):
    """One event per row, on its partition, about the clip that was just materialised."""
    stage = Stage(tmp_path, server, instance, RULES)
    runs = stage.collect("a", "b", "c")
    assert all(run.success for run in runs)
    assert stage.shown() == {"a", "b", "c"}
    assert stage.checks() == dict.fromkeys("abc", "SUCCEEDED")
    judged = [e.asset_check_evaluation_data for run in runs for e in run.all_events if e.event_type_value == CHECKED]
    assert sorted(str(one.partition) for one in judged) == ["a", "b", "c"]
    for one in judged:
        assert one.metadata["pixverse/duration"].value == "asked 5 s ± 0.5 s, came 5 s"
        assert one.metadata["pixverse/resolution"].value == "asked 640x360 ± 2 %, came 640x360"
        assert one.metadata["pixverse/failed_checks"].value == 0


def test_a_clip_that_fails_is_shown_with_what_came_and_is_used_all_the_same(
    server: Simulator, tmp_path: Path, instance: dg.DagsterInstance
):
    """Unless the user says otherwise, a failure is a warning."""
    stage = Stage(tmp_path, server, instance, CheckRules(min_contrast=TOO_MUCH))
    assert stage.materialize(NAME, "prompts").success
    made = stage.materialize(NAME, "clips", partition_key="b")
    assert made.success
    assert not [event for event in made.all_events if event.is_step_skipped], "no step is noise"
    assert stage.shown() == {"b"}
    assert stage.checks() == {"b": "FAILED"}
    check = stage.check("b")
    assert (check.partition, check.passed, check.severity) == ("b", False, dg.AssetCheckSeverity.WARN)
    assert str(check.description).startswith("not_blank: asked contrast of 255 in some frame, came 2")
    assert stage.materialize("trailer", partition_key="b").success


def test_a_check_is_executed_by_itself_for_a_row_for_several_and_for_all(
    server: Simulator, tmp_path: Path, instance: dg.DagsterInstance
):
    """It reads the store anew: here somebody put another file in the place of a clip."""
    stage = Stage(tmp_path, server, instance, RULES)
    stage.collect("a", "b")
    film(replaced := stage.file("b"), Film())
    assert replaced.stat().st_nlink == 1
    assert stage.run(LOOK, tags={"dagster/partition": "b"}).success
    assert stage.checks() == {"a": "SUCCEEDED", "b": "FAILED"}
    description = str(stage.check("b").description)
    assert description.startswith("intact: asked sha256 ")
    assert description.endswith("duration: asked 5 s ± 0.5 s, came 1 s")

    (moved := stage.file("a")).rename(kept := tmp_path / "kept")
    moved.symlink_to(moved)  # a file that is there and cannot be read, whoever asks
    run = stage.run(LOOK, tags={"dagster/partition": "a"})
    assert run.success
    assert stage.checks() == {"b": "FAILED"}, "neither passed nor failed"
    (told,) = [e.asset_observation_data.asset_observation for e in run.all_events if e.is_asset_observation]
    assert (told.partition, str(told.metadata["pixverse/check_not_made"].value)[:18]) == ("a", "output 1 could not")
    moved.unlink()
    kept.rename(moved)

    stage.file("a").unlink()
    ends = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "c"}
    assert stage.run(LOOK, tags=ends).success
    assert stage.checks() == {"a": "FAILED", "b": "FAILED", "c": "FAILED"}
    assert stage.check("c").description == "outputs: asked a stored clip, came none yet"

    assert stage.run(LOOK).success
    assert stage.check(None).description == "2 of 2 clips fail; see their partitions"


def test_a_row_that_fails_a_blocking_check_is_stored_and_withheld(
    server: Simulator, tmp_path: Path, instance: dg.DagsterInstance
):
    """Paid for and kept, not materialised, not handed out; released without a charge by rules that it passes."""
    strict = Stage(tmp_path, server, instance, CheckRules(blocking=True, min_contrast=TOO_MUCH))
    (run,) = strict.collect("a")
    assert not run.success
    assert strict.shown() == set()
    assert strict.checks() == {"a": "FAILED"}
    check = strict.check("a")
    assert (check.partition, check.blocking, check.severity) == ("a", True, dg.AssetCheckSeverity.ERROR)
    assert strict.file("a").exists()
    failed = strict.materialize(NAME, "clips", partition_key="a")
    assert not failed.success
    assert "row 'a' is stored and withheld: not_blank: asked contrast of 255" in failure_of(failed)
    (kept := strict.file("a")).rename(tmp_path / "kept")
    kept.symlink_to(kept)
    assert strict.run(LOOK, tags={"dagster/partition": "a"}).success
    kept.unlink()
    (tmp_path / "kept").rename(kept)
    refused = strict.materialize("trailer", partition_key="a")
    assert "is stored and withheld: not_blank" in failure_of(refused)
    assert reel_of(strict) == ""

    relaxed = Stage(tmp_path, server, instance, CheckRules(blocking=True))
    assert relaxed.materialize(NAME, "clips", partition_key="a").success
    assert relaxed.shown() == {"a"}
    assert relaxed.checks() == {"a": "SUCCEEDED"}
    assert relaxed.materialize("trailer", partition_key="a").success
    assert reel_of(relaxed) == "a"
    assert len(server.tasks()) == 1


@pytest.fixture
def no_private_names(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Dagster as a release would be that has moved the names that are not public; its own parts have loaded."""
    for name, module in INTERNAL.items():
        if name != PLANNED:
            monkeypatch.delattr(f"{module}.{name}")
    internal.cache_clear()
    yield
    internal.cache_clear()


@pytest.mark.usefixtures("no_private_names")
def test_a_pipeline_goes_on_without_dagsters_private_names_and_says_so_once(
    server: Simulator, tmp_path: Path, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
):
    """Clips are stored, checked and handed out; one that a blocking check withheld is not."""
    strict = Stage(tmp_path, server, instance, CheckRules(blocking=True, min_contrast=TOO_MUCH))
    assert [run.success for run in strict.collect("a")] == [False]
    assert reel_of(strict) == ""
    relaxed = Stage(tmp_path, server, instance, CheckRules(blocking=True))
    assert all(run.success for run in relaxed.collect("b", "c"))
    assert relaxed.shown() == {"b", "c"}
    assert reel_of(relaxed) == "b,c"
    assert relaxed.materialize("trailer", partition_key="b").success
    said = [record.message for record in caplog.records if "this release of Dagster has no" in record.message]
    assert len(said) == len(set(said)) == len(INTERNAL.keys() - {PLANNED})
    assert len(server.tasks()) == 3


def failure_of(run: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in run.all_events if event.is_step_failure]
    error = event.step_failure_data.error
    assert error is not None
    return error.to_string()


def reel_of(stage: Stage) -> str:
    (made,) = stage.materialize("reel").asset_materializations_for_node("reel")
    return str(made.metadata["rows"].value)


def test_without_checks_there_is_none(server: Simulator, tmp_path: Path, instance: dg.DagsterInstance):
    """Neither in the definitions nor in the event log."""
    stage = Stage(tmp_path, server, instance, CheckRules(enabled=False))
    runs = stage.collect("a")
    assert not [event for run in runs for event in run.all_events if event.event_type_value == CHECKED]
    names = {key.name for key in stage.definitions.resolve_asset_graph().asset_check_keys}
    assert "outcomes_known" in names
    assert CLIP_CHECK not in names
