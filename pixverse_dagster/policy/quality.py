"""Is a clip what was asked for: what was measured, judged against the request. A check is a function and a line.

`OUTPUT_CHECKS` and `TASK_CHECKS` are the registries: rules, findings and events have the names of checks from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from pixverse_dagster.core.manifest import ClipOutput
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.values import FrozenModel


class Judgement(NamedTuple):
    """What a check says: whether it passed, what was asked, what came."""

    passed: bool
    asked: str
    came: str


@dataclass(frozen=True)
class Measurements:
    """What was measured in a file: every frame decoded, or as far as it went (`problem`)."""

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
class JudgedOutput:
    """One output of a task, and all that it is judged by."""

    request: Request
    output: ClipOutput
    measured: Measurements
    rules: CheckRules


def _intact(it: JudgedOutput) -> Judgement:
    came = f"sha256 {it.measured.sha256[:12]}" if it.measured.sha256 else it.measured.problem
    return Judgement(it.measured.sha256 == it.output.sha256, f"sha256 {it.output.sha256[:12]}", came)


def _decodes(it: JudgedOutput) -> Judgement | None:
    measured = it.measured
    if not measured.sha256:
        return None
    announced = round(measured.announced_seconds * measured.fps)
    missing = announced - measured.frames
    enough = missing <= max(2, announced * it.rules.frames_percent / 100)
    came = f"{measured.frames} frames"
    came += f", {measured.damaged} of them damaged" if measured.damaged else ""
    came += f", then: {measured.problem}" if measured.problem else ""
    said = f" ({announced} in the {measured.announced_seconds:g} s that the file announces)" if announced else ""
    return Judgement(not measured.problem and not measured.damaged and enough, f"every frame{said}", came)


def _duration(it: JudgedOutput) -> Judgement | None:
    seconds = getattr(it.request, "duration_seconds", None)
    if seconds is None or not it.measured.frames:
        return None
    off = max(it.rules.duration_seconds, seconds * it.rules.duration_percent / 100)
    passed = abs(it.measured.seconds - seconds) <= off
    return Judgement(passed, f"{seconds:g} s ± {off:g} s", f"{it.measured.seconds:g} s")


def _resolution(it: JudgedOutput) -> Judgement | None:
    resolution = it.request.effective_resolution()
    if resolution is None or not it.measured.frames:
        return None
    short, percent = int(resolution.removesuffix("p")), it.rules.size_percent
    came_width, came_height = it.measured.width, it.measured.height
    came = f"{came_width}x{came_height}"
    shape = it.request.shape_asked()
    if shape is None:
        return Judgement(
            _near(min(came_width, came_height), short, percent), f"a short side of {short} ± {percent:g} %", came
        )
    across, down = map(int, shape.split(":"))
    unit = short / min(across, down)
    width, height = round(across * unit), round(down * unit)
    passed = _near(came_width, width, percent) and _near(came_height, height, percent)
    return Judgement(passed, f"{width}x{height} ± {percent:g} %", came)


def _sound(it: JudgedOutput) -> Judgement | None:
    asked = getattr(it.request, "audio", None)
    if asked is None or not it.measured.frames:
        return None
    words = {True: "sound", False: "no sound"}
    return Judgement(it.measured.sound == asked, words[asked], words[it.measured.sound])


def _not_blank(it: JudgedOutput) -> Judgement | None:
    if not it.measured.frames:
        return None
    least = it.rules.min_contrast
    return Judgement(it.measured.contrast >= least, f"contrast of {least} in some frame", f"{it.measured.contrast}")


def _not_frozen(it: JudgedOutput) -> Judgement | None:
    if not it.measured.frames:
        return None
    least = it.rules.min_change
    return Judgement(it.measured.change >= least, f"a change of {least} in some part", f"{it.measured.change}")


def _near(value: float, asked: float, percent: float) -> bool:
    return abs(value - asked) <= asked * percent / 100


def _outputs(request: Request, outputs: Sequence[ClipOutput]) -> Judgement:
    asked, came = request.outputs_asked(), len(outputs)
    return Judgement(came == asked, f"{asked}", f"{came}")


TASK_CHECKS: Mapping[str, Callable[[Request, Sequence[ClipOutput]], Judgement]] = {"outputs": _outputs}
"""Checks of a task's outputs together."""
OUTPUT_CHECKS: Mapping[str, Callable[[JudgedOutput], Judgement | None]] = {
    "intact": _intact,
    "decodes": _decodes,
    "duration": _duration,
    "resolution": _resolution,
    "sound": _sound,
    "not_blank": _not_blank,
    "not_frozen": _not_frozen,
}
"""Checks of each output; None where one does not apply, or where what it needs could not be measured."""
CHECKS: tuple[str, ...] = (*TASK_CHECKS, *OUTPUT_CHECKS)

if TYPE_CHECKING:
    CheckName = str
else:
    CheckName = Literal[CHECKS]


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
    request: Request, outputs: Sequence[ClipOutput], measured: Mapping[int, Measurements], rules: CheckRules
) -> tuple[Finding, ...]:
    """Compare what was asked with what came: every check that applies, passed or not. Pure.

    `measured` is by output number; an output that is missing there was not looked at and is not judged. Where nothing
    could be read or decoded, that is the finding, and what cannot be known is not judged.
    """
    of_task = ((name, check(request, outputs), 0) for name, check in TASK_CHECKS.items())
    of_outputs = (
        (name, check(JudgedOutput(request, output, measured[output.n], rules)), output.n)
        for output in outputs
        if output.n in measured
        for name, check in OUTPUT_CHECKS.items()
    )
    return tuple(
        Finding(name, *judgement, n)
        for name, judgement, n in chain(of_task, of_outputs)
        if judgement is not None and name not in rules.leave_out
    )
