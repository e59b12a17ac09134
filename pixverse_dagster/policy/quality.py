"""Quality checks: whether a clip is what its request asked for, judged by what was measured in its file.

A check is a function and a line in `OUTPUT_CHECKS` or `TASK_CHECKS`. Rules, findings and events take the names of the
checks from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from pixverse_dagster.core.manifest import ClipOutput
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.values import FrozenModel
from pixverse_dagster.policy.sizes import expected_size


class Judgement(NamedTuple):
    """The result of a check: whether it passed, what the request asked for, and what the clip has."""

    passed: bool
    asked: str
    came: str


@dataclass(frozen=True)
class Measurements:
    """What was measured in a video file by decoding every frame.

    If decoding stopped early, `problem` says why, and the rest is about the frames before that. `sha256` is that of the
    bytes read from the store, or empty if they could not be read. `announced_seconds` is the duration that the file
    states, `seconds` that of its frames. Sides are in pixels; `contrast` and `change` are differences of brightness,
    0 to 255, as `CheckRules` describes them.
    """

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
    """One output of a task, and everything that its checks use."""

    request: Request
    output: ClipOutput
    measured: Measurements
    rules: CheckRules


def _intact(judged: JudgedOutput) -> Judgement:
    came = f"sha256 {judged.measured.sha256[:12]}" if judged.measured.sha256 else judged.measured.problem
    return Judgement(judged.measured.sha256 == judged.output.sha256, f"sha256 {judged.output.sha256[:12]}", came)


def _decodes(judged: JudgedOutput) -> Judgement | None:
    measured = judged.measured
    if not measured.sha256:
        return None
    announced = round(measured.announced_seconds * measured.fps)
    missing = announced - measured.frames
    enough = missing <= max(2, announced * judged.rules.frames_percent / 100)
    came = f"{measured.frames} frames"
    came += f", {measured.damaged} of them damaged" if measured.damaged else ""
    came += f", then: {measured.problem}" if measured.problem else ""
    stated = f" ({announced} in the {measured.announced_seconds:g} s that the file announces)" if announced else ""
    return Judgement(not measured.problem and not measured.damaged and enough, f"every frame{stated}", came)


def _duration(judged: JudgedOutput) -> Judgement | None:
    seconds = getattr(judged.request, "duration_seconds", None)
    if seconds is None or not judged.measured.frames:
        return None
    tolerance = max(judged.rules.duration_seconds, seconds * judged.rules.duration_percent / 100)
    passed = abs(judged.measured.seconds - seconds) <= tolerance
    return Judgement(passed, f"{seconds:g} s ± {tolerance:g} s", f"{judged.measured.seconds:g} s")


def _resolution(judged: JudgedOutput) -> Judgement | None:
    expected = expected_size(judged.request)
    if expected is None or not judged.measured.frames:
        return None
    width, height, percent = judged.measured.width, judged.measured.height, judged.rules.size_percent
    return Judgement(expected.fits(width, height, percent), expected.words(percent), f"{width}x{height}")


def _sound(judged: JudgedOutput) -> Judgement | None:
    asked = getattr(judged.request, "audio", None)
    if asked is None or not judged.measured.frames:
        return None
    words = {True: "sound", False: "no sound"}
    return Judgement(judged.measured.sound == asked, words[asked], words[judged.measured.sound])


def _not_blank(judged: JudgedOutput) -> Judgement | None:
    if not judged.measured.frames:
        return None
    least, contrast = judged.rules.min_contrast, judged.measured.contrast
    return Judgement(contrast >= least, f"contrast of {least} in some frame", f"{contrast}")


def _not_frozen(judged: JudgedOutput) -> Judgement | None:
    if not judged.measured.frames:
        return None
    least, change = judged.rules.min_change, judged.measured.change
    return Judgement(change >= least, f"a change of {least} in some part", f"{change}")


@dataclass(frozen=True)
class JudgedTask:
    """A task's outputs together. `urls` are the result URLs by output, as far as they are still known."""

    request: Request
    outputs: Sequence[ClipOutput]
    urls: Sequence[str] = ()


