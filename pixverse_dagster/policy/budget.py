"""A limit on spending, and what is left of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from pixverse_dagster.core.values import FrozenModel

_TOLERANCE_USD = 1e-9
"""Sums of prices are compared with this tolerance, because floats do not add up exactly."""


class Budget(FrozenModel):
    """Limits in US dollars; None is no limit. A day is a UTC day. Unknown outcomes and failed tasks count as spent."""

    per_run_usd: float | None = Field(default=None, ge=0)
    per_day_usd: float | None = Field(default=None, ge=0)
    total_usd: float | None = Field(default=None, ge=0)

    @property
    def limits(self) -> bool:
        """Whether any limit is set."""
        return any(limit is not None for limit in (self.per_run_usd, self.per_day_usd, self.total_usd))


@dataclass(frozen=True)
class Spent:
    """What a pipeline has spent or reserved, in US dollars."""

    run_usd: float = 0.0
    day_usd: float = 0.0
    total_usd: float = 0.0

    def room_usd(self, budget: Budget) -> float:
        """How much may still be spent under a budget: infinite without a limit, never below zero."""
        pairs = (
            (budget.per_run_usd, self.run_usd),
            (budget.per_day_usd, self.day_usd),
            (budget.total_usd, self.total_usd),
        )
        return max(0.0, min((limit - spent for limit, spent in pairs if limit is not None), default=float("inf")))


NO_LIMIT = Budget()
NOTHING_SPENT = Spent()


def fits(price_usd: float, room_usd: float) -> bool:
    """Whether a price fits into what is left."""
    return price_usd <= room_usd + _TOLERANCE_USD
