"""The pixels that a request's clip will have: what PixVerse's models are known to make, and where nobody knows. Pure.

The names of the resolutions are names, not sides: 540p at 16:9 is 1024x576, 720p at 1:1 is 960x960. What is known
differs by family of models, so that each family has its table, its source and how certain it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal, NamedTuple

from pixverse_dagster.core.request import Request

SHAPE_PERCENT = 6.0
"""How far the shape or the area of a clip may be off where its exact pixels are not known."""


class Pixels(NamedTuple):
    """Width and height of a clip, in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, eq=False)
class PixelTable:
    """The sizes of a family of models: by resolution and aspect ratio, the sizes of which a clip has one.

    `certainty` is `documented` if a seller that passes PixVerse's own files on prints the size, and `open` if only
    other families' sizes are known.
    """

    families: tuple[str, ...]
    certainty: Literal["documented", "open"]
    source: str
    sizes: Mapping[tuple[str, str], tuple[Pixels, ...]]


def _read_table(aspects: str, lines: Mapping[str, str]) -> dict[tuple[str, str], tuple[Pixels, ...]]:
    return {
        (resolution, aspect): tuple(Pixels(*map(int, one.split("x"))) for one in cell.split("|"))
        for resolution, line in lines.items()
        for aspect, cell in zip(aspects.split(), line.split(), strict=True)
    }


_NEWEST = PixelTable(
    families=("c1", "v6"),
    certainty="documented",
    source="Alibaba Cloud's reference of PixVerse C1 and V6, text-to-video (March 2026); it hands out PixVerse's files",
    sizes=_read_table(
        "            16:9      4:3       1:1       3:4       9:16      3:2       2:3       21:9",
        {
            "360p":  "640x360   640x480   640x640   480x640   360x640   640x432   432x640   640x288",
            "540p":  "1024x576  1024x768  1024x1024 768x1024  576x1024  1024x688  688x1024  1024x448",
            "720p":  "1280x720  1108x832  960x960   832x1108  720x1280  1200x800  800x1200  1280x560",
            "1080p": "1920x1080 1664x1248 1440x1440 1248x1664 1080x1920 1776x1184 1184x1776 1920x832",
        },
    ),
)  # fmt: skip
_BEFORE = PixelTable(
    families=("v5.6",),
    certainty="documented",
    source="Alibaba Cloud's reference of PixVerse v5.6, text-to-video (March 2026); 1080p at 1:1 depends on the length",
    sizes=_read_table(
        "            16:9      4:3       1:1                 3:4       9:16",
        {
            "360p":  "640x360   640x480   640x640             480x640   360x640",
            "540p":  "1024x576  1024x768  1024x1024           768x1024  576x1024",
            "720p":  "1280x720  1280x960  1280x1280           960x1280  720x1280",
            "1080p": "1920x1080 1920x1440 1808x1808|1440x1440 1440x1920 1080x1920",
        },
    ),
)  # fmt: skip
PIXELS: Mapping[str, PixelTable] = {family: table for table in (_NEWEST, _BEFORE) for family in table.families}
"""The families whose sizes are documented. For every other family all that is known of any PixVerse model counts."""

_NAME = re.compile(r"\d{1,5}p")
_OPEN = "nothing public says what {model} makes: the size by its name, or that of the newer PixVerse models"
_NO_SHAPE = "the request names no shape"
_BY_IMAGE = "the clip keeps the shape of its image, and nothing public says how it is scaled"


