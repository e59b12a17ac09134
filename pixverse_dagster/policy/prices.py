"""What a task is likely to cost: the user's own prices, then the published ones; the provider says the last word."""

from __future__ import annotations

from collections.abc import Sequence

from pixverse_dagster.core.price import Price
from pixverse_dagster.core.request import Request


def estimate_usd(request: Request, prices: Sequence[Price] = ()) -> float | None:
    """The likely price of the task in US dollars, all outputs together, or None where no line of any book fits."""
    line = next((price for price in (*prices, *request.PRICES) if price.fits(request)), None)
    return line.cost_usd(request) if line else None


def missing_line(request: Request) -> str:
    """The price-book line that a person would have to add for this request."""
    terms = {"model": request.MODEL, **request.price_terms(), "usd": "…"}
    return "Price(" + ", ".join(f"{name}={value!r}" for name, value in terms.items() if value is not None) + ")"
