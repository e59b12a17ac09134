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
    if kind != "jpeg":
        return False
    return any(
        marker == _APP1 and data[start : start + 6] == b"Exif\0\0" and _orientation(data[start + 6 : end]) in _TURNED
        for marker, start, end in _segments(data)
    )


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
