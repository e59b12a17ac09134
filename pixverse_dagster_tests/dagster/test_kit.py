"""`pixverse_dagster.testing`: a user's own tests, as the page of tests shows them."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pixverse_dagster import (
    Budget,
    Clip,
    LedgerResource,
    LocalClipIOManager,
    PipelineOptions,
    PixwithResource,
    RunwareResource,
    build_clips_definitions,
)
from pixverse_dagster.testing import (
    PixverseSimulator,
    StillMoving,
    assert_charges,
    assert_clips,
    assert_paid_once,
    run_to_end,
)

RUNWARE, PIXWITH = "runware/pixverse-v4.5", "pixwith/pixverse-v5"
TABLE = f"id,prompt,model\nkite,A red kite over dunes,{RUNWARE}\nfox,A fox crosses snow,{PIXWITH}\n"


# Dagster meets its own, where a resource has another one.
pytestmark = pytest.mark.filterwarnings("ignore:.*dagster_run is deprecated:DeprecationWarning")


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "prompts.csv"
    path.write_text(TABLE)
    return str(path)


def owned(spec: Any) -> dg.AssetSpec:
    return spec.replace_attributes(owners=["team:media"])


def own_definitions(table: str, folder: Path) -> dg.Definitions:
    """A project's own pipeline at real accounts, in live folders that a test must not touch, and what is downstream."""
    pipeline = build_clips_definitions(
        "films",
        table,
        providers=[
            RunwareResource(api_key=dg.EnvVar("RUNWARE_API_KEY"), max_open_tasks=1),
            PixwithResource(api_key=dg.EnvVar("PIXWITH_API_KEY")),
        ],
        clips=LocalClipIOManager(
            base_dir=str(folder / "live"), ledger=LedgerResource(url=f"sqlite:///{folder}/live.db")
        ),
        options=PipelineOptions(labels=["campaign"]),
        get_asset_spec=owned,
    )

    @dg.asset(ins={"clips": dg.AssetIn(["films", "clips"], partition_mapping=dg.AllPartitionMapping())})
    def reel(clips: dict[str, Clip]) -> int:
        sizes: list[int] = []
        for clip in clips.values():
            with clip.open() as video:
                sizes.append(len(video.read()))
        return sum(sizes)

    return dg.Definitions.merge(pipeline, dg.Definitions(assets=[reel]))


@pytest.mark.cover
def test_a_pipeline_runs_to_its_end_and_every_row_is_paid_for_once(
    pixverse_simulator: PixverseSimulator, table: str, tmp_path: Path
):
    """Nothing of addresses, keys or private networks is said; a second time it pays for nothing."""
    films = pixverse_simulator.build("films", table, tmp_path)
    ended = run_to_end(films)
    assert_clips(ended)
    assert_clips(ended, ["kite"])
    assert_charges(pixverse_simulator, 2)
    assert_charges(pixverse_simulator, 1, model=RUNWARE)
    assert_paid_once(pixverse_simulator, ended)
    assert ended.states == {"kite": "stored", "fox": "stored"}
    assert ended.clips["fox"].manifest.request["prompt"] == "A fox crosses snow"
    assert run_to_end(films).states == ended.states
    assert_charges(pixverse_simulator, 2)


@pytest.mark.cover
def test_a_projects_own_definitions_are_connected_to_the_simulator(
    pixverse_simulator: PixverseSimulator, table: str, tmp_path: Path
):
    """Limits, owners and what is downstream stay; keys are not read, and live store and ledger not touched."""
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "dagster.yaml").touch()
    films = pixverse_simulator.connect(own_definitions(table, tmp_path), tmp_path / "test")
    specs = {spec.key: spec for spec in films.resolve_all_asset_specs()}
    assert specs[dg.AssetKey(["films", "clips"])].owners == ["team:media"]
    assert (films.resources or {})["films_runware"].max_open_tasks == 1
    with dg.DagsterInstance.from_config(str(tmp_path / "test")) as instance:
        assert_clips(run_to_end(films, instance))
        job = films.resolve_implicit_global_asset_job_def()
        reel = job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("reel")])
    assert reel.output_for_node("reel") > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prompts.csv", "test"]
    with pytest.raises(ValueError, match="hold no pipeline"):
        pixverse_simulator.connect(dg.Definitions(), tmp_path)


