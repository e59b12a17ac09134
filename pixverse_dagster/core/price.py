"""The price of a clip: one line of a price book, and how it applies to a request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar, Literal, Protocol

from pydantic import Field

from pixverse_dagster.core.values import FrozenModel


class Priced(Protocol):
    """The part of a request that its price depends on."""

    MODEL: ClassVar[str]

    def price_terms(self) -> Mapping[str, str | int | bool | None]:
        """The parameters that a price may depend on; None for one that the model does not have."""
        ...

    def outputs_asked(self) -> int:
        """How many clips the task will make."""
        ...


def terms_text(terms: Mapping[str, str | int | bool | None]) -> str:
    """What a price depends on, besides the model: the same text for the same terms."""
    return json.dumps(dict(terms), sort_keys=True)


def price_terms_text(request: Priced) -> str:
    """What the price of one output of the request depends on, besides its model."""
    return terms_text(request.price_terms())


class Price(FrozenModel):
    """One line of a price book: the price of one output of a model, or of one second of it.

    A field that is left out fits every request, so a line of nothing but `model`, `usd` and `per` is the price of a
    whole model. If several lines fit, the first one counts.
    """

    model: str
    usd: float = Field(gt=0)
    per: Literal["output", "second"] = "output"
    resolution: str | None = None
    duration_seconds: int | None = None
    audio: bool | None = None
    motion_mode: str | None = None

    def fits(self, request: Priced) -> bool:
        """Whether this line applies to the request."""
        return self.covers(request.MODEL, request.price_terms())

    def covers(self, model: str, terms: Mapping[str, str | int | bool | None]) -> bool:
        """Whether this line applies to a request of this model with these terms."""
        return self.model == model and all(getattr(self, term) in {None, value} for term, value in terms.items())

    def cost_usd(self, request: Priced) -> float:
        """The request's price under this line, in US dollars, for all its outputs together."""
        seconds = request.price_terms()["duration_seconds"] if self.per == "second" else 1
        return round(self.usd * float(seconds or 1) * request.outputs_asked(), 6)

    def shape_text(self) -> str:
        """The one shape that the line is about, as `price_terms_text` has it of a request."""
        names = ("resolution", "duration_seconds", "audio", "motion_mode")
        return terms_text({name: getattr(self, name) for name in names})
