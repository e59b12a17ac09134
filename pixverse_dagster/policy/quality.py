"""Is a clip what was asked for: what was measured, judged against the request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, get_args

from pydantic import Field

from pixverse_dagster.core.manifest import ClipOutput
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.values import FrozenModel

CheckName = Literal["intact", "decodes", "duration", "resolution", "sound", "outputs", "not_blank", "not_frozen"]


CHECKS: tuple[CheckName, ...] = get_args(CheckName)


class CheckRules(FrozenModel):
    """What a stored clip must be like, with which tolerance, and what happens to one that is not.

    The clip is judged by what its request says; what a request does not say is not judged: the sound of a model without
    such a parameter, the shape of a clip that takes its image's.
    """

    enabled: bool = Field(
        default=True,
        description="Judge every clip as it is stored: one read from the store, one decode and one event per row.",
    )
    blocking: bool = Field(
        default=False,
        description="Withhold a clip that fails: it stays stored, its row fails and is not materialised, and assets "
        "downstream do not get it. Otherwise a failure is a warning.",
    )
    leave_out: Sequence[CheckName] = Field(
        default=(), description="Checks that are not made, such as not_frozen where a still is wanted."
    )
    duration_seconds: float = Field(default=0.5, ge=0, description="How far the duration may be off, in seconds, …")
    duration_percent: float = Field(default=10, ge=0, description="… or in percent: the larger of the two counts.")
    size_percent: float = Field(default=2, ge=0, description="How far a side may be off: encoders round to blocks.")
    frames_percent: float = Field(
        default=2, ge=0, description="How many of the frames that the file announces may be missing, and at least two."
    )
    min_contrast: int = Field(
        default=8,
        ge=0,
        description="A clip is blank if in no frame two cells of a grid of 64 by 36 differ in brightness (0 to 255) by "
        "at least this.",
    )
    min_change: int = Field(
        default=4,
        ge=0,
        description="A clip is frozen if no cell of that grid is ever at least so much brighter or darker than in the "
        "first frame. Re-encoding a still changes it by 2 or so, the blink of an eye by more than 10.",
    )
    sample_every: int = Field(
        default=6,
        ge=1,
        description="Every frame is decoded; contrast and change are measured on every n-th and the last, until there "
        "is enough of both.",
    )


@dataclass(frozen=True)
class Measurements:
    """What there was to see in a file: every frame decoded, or as far as it went (`problem`)."""

    frames: int = 0
    damaged: int = 0
    announced_seconds: float = 0
    fps: float = 0
    seconds: float = 0
    width: int = 0
    height: int = 0
    sound: bool = False
    contrast: int = 0
    change: int = 0
    sha256: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Finding:
    """One check of one output (0: of the task): what was asked, what came."""

    check: CheckName
    passed: bool
    asked: str
    came: str
    output: int = 0

    def __str__(self) -> str:
        where = f" of output {self.output}" if self.output > 1 else ""
        return f"{self.check}{where}: asked {self.asked}, came {self.came}"


def judge_clip(
    request: Request, outputs: Sequence[ClipOutput], seen: Mapping[int, Measurements], rules: CheckRules
) -> tuple[Finding, ...]:
    """Compare what was asked with what came: every check that applies, passed or not. Pure.

    `seen` is by output number; an output that is missing there was not looked at and is not judged. Where nothing could
    be read or decoded, that is the finding, and what cannot be known is not judged.
    """
    asked, came = request.outputs_asked(), len(outputs)
    counted = Finding("outputs", came == asked, f"{asked}", f"{came}")
    each = (_judge(request, output, seen[output.n], rules) for output in outputs if output.n in seen)
    return tuple(one for one in chain([counted], *each) if one.check not in rules.leave_out)


def _judge(request: Request, output: ClipOutput, seen: Measurements, rules: CheckRules) -> Iterator[Finding]:
    n = output.n
    same = seen.sha256 == output.sha256
    came = f"sha256 {seen.sha256[:12]}" if seen.sha256 else seen.problem
    yield Finding("intact", same, f"sha256 {output.sha256[:12]}", came, n)
    if not seen.sha256:
        return
    yield _decodes(seen, rules, n)
    if not seen.frames:
        return
    yield from _as_asked(request, seen, rules, n)
    blank, frozen = seen.contrast < rules.min_contrast, seen.change < rules.min_change
    yield Finding("not_blank", not blank, f"contrast of {rules.min_contrast} in some frame", f"{seen.contrast}", n)
    yield Finding("not_frozen", not frozen, f"a change of {rules.min_change} in some part", f"{seen.change}", n)


def _decodes(seen: Measurements, rules: CheckRules, n: int) -> Finding:
    announced = round(seen.announced_seconds * seen.fps)
    missing = announced - seen.frames
    ok = not seen.problem and not seen.damaged and missing <= max(2, announced * rules.frames_percent / 100)
    came = f"{seen.frames} frames"
    came += f", {seen.damaged} of them damaged" if seen.damaged else ""
    came += f", then: {seen.problem}" if seen.problem else ""
    said = f" ({announced} in the {seen.announced_seconds:g} s that the file announces)" if announced else ""
    return Finding("decodes", ok, f"every frame{said}", came, n)


def _as_asked(request: Request, seen: Measurements, rules: CheckRules, n: int) -> Iterator[Finding]:
    seconds = getattr(request, "duration_seconds", None)
    if seconds is not None:
        off = max(rules.duration_seconds, seconds * rules.duration_percent / 100)
        ok = abs(seen.seconds - seconds) <= off
        yield Finding("duration", ok, f"{seconds:g} s ± {off:g} s", f"{seen.seconds:g} s", n)
    resolution = request.effective_resolution()
    if resolution is not None:
        yield _resolution(int(resolution.removesuffix("p")), request.shape_asked(), seen, rules.size_percent, n)
    sound = getattr(request, "audio", None)
    if sound is not None:
        words = {True: "sound", False: "no sound"}
        yield Finding("sound", seen.sound == sound, words[sound], words[seen.sound], n)


def _resolution(short: int, shape: str | None, seen: Measurements, percent: float, n: int) -> Finding:
    came = f"{seen.width}x{seen.height}"
    if shape is None:
        ok = _near(min(seen.width, seen.height), short, percent)
        return Finding("resolution", ok, f"a short side of {short} ± {percent:g} %", came, n)
    across, down = map(int, shape.split(":"))
    unit = short / min(across, down)
    width, height = round(across * unit), round(down * unit)
    ok = _near(seen.width, width, percent) and _near(seen.height, height, percent)
    return Finding("resolution", ok, f"{width}x{height} ± {percent:g} %", came, n)


def _near(value: float, asked: float, percent: float) -> bool:
    return abs(value - asked) <= asked * percent / 100
