"""Is a clip what was asked for: decode it once from first to last frame, and judge what was seen against the request.

`inspect_clip` looks, at one file. `judge_clip` is pure: a request, what was seen, the tolerances. No Dagster here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from pixverse_dagster.clip import ClipOutput, Record
from pixverse_dagster.errors import ClipInvalid
from pixverse_dagster.media import open_clip
from pixverse_dagster.models import Request
from pixverse_dagster.redaction import redact_text

CheckName = Literal["intact", "decodes", "duration", "resolution", "sound", "outputs", "not_blank", "not_frozen"]
CHECKS: tuple[CheckName, ...] = get_args(CheckName)
MAX_FRAMES = 20_000
"""15 s at more than 1000 frames per second: what has more is made to keep its reader busy."""
_COLUMNS, _ROWS = 64, 36


class CheckRules(Record):
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
class Seen:
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


def inspect_clip(path: Path, rules: CheckRules, sha256: str = "") -> Seen:
    """Decode a file from its first to its last frame, picture and sound. Never raises: what fails is what was seen.

    About 15 ms of CPU for 5 s of 360p, 350 ms for 15 s of 1080p, on one thread, in constant memory.
    """
    look = _Look(rules)
    problem = ""
    try:
        with open_clip(path) as media:
            look.at(media)
    except Exception as error:  # noqa: BLE001 - whatever a decoder says of hostile bytes, the clip is stored and paid for
        kind = "" if isinstance(error, ClipInvalid) else f"{type(error).__name__}: "
        problem = f"{kind}{redact_text(str(error))}"[:300]
    return look.seen(sha256, problem)


class _Look:
    """What is noticed while frames go by."""

    def __init__(self, rules: CheckRules) -> None:
        self._rules = rules
        self._frames = self._damaged = self._width = self._height = 0
        self._announced = self._fps = self._end = 0.0
        self._start: float | None = None
        self._contrast = self._change = 0
        self._sound = False
        self._first = b""

    def at(self, media: Any) -> None:
        from av import AudioFrame, time_base  # noqa: PLC0415 - 160 ms, paid only where a clip is read
        from av.video.reformatter import Interpolation, VideoReformatter  # noqa: PLC0415 - as above

        video = media.streams.video[0]
        # One thread: many clips are looked at at once, on machines that have other things to do.
        video.thread_type, video.codec_context.thread_count = "NONE", 1
        self._fps = float(video.average_rate or 0)
        own = float((video.duration or 0) * (video.time_base or 0))
        self._announced = own or float((media.duration or 0) / time_base)
        small, last = VideoReformatter(), None

        def sample(frame: Any) -> None:
            if self._contrast < self._rules.min_contrast or self._change < self._rules.min_change:
                grey = small.reformat(frame, _COLUMNS, _ROWS, "gray", interpolation=Interpolation.AREA).planes[0]
                self._measure(bytes(grey), grey.line_size)

        for frame in media.decode(video, *media.streams.audio[:1]):
            if isinstance(frame, AudioFrame):
                self._sound = True
                continue
            if self._frames >= MAX_FRAMES:
                raise ClipInvalid(f"more than {MAX_FRAMES} frames; the rest was not read")
            self._count(frame)
            last = frame
            if (self._frames - 1) % self._rules.sample_every == 0:
                sample(frame)
        if last is not None:
            sample(last)

    def _count(self, frame: Any) -> None:
        self._frames += 1
        self._damaged += frame.is_corrupt
        self._width, self._height = self._width or frame.width, self._height or frame.height
        at = frame.time if frame.time is not None else self._end
        self._start = at if self._start is None else min(self._start, at)
        self._end = max(self._end, at + (1 / self._fps if self._fps else 0))

    def _measure(self, grey: bytes, stride: int) -> None:
        cells = grey
        if stride != _COLUMNS:
            cells = b"".join(grey[row * stride : row * stride + _COLUMNS] for row in range(_ROWS))
        self._contrast = max(self._contrast, max(cells) - min(cells))
        self._first = self._first or cells
        self._change = max(self._change, *map(abs, map(int.__sub__, cells, self._first)))

    def seen(self, sha256: str, problem: str) -> Seen:
        return Seen(
            frames=self._frames,
            damaged=self._damaged,
            announced_seconds=round(self._announced, 3),
            fps=round(self._fps, 3),
            seconds=round(self._end - (self._start or 0), 3),
            width=self._width,
            height=self._height,
            sound=self._sound,
            contrast=self._contrast,
            change=self._change,
            sha256=sha256,
            problem=problem or ("" if self._frames else "no frame decodes"),
        )


def judge_clip(
    request: Request, outputs: Sequence[ClipOutput], seen: Mapping[int, Seen], rules: CheckRules
) -> tuple[Finding, ...]:
    """Compare what was asked with what came: every check that applies, passed or not. Pure.

    `seen` is by output number; an output that is missing there was not looked at and is not judged. Where nothing could
    be read or decoded, that is the finding, and what cannot be known is not judged.
    """
    asked, came = request.outputs_asked(), len(outputs)
    counted = Finding("outputs", came == asked, f"{asked}", f"{came}")
    each = (_judge(request, output, seen[output.n], rules) for output in outputs if output.n in seen)
    return tuple(one for one in chain([counted], *each) if one.check not in rules.leave_out)


def _judge(request: Request, output: ClipOutput, seen: Seen, rules: CheckRules) -> Iterator[Finding]:
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


def _decodes(seen: Seen, rules: CheckRules, n: int) -> Finding:
    announced = round(seen.announced_seconds * seen.fps)
    missing = announced - seen.frames
    ok = not seen.problem and not seen.damaged and missing <= max(2, announced * rules.frames_percent / 100)
    came = f"{seen.frames} frames"
    came += f", {seen.damaged} of them damaged" if seen.damaged else ""
    came += f", then: {seen.problem}" if seen.problem else ""
    said = f" ({announced} in the {seen.announced_seconds:g} s that the file announces)" if announced else ""
    return Finding("decodes", ok, f"every frame{said}", came, n)


def _as_asked(request: Request, seen: Seen, rules: CheckRules, n: int) -> Iterator[Finding]:
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


def _resolution(short: int, shape: str | None, seen: Seen, percent: float, n: int) -> Finding:
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
