"""A clip is judged by what its row asked for: each rule passes or fails in words."""

from collections.abc import Callable
from dataclasses import replace
from http.client import IncompleteRead
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError  # pyright: ignore[reportMissingTypeStubs]

from pixverse_dagster import CheckRules
from pixverse_dagster.core.manifest import ClipManifest, ClipOutput
from pixverse_dagster.media.inspect import inspect_clip
from pixverse_dagster.policy.quality import CHECKS, CheckName, Finding, Measurements, judge_clip
from pixverse_dagster.policy.sizes import expected_size
from pixverse_dagster.stages.check import check_clip
from pixverse_dagster.storage.local import LocalStore
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
    (Film(size=(480, 270)), ("resolution: asked a short side of 360 or a long side of 640 ± 2 %, or as many pixels as "
     "640x360 (not certain: the clip keeps the shape of its image, and nothing public says how it is scaled), "
     "came 480x270"), {}),
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
    (RUNWARE, {"aspect_ratio": "9:16"}, SIZE, "360x640 ± 2 %"),
    (RUNWARE, {"resolution": None, "width": 360, "height": 360}, (360, 360), ""),
    (RUNWARE, {"resolution": None, "width": 360, "height": 360}, SIZE, "360x360 or 640x640 ± 2 % (not certain: "),
    (RUNWARE, {"image": "https://x.example/kite.png"}, (360, 500), ""),
    (RUNWARE, {"resolution": "540p"}, (960, 544), ""),
    (RUNWARE, {"resolution": "540p"}, (1024, 576), ""),
    (RUNWARE, {"resolution": None, "width": 960, "height": 540}, (1024, 576), ""),
    (RUNWARE, {"resolution": None, "width": 960, "height": 540}, SIZE, "960x540 or 1024x576 ± 2 % (not certain: "),
    (PIXWITH, {"aspect_ratio": "4:3"}, SIZE, "480x360 or 640x480 ± 2 % (not certain: "),
    (PIXWITH, {"aspect_ratio": "4:3", "image": "https://x.example/kite.png"}, SIZE, ""),
    (PIXWITH, {"aspect_ratio": "1:1", "resolution": "720p"}, (960, 960), ""),
    (REFERENCES, {"aspect_ratio": "1:1"}, SIZE, "640x640 ± 2 %"),
    (REFERENCES, {"resolution": "540p"}, (960, 540), "1024x576 ± 2 %"),
    (REFERENCES, {"resolution": "720p", "aspect_ratio": "1:1"}, (720, 720), "960x960 ± 2 %"),
    (REFERENCES, {"resolution": "720p"}, SIZE, "1280x720 ± 2 %"),
    (HIGHWAY, {"resolution": "720p"}, SIZE, "a short side of 720 or a long side of 1280 ± 2 %, or as many pixels"),
    (HIGHWAY, {"resolution": "720p"}, (1120, 822), ""),
]


@pytest.mark.parametrize(("model", "cells", "size", "words"), SHAPES)
def test_the_shape_is_judged_where_it_was_asked_for(model: str, cells: dict[str, Any], size: Any, words: str):
    """By the pixels that the model makes, if they are known; encoders round to blocks of 16."""
    request = make_row("r", model, **cells).request
    seen = Measurements(
        frames=120, seconds=5, fps=FPS, width=size[0], height=size[1], contrast=99, change=99, sha256="ab"
    )
    found = judge_clip(request, [output_of("ab")], {1: seen}, RULES)
    (judged,) = [one for one in found if one.check == "resolution"]
    assert judged.passed == (not words), judged
    assert judged.asked.startswith(words)
    expected = expected_size(request)
    assert ("not certain" in judged.asked) == bool(expected and expected.note)


