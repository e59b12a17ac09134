"""What is only assumed about a provider, and what a first live run should record to settle it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class OpenQuestion:
    """One thing that no public source settles: what is assumed meanwhile, and what shows it.

    `costs` says what recording it takes: `nothing`, the `first clip`, or a `further clip`.
    """

    question: str
    assumed: str
    record: str
    costs: Literal["nothing", "first clip", "further clip"] = "nothing"
