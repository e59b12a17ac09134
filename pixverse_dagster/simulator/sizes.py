"""The pixels of clips: what PixVerse's models are known to make, and what the simulator renders where nobody knows."""

from __future__ import annotations

import math
from typing import Final

Size = tuple[int, int]

SIZES: Final[dict[tuple[str, str], Size]] = {
    ("360p", "16:9"): (640, 360), ("540p", "16:9"): (1024, 576), ("720p", "16:9"): (1280, 720),
    ("360p", "4:3"): (640, 480), ("540p", "4:3"): (1024, 768), ("720p", "4:3"): (1108, 832),
    ("360p", "1:1"): (640, 640), ("540p", "1:1"): (1024, 1024), ("720p", "1:1"): (960, 960),
    ("360p", "3:4"): (480, 640), ("540p", "3:4"): (768, 1024), ("720p", "3:4"): (832, 1108),
    ("360p", "9:16"): (360, 640), ("540p", "9:16"): (576, 1024), ("720p", "9:16"): (720, 1280),
    ("360p", "3:2"): (640, 432), ("540p", "3:2"): (1024, 688), ("720p", "3:2"): (1200, 800),
    ("360p", "2:3"): (432, 640), ("540p", "2:3"): (688, 1024), ("720p", "2:3"): (800, 1200),
    ("360p", "21:9"): (640, 288), ("540p", "21:9"): (1024, 448), ("720p", "21:9"): (1280, 560),
    ("1080p", "16:9"): (1920, 1080), ("1080p", "4:3"): (1664, 1248), ("1080p", "1:1"): (1440, 1440),
    ("1080p", "3:4"): (1248, 1664), ("1080p", "9:16"): (1080, 1920), ("1080p", "3:2"): (1776, 1184),
    ("1080p", "2:3"): (1184, 1776), ("1080p", "21:9"): (1920, 832),
}  # fmt: skip
"""What C1 and v6 make, by resolution and aspect ratio, as Alibaba Cloud prints it."""
_FIXED_LONG_SIDE: Final = ("360p", "540p")
"""At these, every shape has the same long side; at the others, about the same number of pixels."""


def size_by_name(resolution: str, aspect: Size) -> Size:
    """For models before v5.6: the number in the name is the short side, both sides even. 540p at 451:300: 812x540."""
    short = int(resolution.removesuffix("p"))
    across, down = aspect
    long = _even(short * max(across, down) / min(across, down))
    return (long, short) if across >= down else (short, long)


def size_of_image(resolution: str, image: Size) -> Size:
    """For v6 from an image of this size: the image's shape, with the long side or the pixels of the table."""
    across, down = image
    for (name, aspect), size in SIZES.items():
        width, height = map(int, aspect.split(":"))
        if name == resolution and across * height == down * width:
            return size
    wide, high = SIZES[resolution, "16:9"]
    longest = max(across, down)
    if resolution not in _FIXED_LONG_SIDE:
        wide = min(wide, math.sqrt(wide * high * longest / min(across, down)))
    return _even(wide * across / longest), _even(wide * down / longest)


def _even(value: float) -> int:
    return round(value / 2) * 2
