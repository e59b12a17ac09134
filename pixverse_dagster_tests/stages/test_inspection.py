"""A stored clip is judged by what its row asked for: each rule's pass and failure in words, and where people see it."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import Any

import av
import dagster as dg
import pytest
from dagster._core.event_api import PartitionKeyFilter

from pixverse_dagster import CheckRules, LocalClipIOManager, PipelineOptions, RunwareResource, build_clips_definitions
from pixverse_dagster.core.clip import Clip
from pixverse_dagster.core.manifest import ClipManifest, ClipOutput
from pixverse_dagster.media.inspect import inspect_clip
from pixverse_dagster.media.probe import probe
from pixverse_dagster.orchestration.events.metadata import CLIP_CHECK
from pixverse_dagster.orchestration.resources import LedgerResource
from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.policy.quality import CHECKS, CheckName, Finding, Measurements, judge_clip
from pixverse_dagster.stages.check import check_clip
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.reading import copy_hashed
from pixverse_dagster.transport.download import DownloadRules
from pixverse_dagster_tests.harness.factories import (
    CELLS,
    HIGHWAY,
    NAME,
    PIXWITH,
    QUICK,
    RUNWARE,
    make_row,
    session_in,
    succeeded_tasks,
)
from pixverse_dagster_tests.harness.servers import Simulator

RULES = CheckRules()
FPS = 24
SIZE = (640, 360)
REFERENCES = "highway/pixverse-c1-reference-to-video"
pytestmark = pytest.mark.filterwarnings("ignore:.*(run_id|dagster_run) is deprecated:DeprecationWarning")


@dataclass(frozen=True)
class Film:
    """How a clip of the test's own differs from a good one of 1 s, 360p, without sound."""

    picture: str = "moving"
    seconds: float = 1
    size: tuple[int, int] = SIZE
    sound: bool = False
    container: str = "mp4"


