"""What the bytes of an image are: its kind, its sides, whether it decodes to its end, and a provider's rules for it."""

from __future__ import annotations

import io
import threading
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, BinaryIO

from pixverse_dagster.core.errors import InvalidRow
from pixverse_dagster.core.request import ImageRules
from pixverse_dagster.media.kinds import bare_jpeg, header_sides, image_kind, is_animated, is_cut_short, is_turned
from pixverse_dagster.media.probe import MAX_PIXELS, OPEN_OPTIONS, use_one_thread
from pixverse_dagster.transport.logs import get_logger

_log = get_logger()
_STRICT = {"err_detect": "explode+crccheck+bitstream+buffer"}
"""Without it, a decoder paints over what it cannot read, and says nothing."""
_LARGE_PIXELS = 8_000_000
_large = threading.Semaphore(1)
"""One large image is decoded at a time: of the largest, a frame takes 256 MB."""
_DEMUXERS = {"jpeg": "jpeg_pipe", "png": "png_pipe", "webp": "webp_pipe", "gif": "gif", "bmp": "bmp_pipe"}
"""Named, so that nothing in a file's bytes makes it pass for another kind."""
_DECODERS = {"jpeg": "mjpeg", "png": "png"}
_CALLED = {"jxl": "JPEG XL", "jp2": "JPEG 2000", "psd": "Photoshop"}
_READABLE = frozenset({"heic", "avif", "webp", "gif", "bmp", "tiff", "png", "jpeg"})


@dataclass(frozen=True)
class ImageFacts:
    """What the bytes of an image say: `format` (jpeg, png, webp, svg, heic …) and its sides as shown, in pixels."""

    format: str
    width: int
    height: int


class RuleBroken(InvalidRow):
    """The image is none that the provider takes, whatever else may be made of it."""


def image_facts(data: bytes | BinaryIO) -> ImageFacts | None:
    """Format and sides of an image; None if it cannot be read. A side of 0 means that it cannot be decoded."""
    data = data if isinstance(data, bytes) else data.read()
    kind = image_kind(data)
    if kind and (sides := header_sides(data, kind)):
        if sides[0] * sides[1] > MAX_PIXELS:
            return ImageFacts(kind, 0, 0)
        return ImageFacts(kind, *(reversed(sides) if is_turned(data, kind) else sides))
    try:
        with open_image(data) as media:
            # Of a kind without a decoder, such as SVG, there is a stream and no codec.
            image = media.streams.video[0].codec_context if media.streams.video else None
            if image is not None:
                named = kind or str({"mjpeg": "jpeg"}.get(image.name, image.name))
                sides = (image.height, image.width) if is_turned(data, named) else (image.width, image.height)
                return ImageFacts(named, *sides)
    except Exception:  # noqa: BLE001 - whatever a decoder makes of bytes that may be anything, it is not an image
        _log.debug("an image could not be decoded", exc_info=True)
    return ImageFacts(kind, 0, 0) if kind else None


def check_image(data: bytes, rules: ImageRules) -> ImageFacts:
    """The facts of an image that decodes to its end.

    Raises InvalidRow with what is wrong, what is allowed, and the source of the rule; RuleBroken where it is the
    provider's rule, and not the image itself.
    """
    if len(data) > rules.max_bytes:
        raise RuleBroken(too_large(rules))
    facts = image_facts(data)
    if facts is None:
        raise InvalidRow(f"is not an image that can be read: use {_allowed(rules)}")
    check_format(data, facts, rules)
    check_whole(data, facts)
    check_sides(facts, rules)
    decode_whole(data, facts)
    return facts


def check_rules(facts: ImageFacts, size_bytes: int, rules: ImageRules) -> None:
    """Raises RuleBroken for an image, known to be sound and to stand still, that a provider does not take."""
    if size_bytes > rules.max_bytes:
        raise RuleBroken(too_large(rules))
    check_format(b"", facts, rules)
    check_sides(facts, rules)


def check_format(data: bytes, facts: ImageFacts, rules: ImageRules) -> None:
    """Raises RuleBroken for a kind of image that the provider does not take, with what to do."""
    animated = is_animated(data, facts.format)
    if facts.format in rules.formats and not animated:
        return
    named = f"{_article(facts.format, animated=animated)} file"
    called = f" ({_CALLED[facts.format]})" if facts.format in _CALLED else ""
    remedy = ", or set convert_images, and a JPEG or PNG is made of it" if facts.format in _READABLE else ""
    if animated:
        remedy = ". It is animated: save the one picture that is meant"
    if facts.format == "svg":
        remedy = ". It is a drawing and has no pixels: export it as PNG"
    raise RuleBroken(f"is {named}{called}: use {_allowed(rules)}{remedy}")


