"""The price lookup of HighwayAPI: which products are of which model and shape.

Source: the service's own plugin for ComfyUI, which asks for them by these ids and shows the answer as US dollars per
call. No ids of v6 and C1 are public.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pixverse_dagster.core.price import Price
from pixverse_dagster.providers.answers import items, mapping, positive
from pixverse_dagster.providers.highway.v4_5 import HighwayV45ImageToVideo

_LEAST_USD, _MOST_USD = 0.005, 50.0
"""No clip costs less or more: a figure outside is of another unit."""


def products() -> dict[str, Mapping[str, Any]]:
    """The shape of each product, by its id."""
    found: dict[str, Mapping[str, Any]] = {}
    for resolution in ("360p", "540p", "720p", "1080p"):
        found[f"PIXVERSE_V4_5_IMG_TO_VIDEO_5S_{resolution.upper()}"] = _shape(resolution, "normal")
        if resolution != "1080p":
            found[f"PIXVERSE_V4_5_IMG_TO_VIDEO_FAST_MODE_5S_{resolution.upper()}"] = _shape(resolution, "fast")
    return found


def list_prices(body: Mapping[str, Any]) -> tuple[Price, ...]:
    """The prices in an answer, of the products that are known here."""
    known = products()
    found: dict[str, Price] = {}
    for entry in map(mapping, items(body.get("prices") or mapping(body.get("data")).get("prices"))):
        product, usd = str(entry.get("product_id")), positive(entry.get("price"))
        in_dollars = str(entry.get("currency") or "USD").upper() == "USD"
        if product in known and in_dollars and usd is not None and _LEAST_USD <= usd <= _MOST_USD:
            found[product] = Price(usd=usd, **known[product])
    return tuple(found.values())


def _shape(resolution: str, motion_mode: str) -> Mapping[str, Any]:
    model = HighwayV45ImageToVideo.MODEL
    return {"model": model, "resolution": resolution, "duration_seconds": 5, "motion_mode": motion_mode}