@dataclass(frozen=True)
class ExpectedSize:
    """The pixels that a clip may have. `note` says why that is not certain, and is empty where it is.

    The clip has one of `sizes`. If `scaled`, its exact pixels are not known: it may also have the short side, the long
    side or the number of pixels that its resolution stands for, in the shape `shape` or, if that is None, in any.
    """

    resolution: str
    sizes: tuple[Pixels, ...]
    note: str = ""
    scaled: bool = False
    shape: Fraction | None = None

    def fits(self, width: int, height: int, percent: float) -> bool:
        """Whether a clip of this size is what was asked for; `percent` is how much a known side may be off."""
        if any(_near(width, size.width, percent) and _near(height, size.height, percent) for size in self.sizes):
            return True
        if not self.scaled or (self.shape and not _near(width / max(height, 1), float(self.shape), SHAPE_PERCENT)):
            return False
        wide = _wide(self.resolution)
        return (
            _near(min(width, height), _short_side(self.resolution), percent)
            or _near(max(width, height), wide.width, percent)
            or _near(width * height, wide.width * wide.height, SHAPE_PERCENT)
        )

    def words(self, percent: float) -> str:
        """What is accepted, with the tolerance, and why it is no more exact than that."""
        note = f" (not certain: {self.note})" if self.note else ""
        if not self.scaled:
            return f"{' or '.join(map(str, self.sizes))} ± {percent:g} %{note}"
        wide = _wide(self.resolution)
        sides = f"a short side of {_short_side(self.resolution)} or a long side of {wide.width} ± {percent:g} %"
        return f"{sides}, or as many pixels as {wide}{note}"

    def __str__(self) -> str:
        """The size for a plan: short, and marked if it is not certain."""
        size = " or ".join(map(str, self.sizes)) if not self.scaled else f"{self.resolution}, scaled"
        return f"{size} (not certain)" if self.note else size


def expected_size(request: Request) -> ExpectedSize | None:
    """The pixels of this request's clips; None if its model has no resolution, so that nothing can be said."""
    resolution = request.effective_resolution()
    if resolution is None or not _NAME.fullmatch(resolution):
        return None
    shape = request.shape_asked()
    why = "" if shape else _BY_IMAGE if request.images() else _NO_SHAPE
    return _expected(request.MODEL, request.FAMILY, resolution, shape, why)


@lru_cache(maxsize=1024)
def _expected(model: str, family: str, resolution: str, asked: str | None, why: str) -> ExpectedSize:
    table = PIXELS.get(family)
    known = [item for one in ((table,) if table else (_NEWEST, _BEFORE)) for item in one.sizes.items()]
    if asked is None:
        sizes = dict.fromkeys(size for key, cell in known if key[0] == resolution for size in cell)
        return ExpectedSize(resolution, tuple(sizes), why, scaled=True)
    shape = _ratio(asked)
    cells = [cell for (name, aspect), cell in known if name == resolution and _ratio(aspect) == shape]
    found = dict.fromkeys(size for cell in cells for size in cell)
    if table and found:
        return ExpectedSize(resolution, tuple(found))
    sizes = tuple(dict.fromkeys([size_by_name(resolution, shape), *found]))
    if found:
        return ExpectedSize(resolution, sizes, _OPEN.format(model=model) if len(sizes) > 1 else "")
    note = f"nothing public says what {model} makes at {shape.numerator}:{shape.denominator}"
    return ExpectedSize(resolution, sizes, note, scaled=True, shape=shape)


def size_by_name(resolution: str, shape: Fraction) -> Pixels:
    """The size whose short side is the number in the resolution's name: what Runware takes as width and height."""
    short = _short_side(resolution)
    return Pixels(round(short * max(shape, Fraction(1))), round(short * max(1 / shape, Fraction(1))))


def _wide(resolution: str) -> Pixels:
    """The size at 16:9, whose long side and number of pixels other shapes share."""
    known = _NEWEST.sizes.get((resolution, "16:9"))
    return known[0] if known else size_by_name(resolution, Fraction(16, 9))


def _ratio(text: str) -> Fraction:
    across, _, down = text.partition(":")
    return Fraction(int(across), int(down))


def _short_side(resolution: str) -> int:
    return int(resolution.removesuffix("p"))


def _near(value: float, asked: float, percent: float) -> bool:
    return abs(value - asked) <= asked * percent / 100
