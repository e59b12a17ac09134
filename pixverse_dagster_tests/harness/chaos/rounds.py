"""The rounds of a chaos run: who is sick in each, with what, and which part is killed meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pixverse_dagster_tests.harness.soak.parts import PARTS, Part

PROVIDERS = ("highway", "runware", "pixwith")
KINDS = ("hang", "slow", "error", "html", "wrong_ids", "wrong_types", "flood", "away")
VICTIMS: Sequence[Part | None] = tuple(one for part in PARTS for one in (None, part, None))
_WELL_BETWEEN = 3
"""So many times the rounds with a sick provider are begun with one without: each part is killed in one of these too."""


@dataclass(frozen=True)
class Plan:
    """A round to come: which provider gets what, and which part is killed."""

    provider: str = ""
    kind: str = ""
    victim: Part | None = None


@dataclass(frozen=True)
class Round:
    """Rows that were asked for together, and which provider was sick meanwhile, with what: nobody, with nothing."""

    rows: Collection[str]
    provider: str = ""
    kind: str = ""
    killed: str = ""
    killed_at: float = 0.0
    began: float = 0.0
    healed: float = 0.0

    @property
    def title(self) -> str:
        return f"{self.provider} {self.kind}" if self.provider else "all well"


def plan_rounds(kinds: Sequence[str] = KINDS, *, full: bool) -> list[Plan]:
    """Each kind once, the providers in turn; or with each provider. Rounds in which all are well come in between."""
    pairs = (
        [(provider, kind) for kind in kinds for provider in PROVIDERS]
        if full
        else [*zip(itertools.cycle(PROVIDERS), kinds, strict=False)]
    )
    plans: list[Plan] = []
    victims, well_victims = itertools.cycle(VICTIMS), itertools.cycle(VICTIMS)
    every = max(1, len(pairs) // _WELL_BETWEEN)
    for at, (provider, kind) in enumerate(pairs):
        if at % every == 0:
            plans.append(Plan(victim=next(well_victims)))
        plans.append(Plan(provider, kind, next(victims)))
    return [*plans, Plan(victim=next(well_victims))]
