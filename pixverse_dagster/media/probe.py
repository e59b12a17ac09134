"""Reads the facts and the poster frame of a video file."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast

from pixverse_dagster.core.errors import ClipInvalid
from pixverse_dagster.core.manifest import ClipFacts

POSTER_WIDTH = 320
MAX_PIXELS = 64_000_000
"""Largest image or video frame that is decoded. Without a limit, a small file could decode to any size."""
# Some formats refer to other files: playlists, session descriptions, lists of files. None of them is ever opened.
OPEN_OPTIONS = {"protocol_whitelist": "none", "max_pixels": str(MAX_PIXELS)}
_DEMUXERS = {"mp4": "mov", "mov": "mov", "webm": "matroska"}


@contextmanager
def open_clip(path: Path) -> Generator[Any]:
    """Open an MP4, MOV or WEBM file with PyAV. Other files that it refers to are not opened.

    Raises ClipInvalid if it is of another format, has no video or is too large to be decoded.
    """
    import av  # noqa: PLC0415 - 160 ms, paid only where a clip is read

    container = _container(path)
    with path.open("rb") as file, av.open(file, "r", format=_DEMUXERS[container], options=OPEN_OPTIONS) as media:
        if not media.streams.video:
            raise ClipInvalid(f"the file has no video ({media.format.name})")
        video = media.streams.video[0]
        if video.width * video.height > MAX_PIXELS:
            raise ClipInvalid(f"the file's frames are {video.width}x{video.height}: too large to be decoded")
        yield media


def use_one_thread(codec: Any) -> None:
    """Decode or encode without threads: many clips are read at the same time, and the machine may have other work."""
    codec.thread_type, codec.thread_count = "NONE", 1


def probe(path: Path) -> tuple[ClipFacts, bytes]:
    """Read a clip's facts and its poster frame, a JPEG at most 320 px wide.

    The whole file is demuxed, which finds files that were cut or overwritten, and the first frame is decoded. Raises
    ClipInvalid if a packet cannot be read or that frame cannot be decoded.
    """
    import av  # noqa: PLC0415 - 160 ms, paid only where a clip is read
    import av.error  # noqa: PLC0415 - for the same reason

    container = _container(path)
    try:
        with open_clip(path) as media:
            video = media.streams.video[0]
            use_one_thread(video.codec_context)
            ends = [(packet.pts or 0) + (packet.duration or 0) for packet in media.demux(video) if packet.size]
            end = float(max(ends, default=0) * (video.time_base or 0))
            duration = end or float((media.duration or 0) / av.time_base)
            fps = float(video.average_rate or 0)
            if not ends or duration <= 0:
                raise ClipInvalid("the file has no playable video packets")
            media.seek(0)
            frame = next(media.decode(video))
            facts = ClipFacts(
                container=container,
                codec=video.codec_context.name,
                width=video.width,
                height=video.height,
                fps=round(fps, 3),
                duration_seconds=round(duration, 3),
                audio=bool(media.streams.audio),
            )
            return facts, _poster(frame)
    except (av.error.FFmpegError, StopIteration, ValueError, ArithmeticError) as error:
        raise ClipInvalid(f"the file is not a playable clip ({type(error).__name__}: {error})") from None


def _container(path: Path) -> Literal["mp4", "webm", "mov"]:
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "webm"
    if head[4:8] == b"ftyp":
        return "mov" if head[8:12] == b"qt  " else "mp4"
    raise ClipInvalid("the file is neither MP4, MOV nor WEBM")


def _poster(frame: Any) -> bytes:
    import av  # noqa: PLC0415 - 160 ms, paid only where a clip is read
    from av.video.reformatter import ColorRange  # noqa: PLC0415 - for the same reason

    width = min(POSTER_WIDTH, frame.width) // 2 * 2
    height = max(2, round(frame.height * width / frame.width) // 2 * 2)
    encoder = cast("Any", av.CodecContext.create("mjpeg", "w"))
    use_one_thread(encoder)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuvj420p", Fraction(1, 25)
    small = frame.reformat(width=width, height=height, format="yuvj420p", dst_color_range=ColorRange.JPEG)
    small.pts, small.time_base = 0, Fraction(1, 25)
    return b"".join(bytes(packet) for packet in [*encoder.encode(small), *encoder.encode(None)])
