"""A clip is judged by what its row asked for: each rule passes or fails in words."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pixverse_dagster import CheckRules
from pixverse_dagster.core.manifest import ClipOutput
from pixverse_dagster.media.inspect import inspect_clip
from pixverse_dagster.policy.quality import CHECKS, CheckName, Finding, Measurements, judge_clip
from pixverse_dagster.storage.reading import copy_hashed
from pixverse_dagster_tests.harness.factories import HIGHWAY, PIXWITH, RUNWARE, make_row
from pixverse_dagster_tests.harness.films import FPS, RULES, SIZE, Film, described, film, judged, noise

REFERENCES = "highway/pixverse-c1-reference-to-video"


def failures(found: dict[CheckName, Finding]) -> list[str]:
    return [str(one) for one in found.values() if not one.passed]


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
