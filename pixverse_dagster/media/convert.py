"""Makes a JPEG or PNG that a provider takes out of an image that it does not, and small pictures for people.

PyAV alone does it: orientation applied, transparency on white, scaled into the provider's limits.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from typing import Any

from pixverse_dagster.core.errors import InvalidRow
from pixverse_dagster.core.images import Conversion
from pixverse_dagster.core.request import ImageRules
from pixverse_dagster.media.decode import ImageFacts, check_sides, decode_whole
from pixverse_dagster.media.frames import Node, as_shown, is_transparent, scaled
from pixverse_dagster.media.kinds import image_kind, is_animated, is_cut_short
from pixverse_dagster.media.probe import MAX_PIXELS, use_one_thread

MAX_SOURCE_BYTES = 100_000_000
"""The largest file that is read to be converted."""
THUMBNAIL_SIDE = 320
BACKGROUND = "white"
_VERSION = 1
"""Of the recipe: with another one, images are converted anew."""
_READABLE = frozenset({"jpeg", "png", "webp", "heic", "avif", "gif", "bmp", "tiff"})
_LOSSLESS = frozenset({"png", "gif", "bmp", "tiff"})
_MOST_ENLARGED = 2
_QUALITIES = (2, 4, 8)
"""FFmpeg's: 2 is as good as it gets, 8 good enough for a first frame."""
_SHRINKS = 6
_at_once = threading.Semaphore(2)
"""So many images are converted at a time: a large one takes hundreds of megabytes."""


@dataclass(frozen=True)
class Converted:
    """What was made of an image, and what the image was."""

    data: bytes
    facts: ImageFacts
    made: Conversion


def conversion_recipe(rules: ImageRules) -> str:
    """What a conversion for these rules depends on, besides the image."""
    formats = "+".join(sorted(rules.formats & {"jpeg", "png"}))
    limits = f"{rules.min_side}-{rules.max_side or ''} 1:{rules.max_aspect or ''} {rules.max_bytes}"
    return f"{_VERSION} av {version('av')} {formats} {limits} on {BACKGROUND}"


def convert_image(data: bytes, rules: ImageRules) -> Converted:
    """A JPEG or PNG within the rules, out of an image that can be read. The same bytes give the same bytes.

    Raises InvalidRow, with a remedy, for what cannot be read, is animated, or would have to be enlarged more than
    twice or distorted.
    """
    kind = image_kind(data) or ""
    if kind not in _READABLE:
        raise InvalidRow("is of a kind that cannot be converted here: export it as JPEG or PNG")
    if is_animated(data, kind):
        raise InvalidRow("is animated, and nobody knows which of its pictures is meant: save that one")
    if is_cut_short(data, kind):
        raise InvalidRow(f"is cut short: the end of the {kind.upper()} file is missing. Save or upload it again")
    try:
        with _at_once:
            shown = as_shown(data, kind, lambda bytes_: decode_whole(bytes_, ImageFacts(kind, 0, 0)))
            facts = ImageFacts(kind, shown.width, shown.height)
            found = next(_attempts(shown, kind, _sides(facts, rules), rules), None)
    except InvalidRow:
        raise
    except Exception as error:
        raise InvalidRow(
            f"is a file ({kind.upper()}) that cannot be converted ({type(error).__name__}): export it as JPEG or PNG"
        ) from error
    if found is None:
        raise InvalidRow(f"cannot be made smaller than {rules.max_bytes / 1e6:g} MB: save a smaller one")
    sent, format_, sides = found
    digest, sent_digest = (f"sha256:{hashlib.sha256(one).hexdigest()}" for one in (data, sent))
    return Converted(sent, facts, Conversion(digest, conversion_recipe(rules), sent_digest, format_, *sides, len(sent)))


def make_thumbnail(data: bytes) -> bytes:
    """A JPEG of at most 320 px a side, as the image is shown. Raises whatever a decoder or an encoder makes of it."""
    kind = image_kind(data) or ""
    shown = as_shown(data, kind, lambda bytes_: decode_whole(bytes_, ImageFacts(kind, 0, 0)))
    factor = min(1.0, THUMBNAIL_SIDE / max(shown.width, shown.height))
    sides = max(1, round(shown.width * factor)), max(1, round(shown.height * factor))
    return _encode(scaled(shown, *sides, background=BACKGROUND), "jpeg", 4)


def _sides(facts: ImageFacts, rules: ImageRules) -> tuple[int, int]:
    """The sides within the limits that are nearest to the image's own. Raises InvalidRow where there are none."""
    short, long = sorted((facts.width, facts.height))
    factor = 1.0
    if short < rules.min_side:
        factor = rules.min_side / short
        if factor > _MOST_ENLARGED:
            check_sides(facts, rules)
    if rules.max_side and long * factor > rules.max_side:
        factor = rules.max_side / long
    width, height = (max(1, round(side * factor)) for side in (facts.width, facts.height))
    if width * height > MAX_PIXELS:
        raise InvalidRow(f"is {facts.width}x{facts.height}: too large to be converted")
    check_sides(ImageFacts(facts.format, width, height), rules)
    return width, height


def _attempts(
    shown: Node, kind: str, sides: tuple[int, int], rules: ImageRules
) -> Iterator[tuple[bytes, str, tuple[int, int]]]:
    """What fits into the provider's limit of bytes, the best first: without loss, as JPEG, smaller."""
    width, height = sides
    for shrunk in range(_SHRINKS):
        if shrunk and min(width, height) <= rules.min_side:
            return
        frame = scaled(shown, width, height, background=BACKGROUND)
        if not shrunk and "png" in rules.formats and (kind in _LOSSLESS or is_transparent(shown)):
            data = _encode(frame, "png", 0)
            if len(data) <= rules.max_bytes:
                yield data, "png", (width, height)
        for quality in _QUALITIES if "jpeg" in rules.formats else ():
            data = _encode(frame, "jpeg", quality)
            if len(data) <= rules.max_bytes:
                yield data, "jpeg", (width, height)
        factor = max(0.7, rules.min_side / min(width, height))
        width, height = round(width * factor), round(height * factor)


def _encode(frame: Any, format_: str, quality: int) -> bytes:
    import av  # noqa: PLC0415 - 160 ms, paid only where an image is read
    from av.video.reformatter import ColorRange  # noqa: PLC0415 - for the same reason

    encoder: Any = av.CodecContext.create("png" if format_ == "png" else "mjpeg", "w")
    use_one_thread(encoder)
    pixels = "rgb24" if format_ == "png" else "yuvj420p"
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = frame.width, frame.height, pixels, Fraction(1)
    if format_ == "jpeg":
        encoder.options = {"qmin": str(quality), "qmax": str(quality), "huffman": "optimal", "flags": "+bitexact"}
        frame = frame.reformat(format=pixels, dst_color_range=ColorRange.JPEG)
    frame.pts, frame.time_base = 0, Fraction(1)
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