def check_whole(data: bytes, facts: ImageFacts) -> None:
    """Raises InvalidRow for an image that has no sides, or whose end is missing."""
    if not min(facts.width, facts.height):
        named = _article(facts.format)
        raise InvalidRow(
            f"is {named} file that cannot be decoded: perhaps it was cut short, or is beyond 64 MP. "
            "Save or upload it again"
        )
    if is_cut_short(data, facts.format):
        raise InvalidRow(
            f"is cut short: the end of the {facts.format.upper()} file is missing. Save or upload it again"
        )


def check_sides(facts: ImageFacts, rules: ImageRules) -> None:
    """Raises RuleBroken for sides that the provider does not take."""
    short, long = sorted((facts.width, facts.height))
    size = f"{facts.width}x{facts.height}"
    if short < rules.min_side:
        raise RuleBroken(f"is {size}: both sides must be at least {rules.min_side} px ({rules.source})")
    if rules.max_side and long > rules.max_side:
        raise RuleBroken(f"is {size}: no side may exceed {rules.max_side} px ({rules.source})")
    if rules.max_aspect and long > rules.max_aspect * short:
        raise RuleBroken(f"is {size}: the aspect must be within 1:{rules.max_aspect} ({rules.source})")


def decode_whole(data: bytes, facts: ImageFacts) -> Any:
    """The first picture of the file, every pixel of it decoded. Raises InvalidRow where that is not possible."""
    large = facts.width * facts.height > _LARGE_PIXELS
    try:
        with _large if large else nullcontext():
            if facts.format in _DECODERS:
                return _decode_alone(bare_jpeg(data), _DECODERS[facts.format])
            with open_image(data) as media:
                return decode_stream(media, media.streams.video[0])
    except Exception as error:  # noqa: BLE001 - whatever a decoder makes of bytes that may be anything
        _log.debug("an image could not be decoded to its end", exc_info=True)
        raise InvalidRow(
            f"is damaged: the {facts.format.upper()} file cannot be decoded to its end ({type(error).__name__}). "
            "Save or upload it again"
        ) from None


def _decode_alone(data: bytes, decoder: str) -> Any:
    """A picture whose file is what its decoder takes: without a container, which would decode it twice."""
    import av  # noqa: PLC0415 - 160 ms, paid only where an image is read

    codec: Any = av.CodecContext.create(decoder, "r")
    use_one_thread(codec)
    codec.options = {**_STRICT, "max_pixels": str(MAX_PIXELS)}
    for frame in (*codec.decode(av.Packet(data)), *codec.decode(None)):
        if frame.width and frame.height and not frame.is_corrupt:
            return frame
    raise ValueError("there is no picture")


def decode_stream(media: Any, video: Any) -> Any:
    """The first picture of a stream, every pixel of it decoded. Raises whatever a decoder makes of its bytes."""
    codec = video.codec_context
    use_one_thread(codec)
    # FFmpeg's decoder of TIFF takes any tag that it does not know for damage.
    codec.options = {} if codec.name == "tiff" else dict(_STRICT)
    for packet in media.demux(video):
        for frame in codec.decode(packet):
            if frame.width and frame.height and not frame.is_corrupt:
                return frame
    raise ValueError("there is no picture")


@contextmanager
def open_image(data: bytes) -> Generator[Any]:
    """Open bytes with PyAV; nothing that they refer to is opened. Raises whatever a decoder makes of them."""
    import av  # noqa: PLC0415 - 160 ms, paid only where an image is read

    opener: Any = av.open
    demuxer = _DEMUXERS.get(image_kind(data) or "")
    with opener(io.BytesIO(bare_jpeg(data)), "r", format=demuxer, options=OPEN_OPTIONS) as media:
        yield media


def too_large(rules: ImageRules) -> str:
    """What is said of a file that is larger than the provider takes."""
    return f"is larger than {rules.max_bytes / 1e6:g} MB ({rules.source})"


def _allowed(rules: ImageRules) -> str:
    return f"{' or '.join(sorted(format_.upper() for format_ in rules.formats))} ({rules.source})"


def _article(kind: str, *, animated: bool = False) -> str:
    if animated and kind != "gif":
        return f"an animated {kind.upper()}"
    return f"{'an' if kind in {'avif', 'ico', 'svg'} else 'a'} {kind.upper()}"