def output_of(sha256: str, n: int = 1) -> ClipOutput:
    """An output of which only the digest matters."""
    facts: dict[str, Any] = {"container": "mp4", "codec": "h264", "width": 1, "height": 1, "fps": 1}
    return ClipOutput(
        n=n,
        key="k",
        poster_key="p",
        sha256=sha256,
        size_bytes=1,
        poster_sha256="",
        poster_size_bytes=1,
        duration_seconds=1,
        audio=False,
        **facts,
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
    found = judge_clip(
        request, [output_of("ab", 1), output_of("cd", 2)], {1: good, 2: replace(good, seconds=3, sha256="cd")}, RULES
    )
    assert [str(one) for one in found if not one.passed] == [
        "outputs: asked 3, came 2",
        "duration of output 2: asked 5 s ± 0.5 s, came 3 s",
    ]


LINKS: list[tuple[list[str], list[str], str]] = [
    # the digests of the outputs, their result URLs, and what is wrong
    (["ab", "cd"], ["https://x.example/1", "https://x.example/2"], ""),
    (["ab", "cd"], [], ""),
    (["ab"], ["https://x.example/1"], ""),
    ([], [], ""),
    (["ab", "ab"], [], "outputs 1 and 2 are the same file"),
    (["ab", "cd"], ["https://x.example/1"] * 2, "outputs 1 and 2 have the same result URL"),
    (
        ["ab", "cd", "ab", "cd"],
        [f"https://x.example/{n}" for n in (1, 2, 3, 2)],
        (
            "outputs 2 and 4 have the same result URL; outputs 1 and 3 are the same file; "
            "outputs 2 and 4 are the same file"
        ),
    ),
    (["ab"] * 3, [], "outputs 1 and 2 and 3 are the same file"),
]


@pytest.mark.parametrize(("digests", "urls", "words"), LINKS)
def test_an_output_that_is_there_twice_is_a_finding_that_names_both(digests: list[str], urls: list[str], words: str):
    """By its bytes or by its result URL: as many clips were paid for as were asked for."""
    request = make_row("r", PIXWITH).request
    outputs = [output_of(sha256, n) for n, sha256 in enumerate(digests, start=1)]
    (found,) = [one for one in judge_clip(request, outputs, {}, RULES, urls) if one.check == "distinct"]
    assert found.passed == (not words)
    assert found.came == (words or "no file twice")
    assert not [
        one for one in judge_clip(request, outputs, {}, CheckRules(leave_out=["distinct"]), urls) if one == found
    ]


class Unsteady(LocalStore):
    """A store whose reads fail with this error, so many times; after that it is well."""

    def __init__(self, root: Path, error: Exception, times: int) -> None:
        super().__init__(root)
        self.error = error
        self.times = times

    def open(self, key: str) -> BinaryIO:
        self.times -= 1
        if self.times >= 0:
            raise self.error
        return super().open(key)


def s3_error(code: str, status: int) -> Exception:
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "GetObject")


AT_ONCE = (0, 0)
UNREADABLE = [
    ConnectionResetError(104, "reset by peer"),
    TimeoutError("timed out"),
    OSError(5, "input/output error"),
    PermissionError(13, "denied"),
    IncompleteRead(b"half"),
    EndpointConnectionError(endpoint_url="https://s3.example"),
    s3_error("SlowDown", 503),
    s3_error("InternalError", 500),
    s3_error("RequestTimeTooSkewed", 403),
]


@pytest.mark.parametrize("error", UNREADABLE, ids=lambda error: f"{type(error).__name__} {error}"[:40])
def test_a_store_that_cannot_be_read_is_no_failed_check(tmp_path: Path, error: Exception):
    """Read again a few times in place, the check is made; else it is not made, which is neither passed nor failed."""
    film(tmp_path / "k", Film())
    output, _ = described(tmp_path / "k")
    manifest, request = ClipManifest.model_construct(outputs=(output,)), make_row("r", HIGHWAY).request
    made = check_clip(Unsteady(tmp_path, error, 2), manifest, request, RULES, pauses_seconds=AT_ONCE)
    assert made.not_made == ""
    assert {one.check for one in made.findings} == set(CHECKS)
    assert made.failed == ()
    unmade = check_clip(Unsteady(tmp_path, error, 99), manifest, request, RULES, pauses_seconds=AT_ONCE)
    assert unmade.undecided
    assert unmade.failed == ()
    assert unmade.not_made.startswith(f"output 1 could not be read back: {type(error).__name__}")


def test_what_is_missing_or_other_is_a_failed_check_also_beside_an_output_that_cannot_be_read(tmp_path: Path):
    """No object is a finding at once, without further tries; and what is known to be wrong is not kept back."""
    film(tmp_path / "k", Film())
    output, _ = described(tmp_path / "k")
    request = make_row("r", HIGHWAY).request
    gone = ClipManifest.model_construct(outputs=(output.model_copy(update={"key": "nowhere"}),))
    (failed,) = check_clip(LocalStore(tmp_path), gone, request, RULES).failed
    assert "FileNotFoundError" in failed.came
    other = output.model_copy(update={"sha256": "0" * 64})
    both = ClipManifest.model_construct(outputs=(output, other.model_copy(update={"n": 2})))
    checked = check_clip(Unsteady(tmp_path, OSError(5, "no"), 3), both, request, RULES, pauses_seconds=AT_ONCE)
    assert checked.not_made.startswith("output 1 ")
    assert [one.check for one in checked.failed] == ["outputs", "intact"]
    assert not checked.undecided


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
