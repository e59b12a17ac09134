"""Reads the facts and the poster frame of a video file."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pixverse_dagster.core.errors import ClipInvalid
from pixverse_dagster.core.manifest import ClipFacts
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.text import shorten
from pixverse_dagster.media.pictures import encode_jpeg
from pixverse_dagster.transport.download import is_page
from pixverse_dagster.transport.logs import get_logger

POSTER_WIDTH = 320
MAX_PIXELS = 64_000_000
"""Largest image or video frame that is decoded. Without a limit, a small file could decode to any size."""
# Some formats refer to other files: playlists, session descriptions, lists of files. None of them is ever opened.
OPEN_OPTIONS = {"protocol_whitelist": "none", "max_pixels": str(MAX_PIXELS)}
Container = Literal["mp4", "webm", "mov"]
_CONTROLS = frozenset(range(32)) - set(b"\t\n\f\r")
_log = get_logger()
_DEMUXERS = {"mp4": "mov", "mov": "mov", "webm": "matroska"}


@contextmanager
def open_clip(path: Path) -> Generator[Any]:
    """Open an MP4, MOV or WEBM file with PyAV. Other files that it refers to are not opened.

    Raises ClipInvalid if it is of another format, has no video or is too large to be decoded.
    """
    import av  # noqa: PLC0415 - 160 ms, paid only where a clip is read

    container = find_container(path)
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


@dataclass(frozen=True)
class Look:
    """What was seen of a clip. `facts.unread` says why there is nothing but its container; a poster may be missing.

    `damaged` says that its bytes are at fault, as far as the decoder can tell, and not the decoder itself.
    """

    facts: ClipFacts
    poster: bytes = b""
    damaged: bool = False


def look_at(path: Path) -> Look:
    """Read a clip's facts and its poster frame, a JPEG at most 320 px wide, as far as they can be read.

    The whole file is demuxed, which finds files that were cut or overwritten, and the first frame is decoded. Raises
    ClipInvalid only for a file that is no clip by its first bytes; no fault of a decoder is an error.
    """
    container = find_container(path)
    try:
        facts, poster = _read(path, container)
    except Exception as error:  # noqa: BLE001 - whatever a decoder makes of a clip, it was paid for and is kept
        kind = "" if isinstance(error, ClipInvalid) else f"{type(error).__name__}: "
        why = shorten(f"{kind}{redact_text(str(error))}", 300)
        return Look(_unread(container, why), damaged=isinstance(error, (ClipInvalid, *_damage())))
    return Look(facts, poster)


def probe(path: Path) -> tuple[ClipFacts, bytes]:
    """As `look_at`. Raises ClipInvalid for a clip that cannot be decoded."""
    look = look_at(path)
    if look.facts.unread:
        raise ClipInvalid(f"the file is not a playable clip ({look.facts.unread})")
    return look.facts, look.poster


def _read(path: Path, container: Container) -> tuple[ClipFacts, bytes]:
    import av  # noqa: PLC0415 - 160 ms, paid only where a clip is read

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
        return facts, _poster_or_none(frame)


def _damage() -> tuple[type[Exception], ...]:
    """The errors that speak of the bytes. None where there is no decoder that could."""
    try:
        from av.error import FFmpegError  # noqa: PLC0415 - 160 ms, paid only where a clip is read
    except Exception:  # noqa: BLE001 - a broken installation says nothing about the clip
        return ()
    return FFmpegError, StopIteration, ValueError, ArithmeticError


def _unread(container: Container, why: str) -> ClipFacts:
    nothing: dict[str, Any] = {"codec": "", "width": 0, "height": 0, "fps": 0, "duration_seconds": 0, "audio": False}
    return ClipFacts(container=container, unread=why, **nothing)


def _poster_or_none(frame: Any) -> bytes:
    try:
        return encode_jpeg(frame, POSTER_WIDTH)
    except Exception:  # noqa: BLE001 - an encoder that is missing or breaks takes nothing but the picture
        _log.warning("no poster could be made of a clip", exc_info=True)
        return b""


def find_container(path: Path) -> Container:
    """What a file is by its first bytes. Raises ClipInvalid, with what it is instead, if it is no clip."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "webm"
    if head[4:8] == b"ftyp":
        return "mov" if head[8:12] == b"qt  " else "mp4"
    what = "a web page" if is_page(head) else "text" if _is_text(head) else "something else"
    raise ClipInvalid(f"the file is neither MP4, MOV nor WEBM, but {what}")


def _is_text(head: bytes) -> bool:
    return not set(head) & _CONTROLS