def test_a_failure_of_an_assertion_says_what_was_found(
    pixverse_simulator: PixverseSimulator, table: str, tmp_path: Path
):
    """The charges, each with its price and words; the rows without a clip, each with its reason and the way out."""
    pixverse_simulator.set_faults({"task.moderated": 1})
    ended = run_to_end(pixverse_simulator.build("films", table, tmp_path), rows=["kite"])
    assert ended.states == {"kite": "failed (moderated)", "fox": "not submitted"}
    with pytest.raises(AssertionError) as clips:
        assert_clips(ended)
    assert "2 of 2 rows have no clip" in str(clips.value)
    assert "tasks retry" in str(clips.value)
    with pytest.raises(AssertionError, match=r"1 charges, not 2:\n .*USD, .*'A red kite over dunes'"):
        assert_charges(pixverse_simulator, 2)
    assert_paid_once(pixverse_simulator, ended)
    with pytest.raises(ValueError, match=r"unknown fault 'task\.broken'"):
        pixverse_simulator.set_faults({"task.broken": 1})


@pytest.mark.cover
def test_what_waits_for_a_person_is_an_end_and_what_still_moves_is_named(
    pixverse_simulator: PixverseSimulator, table: str, tmp_path: Path
):
    """A budget that is used up ends the play; a task that never ends is named when the time is over."""
    films = pixverse_simulator.build("films", table, tmp_path, PipelineOptions(budget=Budget(total_usd=0)))
    assert set(run_to_end(films).states.values()) == {"not submitted"}
    assert_charges(pixverse_simulator, 0)
    pixverse_simulator.set_faults({"task.stuck": 1})
    films = pixverse_simulator.build("films", table, tmp_path)
    with pytest.raises(
        StillMoving, match=r"not at its end after waiting for 1 s\. 2 still move:\n  films/\w+ is submitted since"
    ):
        run_to_end(films, patience_seconds=1)
    assert pixverse_simulator.drawn_faults() == {"task.stuck": 2}


@pytest.mark.cover
def test_time_and_sickness_are_the_tests_own(pixverse_simulator: PixverseSimulator, table: str, tmp_path: Path):
    """Links end and a provider is sick when a test says so, and the next test finds all of it well."""
    films = pixverse_simulator.build("films", table, tmp_path)
    pixverse_simulator.make_sick("pixwith", "away")
    pixverse_simulator.set_generation_seconds(0.5)
    ended = run_to_end(films)
    assert ended.states == {"kite": "stored", "fox": "unknown"}
    assert "tasks resolve fox" in str(next(end for end in ended.rows if end.row == "fox"))
    assert pixverse_simulator.requests()["pixwith"]["sick"]["away"] > 0
    pixverse_simulator.heal()
    (task,) = pixverse_simulator.tasks()
    assert pixverse_simulator.end_links(task["task_id"]) == 1
    assert pixverse_simulator.charged_usd == task["charged_usd"]
    pixverse_simulator.reset()
    assert pixverse_simulator.tasks() == []


@pytest.mark.cover
def test_rows_that_are_told_to_slow_down_are_named_when_patience_ends(
    pixverse_simulator: PixverseSimulator, table: str, tmp_path: Path
):
    """They wait, and nothing is charged."""
    pixverse_simulator.set_faults({"submit.rate_limited": 1})
    films = pixverse_simulator.build("films", table, tmp_path)
    with pytest.raises(StillMoving, match=r"films/fox waits: "):
        run_to_end(films, patience_seconds=0.5)
    assert_charges(pixverse_simulator, 0)
    pixverse_simulator.set_faults({})
    assert_clips(run_to_end(films))
