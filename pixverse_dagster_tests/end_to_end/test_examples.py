"""The examples are run, as their READMEs say, by people who copied them."""

import importlib
import json
import sys
import threading
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import dagster as dg
import pytest
from av.error import FFmpegError

from pixverse_dagster.simulator.media import Shape, render
from pixverse_dagster_tests.harness.commands import demo, pixverse, run_dagster
from pixverse_dagster_tests.harness.servers import Simulator

EXAMPLES = Path(__file__).parents[2] / "examples"
FAKE_KEYS = {"HIGHWAY_API_KEY": "hw-not-a-key", "RUNWARE_API_KEY": "rw-not-a-key", "PIXWITH_API_KEY": "pw-not-a-key"}


def run(example: str, environment: dict[str, str], *arguments: str) -> str:
    """Run a Dagster command in an example's folder; it succeeds."""
    ran = run_dagster(environment, *arguments, cwd=EXAMPLES / example)
    assert ran.code == 0, ran.log[-4000:]
    return ran.log


def watch(path: Path) -> dict[str, Any]:
    """Decode a film from its first frame to its last, and how long its picture and its sound are."""
    facts: dict[str, Any] = {}
    film: Any  # PyAV's own types are partly unknown
    with av.open(str(path)) as film:
        frames = list(film.decode(video=0))
        facts["video"] = float(frames[-1].pts * frames[-1].time_base + Fraction(1, 24))
        facts["video_frames"], facts["size"] = len(frames), (frames[0].width, frames[0].height)
    with av.open(str(path)) as film:
        frames = list(film.decode(audio=0))
        facts["audio"] = float(frames[-1].pts * frames[-1].time_base) + frames[-1].samples / frames[-1].sample_rate
        facts["loudest"] = max(abs(frame.to_ndarray()).max() for frame in frames)
    return facts


@pytest.fixture
def cutting(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(EXAMPLES / "reel"), *sys.path])
    return importlib.import_module("cutting")


def clip(folder: Path, shape: Shape) -> Any:
    """A function that opens a clip of this shape."""
    path = folder / f"{shape.width}-{shape.seconds}-{shape.audio}.{shape.container}"
    path.write_bytes(render(shape, threading.Event()).data)
    return lambda: path.open("rb")


def test_a_film_of_all_kinds_of_clips_has_sound_that_ends_with_the_picture(tmp_path: Path, cutting: Any) -> None:
    """Silent and loud, wide and upright, MP4, MOV and WEBM, longer and shorter than what is taken of each."""
    shapes = [
        Shape(640, 360, 5),
        Shape(360, 640, 5, audio=True),
        Shape(540, 540, 1, audio=True, container="mov"),
        Shape(812, 540, 3, audio=True, container="webm"),
    ]
    film = cutting.cut([clip(tmp_path, shape) for shape in shapes], tmp_path / "films" / "film.mp4")
    facts = watch(film.path)
    assert (film.clips, film.seconds) == (4, 7.0)
    assert (facts["video_frames"], facts["size"]) == (7 * 24, (640, 360))
    assert facts["video"] == pytest.approx(7, abs=0.05)
    assert facts["audio"] == pytest.approx(facts["video"], abs=0.1)
    assert facts["loudest"] > 0.1
    assert [path.name for path in film.path.parent.iterdir()] == ["film.mp4"]


def test_a_film_of_a_silent_clip_has_silence(tmp_path: Path, cutting: Any) -> None:
    """All of a clip, as long as it is, with a sound track of zeros."""
    film = cutting.cut([clip(tmp_path, Shape(640, 360, 3))], tmp_path / "f.mp4", cutting.Style(270, 480, seconds=None))
    facts = watch(film.path)
    assert film.seconds == facts["video_frames"] / 24 == 3
    assert facts["audio"] == pytest.approx(3, abs=0.1)
    assert facts["loudest"] < 0.001
    assert facts["size"] == (270, 480)


