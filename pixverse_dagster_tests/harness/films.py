"""Clips of the tests' own: good ones, and ones that differ in what a check looks at."""

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from pixverse_dagster import CheckRules
from pixverse_dagster.core.manifest import ClipOutput
from pixverse_dagster.media.inspect import inspect_clip
from pixverse_dagster.media.probe import probe
from pixverse_dagster.policy.quality import CheckName, Finding, Measurements, judge_clip
from pixverse_dagster.storage.reading import copy_hashed
from pixverse_dagster_tests.harness.factories import HIGHWAY, make_row

RULES = CheckRules()
FPS = 24
SIZE = (640, 360)


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
    files: dict[str, Any] = {"key": "k", "sha256": got.sha256, "size_bytes": got.size_bytes}
    posters: dict[str, Any] = {"poster_key": "p", "poster_sha256": "", "poster_size_bytes": 0}
    output = ClipOutput(n=n, **files, **posters, **dict(facts))
    return output, inspect_clip(path, RULES, got.sha256)


def judged(path: Path, model: str = HIGHWAY, rules: CheckRules = RULES, **cells: Any) -> dict[CheckName, Finding]:
    """What the checks find of this file, as the one output of a row's task."""
    output, seen = described(path)
    return {one.check: one for one in judge_clip(make_row("r", model, **cells).request, [output], {1: seen}, rules)}
