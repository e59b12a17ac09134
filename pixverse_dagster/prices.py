"""What a task is likely to cost: the user's own prices, then the published ones; the provider says the last word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from pixverse_dagster.clip import Record
from pixverse_dagster.models import Request
from pixverse_dagster.providers.runware import RunwareV45


class Price(Record):
    """One line of a price book: the price of one output of a model, or of one second of it.

    What is left out fits anything, so `Price(model="highway/pixverse-v6-i2v", usd=0.06, per="second")` is a whole
    model's price. Of several lines that fit, the first one counts.
    """

    model: str
    usd: float = Field(gt=0)
    per: Literal["output", "second"] = "output"
    resolution: str | None = None
    duration_seconds: int | None = None
    audio: bool | None = None
    motion_mode: str | None = None

    def fits(self, request: Request) -> bool:
        """Whether this line is about such a request."""
        asked = _terms(request)
        return self.model == request.MODEL and all(getattr(self, t) in {None, value} for t, value in asked.items())

    def cost_usd(self, request: Request) -> float:
        """The request's price under this line, all outputs together."""
        seconds = _terms(request)["duration_seconds"] if self.per == "second" else 1
        return round(self.usd * float(seconds or 1) * request.outputs_asked(), 6)


# Runware publishes 0.299 USD for 5 s at 1080p (model page of pixverse:1@3), and an answer at 720p said 0.1495. The
# other sizes are scaled from that by PixVerse's own credits, 45 : 45 : 60 : 120, and doubled for 8 s or fast mode.
# HighwayAPI and Pixwith publish nothing.
PUBLISHED: tuple[Price, ...] = tuple(
    Price(
        model=RunwareV45.MODEL,
        usd=usd * (2 if (seconds, mode) != (5, "normal") else 1),
        resolution=resolution,
        duration_seconds=seconds,
        motion_mode=mode,
    )
    for resolution, usd in {"360p": 0.1121, "540p": 0.1121, "720p": 0.1495, "1080p": 0.299}.items()
    for seconds, mode in ((5, "normal"), (5, "fast"), (8, "normal"))
)


def estimate_usd(request: Request, prices: Sequence[Price] = ()) -> float | None:
    """The likely price of the task in US dollars, all outputs together, or None where no line of any book fits."""
    line = next((price for price in (*prices, *PUBLISHED) if price.fits(request)), None)
    return line.cost_usd(request) if line else None


def missing_line(request: Request) -> str:
    """The price-book line that a person would have to add for this request."""
    terms = {"model": request.MODEL, **_terms(request), "usd": "…"}
    return "Price(" + ", ".join(f"{name}={value!r}" for name, value in terms.items() if value is not None) + ")"


def _terms(request: Request) -> dict[str, str | int | bool | None]:
    """What a price may depend on."""
    return {
        "resolution": request.effective_resolution(),
        "duration_seconds": getattr(request, "duration_seconds", None),
        "audio": getattr(request, "audio", None),
        "motion_mode": (getattr(request, "motion_mode", None) or "normal") if hasattr(request, "motion_mode") else None,
    }
