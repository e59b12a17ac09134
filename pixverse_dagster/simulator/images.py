"""Input images: reads format and size from the header, and checks them against a provider's rules."""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from pixverse_dagster.simulator.links import Links, Unfetched
from pixverse_dagster.simulator.validation import RefusedError

_MIB = 1024 * 1024
_MAX_ASPECT = 2.5
_MIN_SIDE = 300
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True)
class Image:
    """Format and size in pixels, read from the header."""

    format: str
    width: int
    height: int


@dataclass(frozen=True)
class Rules:
    """What one provider accepts as an image. Sides are in pixels."""

    formats: tuple[str, ...]
    max_bytes: int
    max_side: int | None = None


_UNFETCHED = Image("jpeg", 1280, 720)
HIGHWAY_RULES = Rules(formats=("jpeg", "png"), max_bytes=10 * _MIB)
PIXWITH_RULES = HIGHWAY_RULES
RUNWARE_RULES = Rules(formats=("jpeg", "png", "webp"), max_bytes=20 * _MIB, max_side=4000)


def probe(data: bytes) -> Image | None:
    """The image in these bytes; None if they are not a PNG, JPEG or WEBP with a readable header."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
            return Image("png", *struct.unpack(">II", data[16:24]))
        if data.startswith(b"\xff\xd8\xff"):
            return _probe_jpeg(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _probe_webp(data)
    except (struct.error, IndexError):
        pass
    return None


def _probe_jpeg(data: bytes) -> Image | None:
    at = 2
    while at < len(data) and data[at] == 0xFF:  # noqa: PLR2004 - every JPEG marker starts with it
        marker = data[at + 1]
        if marker == 0xFF:  # noqa: PLR2004 - a fill byte
            at += 1
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return Image("jpeg", width, height)
        else:
            at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return None


def _probe_webp(data: bytes) -> Image | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack("<HH", data[26:30]))
    else:
        return None
    return Image("webp", width, height)


def check_bytes(data: bytes, rules: Rules, field: str) -> Image:
    """The image in these bytes.

    Raises:
        RefusedError: the file, its format, its sides or its aspect ratio break a rule.
    """
    if len(data) > rules.max_bytes:
        raise RefusedError(field, f"image file size cannot exceed {rules.max_bytes // _MIB} MB")
    image = probe(data)
    if image is None or image.format not in rules.formats:
        raise RefusedError(field, f"image format must be one of {', '.join(rules.formats)}", "unsupported")
    short, long = sorted((image.width, image.height))
    if short < _MIN_SIDE:
        raise RefusedError(field, f"image is {image.width}x{image.height}, both sides must be >= {_MIN_SIDE} px")
    if rules.max_side is not None and long > rules.max_side:
        raise RefusedError(field, f"image is {image.width}x{image.height}, no side may pass {rules.max_side} px")
    if long > _MAX_ASPECT * short:
        raise RefusedError(field, "image aspect ratio must be between 1:2.5 and 2.5:1")
    return image


def check_url(text: str, rules: Rules, links: Links, field: str) -> Image:
    """The image behind an http(s) URL, checked; one that is good as long as it was not fetched.

    Raises:
        RefusedError: no http(s) URL, one that cannot be fetched, or an image that breaks the rules.
    """
    try:
        data = links.read(text, split_http_url(text, field), rules.max_bytes)
    except Unfetched:
        return _UNFETCHED
    if data is None:
        raise RefusedError(field, "image could not be downloaded from its URL")
    return check_bytes(data, rules, field)


def check_encoded(text: str, rules: Rules, field: str) -> Image:
    """The image in a data URI or in plain Base64.

    Raises:
        RefusedError: not decodable, or an image that breaks the rules.
    """
    return check_bytes(decode(text, field), rules, field)


def decode(text: str, field: str) -> bytes:
    """The bytes of a data URI or of plain Base64.

    Raises:
        RefusedError: not decodable.
    """
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
            raise RefusedError(field, "a data URI must read data:image/<format>;base64,<data>")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(field, "must be an image UUID, a URL, a data URI or Base64") from None


def split_http_url(text: str, field: str) -> SplitResult:
    """The parts of an absolute http(s) URL.

    Raises:
        RefusedError: anything else.
    """
    try:
        url = urlsplit(text)
        valid = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        raise RefusedError(field, "must be a valid URL") from None
    if not valid or any(character.isspace() or not character.isprintable() for character in text):
        raise RefusedError(field, "must be a valid http or https URL")
    return url
