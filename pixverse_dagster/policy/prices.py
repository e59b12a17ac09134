"""Estimates of what a task will cost, from the user's prices or those that the provider publishes (`Request.PRICES`).

The final figure is the provider's, where its answer has one: `Succeeded.cost_usd`, kept with the task.
"""

from __future__ import annotations

from collections.abc import Sequence

from pixverse_dagster.core.price import Price
from pixverse_dagster.core.request import Request


def estimate_usd(request: Request, prices: Sequence[Price] = ()) -> float | None:
    """The likely cost of a request in US dollars, for all its outputs together. None if no price is known.

    The first price that fits counts; the user's `prices` come before those that the provider publishes.
    """
    model, terms = request.MODEL, request.price_terms()
    line = next((price for price in (*prices, *request.PRICES) if price.covers(model, terms)), None)
    return line.cost_usd(request) if line else None


def missing_line(request: Request) -> str:
    """The line that a person has to add to the price book for this request."""
    terms = {"model": request.MODEL, **request.price_terms(), "usd": "…"}
    return "Price(" + ", ".join(f"{name}={value!r}" for name, value in terms.items() if value is not None) + ")"
