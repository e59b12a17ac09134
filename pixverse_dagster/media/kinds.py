"""What kind of image some bytes are, told by the bytes alone, and whether their end is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF8", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"BM", "bmp"),
    (b"8BPS", "psd"),
    (b"%PDF", "pdf"),
    (b"\0\0\x01\0", "ico"),
    (b"\xff\x0a", "jxl"),
    (b"\0\0\0\x0cJXL ", "jxl"),
    (b"\0\0\0\x0cjP  ", "jp2"),
)
_HEIC = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"})
_HEAD_BYTES = 4096
_MARK, _SCAN, _APP1 = 0xFF, 0xDA, 0xE1
_END = 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The headers of a JPEG that have its sides."""
_WITHIN_SCAN = frozenset({0x00, _MARK, *range(0xD0, 0xD8)})
_DESCRIBING = frozenset({0xFE, *range(0xE1, 0xEE), 0xEF})
"""The headers of a JPEG that its picture does not need: comments, Exif, profiles; not those of JFIF and Adobe."""
_WEBP_FLAGS, _WEBP_ANIMATION = 20, 0x02
_GIF_EXTENSION, _GIF_PICTURE = 0x21, 0x2C
_ORIENTATION_TAG, _TURNED = 0x0112, range(5, 9)


def image_kind(data: bytes) -> str | None:
    """The kind of a file, in lower case: jpeg, png, svg, avif, heic …; None if its bytes are no known image's."""
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return _boxed_kind(data)
    text = data[:_HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return "svg" if text.startswith(b"<") and b"<svg" in text and b"<html" not in text else None


def _boxed_kind(data: bytes) -> str | None:
    """The kind of a file of boxes, as MP4 is one, by its brands: a phone's HEIC may begin with a general one."""
    size = min(int.from_bytes(data[:4], "big"), _HEAD_BYTES)
    brands = {data[8:12]} | {data[at : at + 4] for at in range(16, size, 4)}
    if brands & {b"avif", b"avis"}:
        return "avif"
    if brands & _HEIC:
        return "heic"
    return "heif" if brands & {b"mif1", b"msf1"} else None


def header_sides(data: bytes, kind: str | None) -> tuple[int, int] | None:
    """Width and height as the header of a JPEG or PNG has them; None if it has none, or for any other kind."""
    if kind == "png" and data[12:16] == b"IHDR" and b"IDAT" in data:
        sides = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    elif kind == "jpeg":
        start = next((start for marker, start, _ in _segments(data) if marker in _FRAMES), len(data))
        sides = int.from_bytes(data[start + 3 : start + 5], "big"), int.from_bytes(data[start + 1 : start + 3], "big")
    else:
        return None
    return sides if min(sides) > 0 else None


def is_cut_short(data: bytes, kind: str) -> bool:
    """Whether the end of a JPEG, PNG or WebP is missing, as after a download or a copy that broke off."""
    match kind:
        case "jpeg":
            return _jpeg_is_cut(data)
        case "png":
            return b"IEND\xaeB`\x82" not in data
        case "webp":
            return int.from_bytes(data[4:8], "little") + 8 > len(data)
        case _:
            return False


def is_turned(data: bytes, kind: str) -> bool:
    """Whether a JPEG's orientation turns it by a quarter, so that its sides as shown are exchanged."""
    return kind == "jpeg" and orientation(data, kind) in _TURNED


def orientation(data: bytes, kind: str) -> int:
    """How Exif data say that a JPEG, PNG or WebP is to be turned, 1 to 8; 0 if nothing says it."""
    match kind:
        case "jpeg":
            headers = (data[start:end] for marker, start, end in _segments(data) if marker == _APP1)
            found = (_orientation(one[6:]) for one in headers if one.startswith(b"Exif\0\0"))
            return next((one for one in found if one), 0)
        case "png" if (at := data.find(b"eXIf")) > 0:
            return _orientation(data[at + 4 : at + 4 + int.from_bytes(data[at - 4 : at], "big")])
        case "webp" if (at := data.find(b"EXIF")) > 0:
            exif = data[at + 8 : at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")]
            return _orientation(exif.removeprefix(b"Exif\0\0"))
        case _:
            return 0


def is_animated(data: bytes, kind: str) -> bool:
    """Whether a GIF or WebP has more than one picture."""
    if kind == "webp":
        return data[12:16] == b"VP8X" and len(data) > _WEBP_FLAGS and bool(data[_WEBP_FLAGS] & _WEBP_ANIMATION)
    return kind == "gif" and _gif_pictures(data, most=2) > 1


def bare_jpeg(data: bytes) -> bytes:
    """A JPEG without what is not the picture: descriptions, profiles, and whatever was put behind its end.

    Decoders that are told to be strict stumble over these. Any other file is left as it is.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return data
    kept, at = [data[:2]], 2
    for marker, start, end in _segments(data):
        if marker not in _DESCRIBING:
            kept.append(b"\xff" + bytes([marker]) + data[start - 2 : end])
        at = end
    tail = data.rfind(b"\xff\xd9", at)
    return b"".join([*kept, data[at : _jpeg_end(data, at) if tail >= 0 else None]])


def _jpeg_end(data: bytes, at: int) -> int:
    """Where the picture of a JPEG ends, whose first scan begins here. Headers stand between further scans."""
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        marker = data[at + 1]
        if marker == _END:
            return at + 2
        if marker in _WITHIN_SCAN:
            at += 1 if marker == _MARK else 2
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return len(data)


def _gif_pictures(data: bytes, most: int) -> int:
    """How many pictures a GIF has, counted no further than `most`."""
    found, at = 0, 13 + _palette_bytes(data[10:11])
    while at < len(data) and found < most:
        if data[at] == _GIF_EXTENSION:
            at = _skip_blocks(data, at + 2)
        elif data[at] == _GIF_PICTURE:
            found += 1
            at = _skip_blocks(data, at + 11 + _palette_bytes(data[at + 9 : at + 10]))
        else:
            break
    return found


def _palette_bytes(flags: bytes) -> int:
    return 3 * 2 ** ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _skip_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


def _jpeg_is_cut(data: bytes) -> bool:
    """Whether no end marker follows the start of the picture. The end of a thumbnail inside a header is none."""
    picture = next((start for marker, start, _ in _segments(data) if marker == _SCAN), len(data))
    return data.find(b"\xff\xd9", picture) < 0


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The marker, start and end of every header of a JPEG, the last of them that of the picture."""
    at = 2
    while at + 4 <= len(data) and data[at] == _MARK:
        marker = data[at + 1]
        if marker == _MARK:  # a byte that only fills
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, at + 4, end
        if marker == _SCAN:
            return
        at = end


def _orientation(exif: bytes) -> int:
    """The orientation that Exif data has, 1 to 8; 0 if they have none."""
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"
    start = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[start : start + 2], order)
    for at in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        if int.from_bytes(exif[at : at + 2], order) == _ORIENTATION_TAG:
            return int.from_bytes(exif[at + 8 : at + 10], order)
    return 0