def _outputs(judged: JudgedTask) -> Judgement:
    asked, came = judged.request.outputs_asked(), len(judged.outputs)
    return Judgement(came == asked, f"{asked}", f"{came}")


def _distinct(judged: JudgedTask) -> Judgement:
    same_link = _repeated(enumerate(judged.urls, start=1))
    same_bytes = _repeated((output.n, output.sha256) for output in judged.outputs)
    words = [f"outputs {found} have the same result URL" for found in same_link]
    words += [f"outputs {found} are the same file" for found in same_bytes]
    return Judgement(not words, "each output its own file", "; ".join(words) or "no file twice")


def _repeated(numbered: Iterable[tuple[int, str]]) -> list[str]:
    """The numbers of the outputs that have something in common: `1 and 3` for each such thing."""
    numbers: dict[str, list[str]] = {}
    for number, text in numbered:
        numbers.setdefault(text, []).append(str(number))
    return [" and ".join(found) for found in numbers.values() if len(found) > 1]


TASK_CHECKS: Mapping[str, Callable[[JudgedTask], Judgement]] = {"outputs": _outputs, "distinct": _distinct}
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
"""Checks of each output. A check returns None if it does not apply, or if what it needs could not be measured."""
CHECKS: tuple[str, ...] = (*TASK_CHECKS, *OUTPUT_CHECKS)

if TYPE_CHECKING:
    CheckName = str
else:
    CheckName = Literal[CHECKS]


class CheckRules(FrozenModel):
    """What a stored clip must be like, with which tolerances, and what happens if it is not.

    A clip is judged only by what its request says. Where the model has no parameter for sound, sound is not judged;
    where the clip takes the shape of its image, the shape is not judged. Its size is judged by the pixels that
    PixVerse's models are known to make; where that is not certain, what may be right passes, and the finding says so.
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
    duration_seconds: float = Field(
        default=0.5,
        ge=0,
        description="How many seconds the duration may be off; of this and duration_percent, the larger one counts.",
    )
    duration_percent: float = Field(default=10, ge=0, description="How many percent the duration may be off.")
    size_percent: float = Field(default=2, ge=0, description="How many percent a side may be off; encoders round.")
    frames_percent: float = Field(
        default=2,
        ge=0,
        description="How many percent of the stated number of frames may be missing; two always may.",
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
        description="A clip is frozen if no cell of that grid ever differs from the first frame by at least this. "
        "Re-encoding changes a still by about 2; a blink of an eye changes it by more than 10.",
    )
    sample_every: int = Field(
        default=6,
        ge=1,
        description="Every frame is decoded; contrast and change are measured in every n-th and in the last, until "
        "both are large enough.",
    )


@dataclass(frozen=True)
class Finding:
    """The result of one check. `output` is the number of the output, or 0 for a check of the whole task."""

    check: CheckName
    passed: bool
    asked: str
    came: str
    output: int = 0

    def __str__(self) -> str:
        where = f" of output {self.output}" if self.output > 1 else ""
        return f"{self.check}{where}: asked {self.asked}, came {self.came}"


def judge_clip(
    request: Request,
    outputs: Sequence[ClipOutput],
    measured: Mapping[int, Measurements],
    rules: CheckRules,
    urls: Sequence[str] = (),
) -> tuple[Finding, ...]:
    """One finding for every check that applies, passed or not. Pure.

    `measured` is by output number; an output that is missing there is not judged by itself. If a file is not there or
    cannot be decoded, that is a finding, and the checks that would need its frames do not apply. `urls` are the result
    URLs, as far as they are known.
    """
    task = JudgedTask(request, outputs, urls)
    of_task = ((name, check(task), 0) for name, check in TASK_CHECKS.items())
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