def luma(picture: str, number: int, size: tuple[int, int]) -> bytes:
    """One frame's brightness: flat, a gradient, or a gradient with a bright square that moves."""
    width, height = size
    if picture in {"black", "fading"}:
        return bytes([16 + (number * 4 if picture == "fading" else 0)]) * (width * height)
    line = bytes(40 + x * 150 // width for x in range(width))
    side = height // 6
    at = number * 8 % (width - side) if picture == "moving" else 0
    lit = line[:at] + b"\xeb" * side + line[at + side :]
    return line * side + lit * side + line * (height - 2 * side)


def noise(size: int) -> bytes:
    """The same bytes every time, and nothing a decoder can make sense of."""
    return hashlib.shake_128(b"noise").digest(size)


def film(path: Path, made: Film) -> Path:
    """Encode a clip."""
    webm = made.container == "webm"
    output: Any
    with av.open(path, "w", format=made.container, options={} if webm else {"movflags": "+faststart"}) as output:
        video = output.add_stream("libvpx-vp9" if webm else "libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = *made.size, "yuv420p"
        video.options = {"deadline": "realtime", "cpu-used": "8"} if webm else {"preset": "ultrafast", "g": "12"}
        sound = output.add_stream("libopus" if webm else "aac", rate=48_000, layout="stereo") if made.sound else None
        for number in range(round(made.seconds * FPS)):
            frame = av.VideoFrame(*made.size, "yuv420p")
            for plane in frame.planes[1:]:
                plane.update(b"\x80" * plane.buffer_size)
            data, stride = luma(made.picture, number, made.size), frame.planes[0].line_size
            rows = (data[at : at + made.size[0]] for at in range(0, len(data), made.size[0]))
            frame.planes[0].update(b"".join(row.ljust(stride, b"\0") for row in rows))
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if sound is not None:
            tone = av.AudioFrame("s16", "stereo", round(made.seconds * 48_000))
            tone.planes[0].update(noise(tone.planes[0].buffer_size))
            tone.sample_rate, tone.pts, tone.time_base = 48_000, 0, Fraction(1, 48_000)
            output.mux(sound.encode(tone))
            output.mux(sound.encode(None))
    return path


def described(path: Path, n: int = 1) -> tuple[ClipOutput, Measurements]:
    """A file as a manifest has it, and as it was seen."""
    facts, _ = probe(path)
    with path.open("rb") as file:
        got = copy_hashed(file)
    output = ClipOutput(n=n, key="k", poster_key="p", sha256=got.sha256, size_bytes=got.size_bytes, **dict(facts))
    return output, inspect_clip(path, RULES, got.sha256)


def judged(path: Path, model: str = HIGHWAY, rules: CheckRules = RULES, **cells: Any) -> dict[CheckName, Finding]:
    """What the checks find of this file, as the one output of a row's task."""
    output, seen = described(path)
    return {one.check: one for one in judge_clip(make_row("r", model, **cells).request, [output], {1: seen}, rules)}


def failures(found: dict[CheckName, Finding]) -> list[str]:
    return [str(one) for one in found.values() if not one.passed]


# What a clip is


@pytest.mark.parametrize("container", ["mp4", "mov", "webm"])
@pytest.mark.parametrize("sound", [False, True])
def test_a_clip_as_it_was_asked_for_passes_every_check(tmp_path: Path, container: str, *, sound: bool):
    """In each container, with and without sound; and each check says what was asked and what came."""
    found = judged(film(tmp_path / "clip", Film(container=container, sound=sound)), audio=sound)
    assert failures(found) == []
    assert set(found) == set(CHECKS)
    assert str(found["duration"]) == "duration: asked 1 s ± 0.5 s, came 1 s"
    assert str(found["sound"]) == (
        "sound: asked sound, came sound" if sound else "sound: asked no sound, came no sound"
    )
    assert found["decodes"].came == "24 frames"


ASKED: list[tuple[Film, str, dict[str, Any]]] = [
    # what is filmed, the check that fails, in words, and the row's own cells
    (Film(seconds=2), "duration: asked 1 s ± 0.5 s, came 2 s", {}),
    (Film(seconds=2), "duration: asked 8 s ± 0.8 s, came 2 s", {"duration_seconds": 8}),
    (Film(size=(480, 270)), "resolution: asked a short side of 360 ± 2 %, came 480x270", {}),
    (Film(sound=True), "sound: asked no sound, came sound", {}),
    (Film(), "sound: asked sound, came no sound", {"audio": True}),
    (Film(picture="black"), "not_blank: asked contrast of 8 in some frame, came 0", {}),
    (Film(picture="fading"), "not_blank: asked contrast of 8 in some frame, came 0", {}),
    (Film(picture="still"), "not_frozen: asked a change of 4 in some part, came ", {}),
]  # fmt: skip


@pytest.mark.parametrize(("made", "words", "cells"), ASKED, ids=[words for _, words, _ in ASKED])
def test_a_failed_check_says_what_was_asked_and_what_came(
    tmp_path: Path, made: Film, words: str, cells: dict[str, Any]
):
    """And the others pass, but for a flat picture, which cannot move."""
    failed = failures(judged(film(tmp_path / "clip", made), **cells))
    assert [text for text in failed if not (made.picture == "black" and text.startswith("not_frozen"))] == [
        next(text for text in failed if text.startswith(words))
    ]


SHAPES: list[tuple[str, dict[str, Any], tuple[int, int], str]] = [
    # model, its cells, the clip's size, what is wrong with that
    (RUNWARE, {}, SIZE, ""),
    (RUNWARE, {"aspect_ratio": "9:16"}, (360, 640), ""),
    (RUNWARE, {"aspect_ratio": "9:16"}, SIZE, "resolution: asked 360x640 ± 2 %, came 640x360"),
    (RUNWARE, {"resolution": None, "width": 360, "height": 360}, (360, 360), ""),
    (RUNWARE, {"resolution": None, "width": 360, "height": 360}, SIZE, "resolution: asked 360x360 ± 2 %, came 640x360"),
    (RUNWARE, {"image": "https://x.example/kite.png"}, (360, 500), ""),
    (RUNWARE, {"resolution": "540p"}, (960, 544), ""),
    (PIXWITH, {"aspect_ratio": "4:3"}, SIZE, "resolution: asked 480x360 ± 2 %, came 640x360"),
    (PIXWITH, {"aspect_ratio": "4:3", "image": "https://x.example/kite.png"}, SIZE, ""),
    (REFERENCES, {"aspect_ratio": "1:1"}, SIZE, "resolution: asked 360x360 ± 2 %, came 640x360"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "cells", "size", "words"), SHAPES)
def test_the_shape_is_judged_where_it_was_asked_for(model: str, cells: dict[str, Any], size: Any, words: str):
    """A clip that takes its image's shape is judged by its short side; encoders round to blocks of 16."""
    request = make_row("r", model, **cells).request
    seen = Measurements(
        frames=120, seconds=5, fps=FPS, width=size[0], height=size[1], contrast=99, change=99, sha256="ab"
    )
    found = judge_clip(request, [output_of("ab")], {1: seen}, RULES)
    assert [str(one) for one in found if not one.passed and one.check == "resolution"] == ([words] if words else [])


def output_of(sha256: str, n: int = 1) -> ClipOutput:
    """An output of which only the digest matters."""
    facts: dict[str, Any] = {"container": "mp4", "codec": "h264", "width": 1, "height": 1, "fps": 1}
    return ClipOutput(
        n=n, key="k", poster_key="p", sha256=sha256, size_bytes=1, duration_seconds=1, audio=False, **facts
    )


def test_what_a_request_does_not_say_is_not_judged(tmp_path: Path):
    """The sound of a model that has no such parameter."""
    found = judged(film(tmp_path / "clip", Film(sound=True, seconds=5)), RUNWARE)
    assert failures(found) == []
    assert set(CHECKS) - set(found) == {"sound"}


def test_the_number_of_outputs_is_judged_and_each_output_by_itself():
    """A short answer is one finding; what is wrong with an output names it."""
    request = make_row("r", PIXWITH, outputs=3).request
    good = Measurements(frames=120, seconds=5, fps=FPS, width=640, height=360, contrast=99, change=99, sha256="ab")
    found = judge_clip(request, [output_of("ab", 1), output_of("ab", 2)], {1: good, 2: replace(good, seconds=3)}, RULES)
    assert [str(one) for one in found if not one.passed] == [
        "outputs: asked 3, came 2",
        "duration of output 2: asked 5 s ± 0.5 s, came 3 s",
    ]


def test_tolerances_are_the_users_and_checks_can_be_left_out(tmp_path: Path):
    """A still is what some rows want."""
    path = film(tmp_path / "clip", Film(picture="still", seconds=2))
    rules = CheckRules(duration_seconds=1, leave_out=["not_frozen"])
    assert failures(judged(path, rules=rules)) == []
    assert "not_frozen" not in judged(path, rules=rules)
    strict = judged(path, rules=CheckRules(min_contrast=250, duration_seconds=0, duration_percent=1))
    assert [text.split(":")[0] for text in failures(strict)] == ["duration", "not_blank", "not_frozen"]


# What a file is


def overwritten(path: Path) -> None:
    """Its pictures are lost from the middle on; its index is not."""
    data = bytearray(path.read_bytes())
    start, end = len(data) // 2, len(data) * 3 // 4
    data[start:end] = noise(end - start)
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("container", ["mp4", "webm"])
@pytest.mark.parametrize("damage", [overwritten, cut])
def test_a_damaged_file_does_not_decode_from_first_to_last(
    tmp_path: Path, container: str, damage: Callable[[Path], None]
):
    """Though its head is whole, so that players open it; the digest differs as well."""
    path = film(tmp_path / "clip", Film(seconds=2, container=container, sound=True))
    output, _ = described(path)
    damage(path)
    with path.open("rb") as file:
        seen = inspect_clip(path, RULES, copy_hashed(file).sha256)
    request = make_row("r", HIGHWAY, duration_seconds=2, audio=True).request
    found = {one.check: one for one in judge_clip(request, [output], {1: seen}, RULES)}
    assert not found["decodes"].passed, seen
    assert "48 in the 2" in found["decodes"].asked
    assert not found["intact"].passed
    assert str(found["intact"]).startswith(f"intact: asked sha256 {output.sha256[:12]}, came sha256 ")


@pytest.mark.parametrize("data", [b"", b"<html>", b"\0\0\0\x18ftypisom", noise(9000)])
def test_what_is_no_clip_at_all_is_a_finding_and_no_error(tmp_path: Path, data: bytes):
    """Whatever the bytes are, the inspection says so."""
    path = tmp_path / "clip"
    path.write_bytes(data)
    seen = inspect_clip(path, RULES, "ab")
    assert seen.frames == 0
    assert seen.problem
    found = judge_clip(make_row().request, [output_of("ab")], {1: seen}, RULES)
    assert [one.check for one in found if not one.passed] == ["decodes"]
    assert seen.problem in str(found[-1])


# What the simulator makes


@pytest.mark.parametrize("model", CELLS)
def test_the_simulators_clips_are_what_was_asked_for(server: Simulator, tmp_path: Path, model: str):
    """For every model: whoever develops against it sees checks pass that would pass."""
    cells: dict[str, Any] = {"outputs": 2} if model in {RUNWARE, PIXWITH} else {}
    rows = [make_row("plain", model, **cells)]
    if "audio" in type(rows[0].request).model_fields:
        rows.append(make_row("sound", model, audio=True, duration_seconds=2))
    if model == RUNWARE:
        rows.append(make_row("webm", model, output_format="WEBM", aspect_ratio="3:4"))
    store = LocalStore(tmp_path / "store")
    with session_in(tmp_path, server.url) as session:
        found = {one.task.row: one.findings for one in collect_tasks(session, store, succeeded_tasks(session, rows))}
    assert {row: [str(one) for one in findings if not one.passed] for row, findings in found.items()} == {
        row.id: [] for row in rows
    }
    assert all(
        {"intact", "decodes", "duration", "resolution", "outputs"} <= {f.check for f in one} for one in found.values()
    )


def test_a_stored_clip_is_judged_as_it_stands_in_the_store(server: Simulator, tmp_path: Path):
    """What was put in its place, or nothing at all, is found, whoever asks; and an error of the store is a finding."""
    store = LocalStore(tmp_path / "store")
    with session_in(tmp_path, server.url) as session:
        (task,) = succeeded_tasks(session, [make_row()])
        (first,) = collect_tasks(session, store, [task])
        assert first.manifest is not None
        path = tmp_path / "store" / first.manifest.outputs[0].key
        path.unlink()
        film(path, Film())
        (again,) = collect_tasks(session, store, [task])
        assert [one.check for one in again.findings if not one.passed] == ["intact", "duration"]
        path.unlink()
        (gone,) = check_failures(store, first.manifest, task.request)
        assert gone.startswith(f"intact: asked sha256 {first.manifest.outputs[0].sha256[:12]}, came FileNotFoundError")
        assert check_clip(store, first.manifest, task.request, CheckRules(enabled=False)) == ()


def check_failures(store: LocalStore, manifest: ClipManifest, request: Any) -> list[str]:
    return [str(one) for one in check_clip(store, manifest, request, RULES) if not one.passed]


# Where people see it


LOOK = "look_again"
look_job: Any = dg.define_asset_job  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
CHECKED = "ASSET_CHECK_EVALUATION"
KEY = dg.AssetCheckKey(dg.AssetKey([NAME, "clips"]), CLIP_CHECK)
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
    assert stage.materialize(NAME, "clips", partition_key="b").success
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
    names = {key.name for check in stage.definitions.asset_checks or () for key in check.check_keys}
    assert CLIP_CHECK not in names
