"""Marks in Dagster: read with the prompts, shown on the partition of their clip, and what an input may ask for."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pixverse_dagster import Clip, LocalClipIOManager, PipelineOptions, RunwareResource, build_clips_definitions
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.mark import Choice
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.orchestration.resources import LedgerResource
from pixverse_dagster.transport.download import DownloadRules
from pixverse_dagster_tests.harness.factories import NAME, QUICK, RUNWARE
from pixverse_dagster_tests.harness.servers import Simulator

pytestmark = pytest.mark.filterwarnings("ignore:.*(run_id|dagster_run) is deprecated:DeprecationWarning")
ROWS = dg.DynamicPartitionsDefinition(name=f"{NAME}_rows")
PICKED: dict[str, Any] = {"only_picked": True}
KEY = dg.AssetKey([NAME, "clips"])


@dg.asset(ins={"clips": dg.AssetIn(KEY, partition_mapping=dg.AllPartitionMapping(), metadata=PICKED)})
def reel(clips: dict[str, Clip]) -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(metadata={row: f"{clip.manifest.take} {clip.picked}" for row, clip in clips.items()})


@dg.asset(ins={"clip": dg.AssetIn(KEY, metadata=PICKED)}, partitions_def=ROWS)
def trailer(clip: Clip) -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(metadata={"uri": clip.uri()})


class Stage:
    """A pipeline of two rows, one of them with two outputs, and a table of marks."""

    def __init__(self, folder: Path, server: Simulator, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.picks = folder / "picks.csv"
        self.ledger: Ledger = LedgerResource().get_ledger(instance)
        pipeline = build_clips_definitions(
            NAME,
            [
                {"id": "kite", "prompt": "a kite", "resolution": "360p", "outputs": 2},
                {"id": "boat", "prompt": "a boat", "resolution": "360p"},
            ],
            providers=[RunwareResource(api_key="simulator", base_url=f"{server.url}/runware")],
            clips=LocalClipIOManager(base_dir=str(folder / "clips"), ledger=LedgerResource()),
            options=PipelineOptions(
                defaults={"model": RUNWARE},
                pace=QUICK,
                download=DownloadRules(allow_private_network=True),
                marks=str(self.picks),
            ),
        )
        self.definitions = dg.Definitions.merge(pipeline, dg.Definitions(assets=[reel, trailer]))

    def run(self, *asset: str, **arguments: Any) -> dg.ExecuteInProcessResult:
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance, raise_on_error=False, asset_selection=[dg.AssetKey(list(asset))], **arguments
        )

    def clip(self, row: str, take: int = 1, n: int = 1) -> str:
        (task,) = [task for task in self.ledger.tasks.find(NAME, keys=[row]) if task.take == take]
        return f"{task_folder(task)}/{n}"

    def mark(self, *lines: tuple[str, str, str]) -> None:
        with self.picks.open("w", newline="", encoding="utf-8-sig") as file:
            csv.writer(file, delimiter=";").writerows([("clip", "mark", "note"), *lines])

    def read(self) -> tuple[dict[str, Any], list[dg.AssetObservation]]:
        """Read the prompts: the metadata of the reading, and what was observed of clips."""
        run = self.run(NAME, "prompts")
        assert run.success
        (made,) = run.asset_materializations_for_node(f"{NAME}__prompts")
        told = [
            event.asset_observation_data.asset_observation for event in run.all_events if event.is_asset_observation
        ]
        seen = [one for one in told if one.partition is not None]
        return {name: value.value for name, value in made.metadata.items()}, seen


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def shown(seen: list[dg.AssetObservation]) -> list[tuple[Any, ...]]:
    names = ("pixverse/mark", "pixverse/output", "pixverse/take")
    return [(one.partition, *(one.metadata[name].value for name in names)) for one in seen if one.asset_key == KEY]


def test_marks_are_shown_on_their_clips_partition_and_decide_what_an_input_gets(
    server: Simulator, tmp_path: Path, instance: dg.DagsterInstance
):
    """An observation for each mark that changed, never a second materialisation; nothing is paid for by it."""
    stage = Stage(tmp_path, server, instance)
    metadata, _ = stage.read()
    assert "there is no such file" in metadata["pixverse/marks_not_read"]
    for row in ("kite", "boat"):
        assert stage.run(NAME, "clips", partition_key=row).success
    stored = instance.fetch_materializations(KEY, limit=100).records
    assert not stage.run("trailer", partition_key="kite").success, "nothing is picked yet"

    stage.mark(
        (stage.clip("kite"), "reject", ""),
        (stage.clip("kite", n=2), "✓ pick", "the best"),
        (stage.clip("boat"), "Reject", "too dark"),
        ("films/clips/sea/0123456789ab-t1/1", "pick", ""),
    )
    metadata, seen = stage.read()
    assert shown(seen) == [("boat", "reject", "1", "1"), ("kite", "reject", "1", "1"), ("kite", "pick", "2", "1")]
    assert seen[0].metadata["pixverse/note"].value == "too dark"
    assert [metadata[f"pixverse/{name}"] for name in ("picked", "rejected", "marks_left_out")] == [1, 2, 1]
    assert shown(stage.read()[1]) == []
    (made,) = stage.run("reel").asset_materializations_for_node("reel")
    assert {row: value.value for row, value in made.metadata.items()} == {"kite": "1 (2,)"}
    (made,) = stage.run("trailer", partition_key="kite").asset_materializations_for_node("trailer")
    assert str(made.metadata["uri"].value).endswith("/2.mp4")
    failed = stage.run("trailer", partition_key="boat")
    (event,) = [event for event in failed.all_events if event.is_step_failure]
    assert "row 'boat' of 'films' has no clip that is picked" in str(event.step_failure_data.error)

    stage.picks.write_bytes(b"id,prompt\n1,a prompt table\n")
    metadata, seen = stage.read()
    assert "no table of marks" in metadata["pixverse/marks_not_read"]
    assert (metadata["pixverse/picked"], shown(seen)) == (1, [])
    stage.mark((stage.clip("boat"), "pick", ""))
    assert shown(stage.read()[1]) == [
        ("boat", "pick", "1", "1"),
        ("kite", "none", "1", "1"),
        ("kite", "none", "2", "1"),
    ]
    again = instance.fetch_materializations(KEY, limit=100).records
    assert len(again) == len(stored)
    assert len(server.tasks()) == 2


def test_an_earlier_take_that_is_picked_comes_before_a_newer_one_that_is_not(
    server: Simulator, tmp_path: Path, instance: dg.DagsterInstance
):
    """The newest picked clip of a row is the one that an input of picked clips gets."""
    stage = Stage(tmp_path, server, instance)
    stage.read()
    assert stage.run(NAME, "clips", partition_key="boat").success
    stage.ledger.rows.raise_take(NAME, "boat")
    assert stage.run(NAME, "clips", partition_key="boat").success
    stage.mark((stage.clip("boat"), "pick", ""), (stage.clip("boat", take=2), "reject", ""))
    stage.read()
    assert [mark.choice for mark in stage.ledger.marks.find(NAME)] == [Choice.PICK, Choice.REJECT]
    (made,) = stage.run("reel").asset_materializations_for_node("reel")
    assert {row: value.value for row, value in made.metadata.items()} == {"boat": "1 (1,)"}