def test_a_film_of_nothing_or_of_what_is_no_clip_leaves_no_file(tmp_path: Path, cutting: Any) -> None:
    """A film stands under its name complete or not at all."""
    (tmp_path / "text").write_text("not a clip")
    good, bad = clip(tmp_path, Shape(640, 360, 1)), (tmp_path / "text").open
    with pytest.raises(ValueError, match=r"nothing to cut film\.mp4 from"):
        cutting.cut([], tmp_path / "out" / "film.mp4")
    with pytest.raises(FFmpegError):
        cutting.cut([good, lambda: bad("rb")], tmp_path / "out" / "film.mp4")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.cover
def test_reels_are_cut_from_the_clips_of_each_campaign(tmp_path: Path) -> None:
    """Half of the sample table through the simulator, then both downstream assets in real runs."""
    home = tmp_path / "demo"
    stored = demo(home, "--rows", "6", "--generation-seconds", "0.5")["clips"]
    manifests = [json.loads(path.read_text()) for path in (home / "clips").rglob("manifest.json")]
    campaigns = Counter(str(manifest["labels"]["campaign"]) for manifest in manifests)
    assert len(manifests) == len(stored) == sum(campaigns.values())
    environment = {"DAGSTER_HOME": str(home)}
    run("reel", environment, "asset", "materialize", "-f", "reel.py", "--select", "demo/reel")
    row = "cat-blinks"
    run("reel", environment, "asset", "materialize", "-f", "reel.py", "--select", "demo/short", "--partition", row)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["demo", "reel"]))
        assert instance.get_materialized_partitions(dg.AssetKey(["demo", "short"])) == {row}
    assert event is not None
    assert event.asset_materialization is not None
    told = event.asset_materialization.metadata["reels"]
    assert isinstance(told, dg.TableMetadataValue)
    reels: dict[str, Any] = {str(record.data["campaign"]): record.data for record in told.records}
    assert {campaign: reel["clips"] for campaign, reel in reels.items()} == campaigns
    for campaign, reel in reels.items():
        facts = watch(Path(reel["path"]))
        assert facts["video"] == pytest.approx(2 * campaigns[campaign], abs=0.05)
        assert abs(facts["video"] - facts["audio"]) < 0.2
        assert facts["video_frames"] == 48 * campaigns[campaign]
    assert max(watch(Path(reel["path"]))["loudest"] for reel in reels.values()) > 0.1
    (short,) = (home / "films" / "shorts").iterdir()
    assert watch(short)["size"] == (270, 480)


@pytest.fixture
def live(server: Simulator, tmp_path: Path) -> dict[str, str]:
    """A home for the live example. Whatever it sends over the network would arrive at the simulator, as a proxy."""
    home = tmp_path / "home"
    home.mkdir()
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), server.url)
    return {"DAGSTER_HOME": str(home), "PYTHONPATH": str(EXAMPLES / "live"), **proxies}


def test_the_live_example_loads_without_any_key_and_sends_nothing(server: Simulator, live: dict[str, str]) -> None:
    """Keys, bucket and ledger are read when something runs, not when the definitions load."""
    log = run("live", live, "definitions", "validate", "-f", "definitions.py")
    assert "All code locations passed validation" in log
    assert not server.tasks()
    assert not server.requests()


def test_the_live_example_is_planned_before_anything_is_spent(
    server: Simulator, live: dict[str, str], postgres_database: str
) -> None:
    """`plan` reads the table and the ledger, says what it would cost, and sends nothing."""
    environment = live | FAKE_KEYS | {
        "LEDGER_URL": postgres_database, "CLIPS_BUCKET": "nowhere", "AWS_REGION": "eu-central-1",
    }  # fmt: skip
    home = Path(live["DAGSTER_HOME"])
    printed = pixverse("plan", "-m", "definitions", "--json", home=home, environment=environment).stdout
    totals = json.loads(printed)["totals"]
    assert totals["new"] == len((EXAMPLES / "live" / "prompts.csv").read_text().splitlines()) - 1
    assert totals["unpriced_rows"] == totals["invalid"] == 0
    assert 0 < totals["cost_usd"] <= 5, "within the budget of one run"
    assert not server.requests()
    assert not (home / "storage" / "pixverse").exists(), "the ledger is in PostgreSQL alone"
