"""Clips in, one film with sound out: with PyAV, a clip at a time, in memory that does not grow with their number.

Clips may differ in size, shape, frame rate and container, and may be silent: each picture is scaled and padded, and
silence stands in for absent sound. Sound and picture advance together, a frame at a time, so they end together.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.error
import av.filter

SAMPLE_RATE = 48_000
# A clip that names other files or addresses is not followed there.
_OPTIONS = {"protocol_whitelist": "none"}


@dataclass(frozen=True)
class Style:
    """What the film looks like. Sides are even; `fps` divides 48000, so that a frame has a whole number of samples."""

    width: int = 640
    height: int = 360
    fps: int = 24
    seconds: float | None = 2.0
    """How much of each clip, from its start; None for all of it."""
    crf: int = 21

    @property
    def frames(self) -> int | None:
        """How many frames of each clip at most."""
        return None if self.seconds is None else max(1, round(self.seconds * self.fps))


@dataclass(frozen=True)
class Cut:
    """The finished film."""

    path: Path
    clips: int
    seconds: float
    size_bytes: int


def cut(clips: Iterable[Callable[[], BinaryIO]], path: Path, style: Style | None = None) -> Cut:
    """Cut a film from these clips, each given as a function that opens it, in this order.

    The film is an MP4 (H.264, AAC) that starts to play before it is loaded. It appears at `path` when it is complete.

    Raises ValueError if there is no clip, and av.error.FFmpegError if one cannot be decoded.
    """
    style = style or Style()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.part")
    film: Any  # PyAV's own types are partly unknown
    try:
        with av.open(str(draft), "w", format="mp4", options={"movflags": "+faststart"}) as film:
            picture = film.add_stream("libx264", rate=style.fps, options={"crf": str(style.crf), "preset": "veryfast"})
            picture.width, picture.height, picture.pix_fmt = style.width, style.height, "yuv420p"
            sound = film.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
            frames = count = 0
            for opens in clips:
                count += 1
                for image, samples in _scenes(opens, style):
                    image.pts, image.time_base = frames, Fraction(1, style.fps)
                    samples.pts, samples.time_base = frames * samples.samples, Fraction(1, SAMPLE_RATE)
                    film.mux(picture.encode(image))
                    film.mux(sound.encode(samples))
                    frames += 1
            if not frames:
                raise ValueError(f"there is nothing to cut {path.name} from")
            film.mux(picture.encode(None))
            film.mux(sound.encode(None))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return Cut(path, count, frames / style.fps, path.stat().st_size)


def _scenes(opens: Callable[[], BinaryIO], style: Style) -> Iterator[tuple[Any, Any]]:
    """A clip's frames, each with its share of the sound.

    A stream from S3 cannot be wound back, and a film's index may be at its end: hence the file.
    """
    with tempfile.NamedTemporaryFile(suffix=".clip") as file:
        with closing(opens()) as clip:
            shutil.copyfileobj(clip, file)
        file.flush()
        with (
            Path(file.name).open("rb") as one,
            Path(file.name).open("rb") as two,
            av.open(one, options=_OPTIONS) as pictures,
            av.open(two, options=_OPTIONS) as sounds,
        ):
            yield from zip(_pictures(pictures, style), _sounds(sounds, style), strict=False)


def _pictures(clip: Any, style: Style) -> Iterator[Any]:
    """The frames, in the film's size and rate; at most as many as the style says."""
    graph = av.filter.Graph()
    width, height = style.width, style.height
    source = graph.add_buffer(template=clip.streams.video[0], time_base=clip.streams.video[0].time_base)
    steps = [
        graph.add("fps", str(style.fps)),
        graph.add("scale", f"{width}:{height}:force_original_aspect_ratio=decrease:force_divisible_by=2"),
        graph.add("pad", f"{width}:{height}:-1:-1"),
        graph.add("setsar", "1"),
        graph.add("format", "yuv420p"),
    ]
    return islice(_filtered(graph, [source, *steps], clip.decode(video=0)), style.frames)


def _sounds(clip: Any, style: Style) -> Iterator[Any]:
    """The sound, a film frame's share at a time, and then silence without end."""
    graph = av.filter.Graph()
    share = SAMPLE_RATE // style.fps
    if share * style.fps != SAMPLE_RATE:
        raise ValueError(f"{style.fps} frames per second do not divide {SAMPLE_RATE} samples")
    tail = [graph.add("aformat", f"sample_fmts=fltp:channel_layouts=stereo:sample_rates={SAMPLE_RATE}")]
    if clip.streams.audio:
        source = graph.add_abuffer(template=clip.streams.audio[0], time_base=clip.streams.audio[0].time_base)
        # Where the sound begins later than the picture, or has gaps, silence keeps them in step.
        head = [source, graph.add("aresample", f"{SAMPLE_RATE}:async=1:first_pts=0"), graph.add("apad")]
        frames = clip.decode(audio=0)
    else:
        head, frames = [graph.add("anullsrc", f"r={SAMPLE_RATE}:cl=stereo")], iter(())
    return _filtered(graph, [*head, *tail, graph.add("asetnsamples", f"n={share}:p=0")], frames)


def _filtered(graph: Any, steps: list[Any], frames: Iterator[Any]) -> Iterator[Any]:
    """What comes out of a chain of filters when these frames go in, pulled one at a time."""
    kind = "abuffersink" if steps[-1].name.startswith("asetnsamples") else "buffersink"
    steps = [*steps, graph.add(kind)]
    for before, after in pairwise(steps):
        before.link_to(after)
    graph.configure()
    while True:
        try:
            yield steps[-1].pull()
        except av.error.BlockingIOError:
            steps[0].push(next(frames, None))
        except av.error.EOFError:
            return
