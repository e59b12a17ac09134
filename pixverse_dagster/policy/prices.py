"""Estimates of what a task will cost, and what a budget reserves for it.

An estimate is what the provider charged last for the same model and shape, else the user's price, else what the
provider lists, else what it publishes (`Request.PRICES`). The final figure is the provider's, where its answer has one:
`Succeeded.cost_usd`, kept with the task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pixverse_dagster.core.price import Price, price_terms_text
from pixverse_dagster.core.request import Request

HIGHEST_SECONDS = 7 * 86_400.0
"""For so long a budget reserves the highest price that was charged, though it has fallen since."""
COUNTS_SECONDS = 30 * 86_400.0
"""For so long a price that was charged or listed counts; then the price book counts again."""


@dataclass(frozen=True)
class SeenPrice:
    """What one output of a model and shape cost at an account when it was last seen, in US dollars."""

    usd: float
    highest_usd: float
    seen_at: float
    highest_at: float

    def most_usd(self, now: float) -> float:
        """The highest price of the last seven days."""
        return max(self.usd, self.highest_usd if now - self.highest_at < HIGHEST_SECONDS else 0.0)


@dataclass(frozen=True)
class ShapePrices:
    """What is known of the price of one model and shape: what was `charged`, and what the provider has `listed`."""

    charged: SeenPrice | None = None
    listed: SeenPrice | None = None

    def at(self, now: float) -> ShapePrices:
        """What of it still counts."""

        def counting(price: SeenPrice | None) -> SeenPrice | None:
            return price if price is not None and now - price.seen_at < COUNTS_SECONDS else None

        return ShapePrices(counting(self.charged), counting(self.listed))


UNSEEN = ShapePrices()


@dataclass(frozen=True)
class PriceBook:
    """Everything that prices are known from: the user's lines, and what was seen, by account, model and shape.

    `accounts` has the account of each provider; `now` is when it is asked.
    """

    prices: Sequence[Price] = ()
    seen: Mapping[tuple[str, str, str], ShapePrices] = field(default_factory=dict[tuple[str, str, str], ShapePrices])
    accounts: Mapping[str, str] = field(default_factory=dict[str, str])
    now: float = 0.0

    def estimate_usd(self, request: Request) -> float | None:
        """The likely cost of the request; None if no price is known."""
        return correct_usd(estimate_usd(request, self.prices), request, self._seen(request), self.now)

    def reserve_usd(self, request: Request) -> float | None:
        """What a budget reserves for the request; None if no price is known."""
        return reserve_usd(estimate_usd(request, self.prices), request, self._seen(request), self.now)

    def _seen(self, request: Request) -> ShapePrices:
        account = self.accounts.get(request.provider(), "")
        return self.seen.get((account, request.MODEL, price_terms_text(request)), UNSEEN)


def estimate_usd(request: Request, prices: Sequence[Price] = ()) -> float | None:
    """The cost of a request by the price books, in US dollars, for all its outputs together. None if none has it.

    The first price that fits counts; the user's `prices` come before those that the provider publishes.
    """
    model, terms = request.MODEL, request.price_terms()
    line = next((price for price in (*prices, *request.PRICES) if price.covers(model, terms)), None)
    return line.cost_usd(request) if line else None


def correct_usd(book_usd: float | None, request: Request, seen: ShapePrices, now: float) -> float | None:
    """The likely cost: what was charged for the same shape before, else by the price book, else as it is listed."""
    seen, outputs = seen.at(now), request.outputs_asked()
    if seen.charged:
        return round(seen.charged.usd * outputs, 6)
    return round(seen.listed.usd * outputs, 6) if seen.listed and book_usd is None else book_usd


def reserve_usd(book_usd: float | None, request: Request, seen: ShapePrices, now: float) -> float | None:
    """What a budget reserves: the higher of the price book's figure and of what was charged.

    Until a charge was seen, the highest of all figures that there are: a price book that is too low by mistake passes
    no budget where the provider lists or publishes its price.
    """
    seen, outputs = seen.at(now), request.outputs_asked()
    if seen.charged:
        others: list[float | None] = [seen.charged.most_usd(now) * outputs]
    else:
        others = [seen.listed.usd * outputs if seen.listed else None, estimate_usd(request)]
    return max((round(usd, 6) for usd in (book_usd, *others) if usd is not None), default=None)


def missing_line(request: Request) -> str:
    """The line that a person has to add to the price book for this request."""
    terms = {"model": request.MODEL, **request.price_terms(), "usd": "…"}
    return "Price(" + ", ".join(f"{name}={value!r}" for name, value in terms.items() if value is not None) + ")"
