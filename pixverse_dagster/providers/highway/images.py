"""HighwayAPI's rules for input images, the same for all its models."""

from __future__ import annotations

from pixverse_dagster.core.request import ImageRules

IMAGES = ImageRules(
    formats=frozenset({"jpeg", "png"}),
    min_side=300,
    max_side=None,
    max_aspect=2.5,
    max_bytes=10_000_000,
    inline=False,
    source="HighwayAPI model pages: jpg/jpeg/png, at most 10 MB, both sides at least 300 px, aspect 1:2.5 to 2.5:1",
)
