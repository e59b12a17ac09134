"""What a chaos run came to: how long clips waited beside a sick provider and without one, and which promise broke."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from pixverse_dagster_tests.harness.chaos.rounds import Round
from pixverse_dagster_tests.harness.soak.ticks import Tick

TICK_SECONDS = 20.0
"""From one look of the poll sensor to the next: its 15 s, and what the daemon adds on a busy machine."""
_RECOVERY_SECONDS = 45.0
"""How long Dagster's daemon may take until it has another code server."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Wait:
    """How long a finished clip waited for the store, and which part was killed meanwhile or just before."""

    provider: str
    row: str
    seconds: float
    round: Round
    killed: str = ""
    looked_seconds: float = 0.0
    """Of these, those from the first look of the poll sensor on: when that comes is chance, up to a tick."""


def waits(
    charges: Sequence[Record], stored_at: Mapping[str, float], rounds: Sequence[Round], ticks: Sequence[Tick]
) -> Iterator[Wait]:
    """How long each clip waited whose own provider was well. `stored_at` is by the provider's id of the task.

    A clip that was accepted before or while its own provider was sick, or rendered then, says nothing about neighbours.
    One that waited until its own provider was sick waited at least so long.
    """
    looks = sorted(one.began for one in ticks if one.sensor.endswith("_poll") and not one.failed)
    for charge in charges:
        mine = [one for one in rounds if charge["row"] in one.rows]
        if not mine or not charge["rendered_at"] or charge["task_id"] not in stored_at:
            continue
        accepted, rendered = (datetime.fromisoformat(charge[at]).timestamp() for at in ("accepted_at", "rendered_at"))
        stored = stored_at[charge["task_id"]]
        own = [one for one in rounds if one.provider == charge["provider"] and accepted <= one.healed]
        until = min([stored, *(one.began for one in own)])
        if until >= rendered and mine[0].provider != charge["provider"]:
            since = rendered - _RECOVERY_SECONDS
            killed = next((one.killed for one in rounds if one.killed and since <= one.killed_at <= until), "")
            looked = next((look for look in looks if rendered <= look <= until), rendered)
            yield Wait(charge["provider"], charge["row"], until - rendered, mine[0], killed, until - looked)


@dataclass(frozen=True)
class Spread:
    """Of several waits: how many, the median and the worst, in seconds."""

    count: int
    median: float
    worst: float

    def __str__(self) -> str:
        return f"{self.count} | {self.median:.1f} | {self.worst:.1f}" if self.count else "0 | - | -"


def spread(seconds: Sequence[float]) -> Spread:
    """Of these."""
    return Spread(len(seconds), median(seconds), max(seconds)) if seconds else Spread(0, 0.0, 0.0)


def by_provider(found: Sequence[Wait]) -> dict[str, tuple[Spread, Spread]]:
    """For each provider: without a sick neighbour, and with one."""
    names = sorted({one.provider for one in found})
    return {name: (_spread_of(found, name, sick=False), _spread_of(found, name, sick=True)) for name in names}


def _spread_of(found: Sequence[Wait], provider: str, *, sick: bool) -> Spread:
    return spread([one.seconds for one in found if one.provider == provider and bool(one.round.provider) is sick])


def by_round(found: Sequence[Wait], rounds: Sequence[Round]) -> list[tuple[Round, Spread]]:
    """For each round: all clips of those that were well."""
    return [(one, spread([wait.seconds for wait in found if wait.round is one])) for one in rounds]


def broken(found: Sequence[Wait], long: Sequence[str], endless: Sequence[str], duplicates: int) -> Iterator[str]:
    """Each promise that does not hold. `long` names the ticks that took too long.

    From the first look on, a clip may be a tick later than without its sick neighbour: the wait for that look is the
    same. What waited for a killed part is not compared: what the kill hit, a look or a run, makes more than a tick.
    """
    compared = 0
    quiet = [one for one in found if not one.killed]
    for provider in sorted({one.provider for one in quiet}):
        mine = [one for one in quiet if one.provider == provider]
        well, beside = (
            spread([one.looked_seconds for one in mine if bool(one.round.provider) is sick]) for sick in (False, True)
        )
        if not (well.count and beside.count):
            continue
        compared += 1
        for name in ("median", "worst"):
            alone, late = getattr(well, name), getattr(beside, name)
            if late > alone + TICK_SECONDS:
                yield f"{provider}: {name} {late:.1f} s beside a sick provider, {alone:.1f} s without one"
    if not compared:
        yield "no provider has clips both with and without a sick neighbour: nothing was compared"
    yield from long
    if endless:
        yield f"{len(endless)} rows have no end: {', '.join(endless[:20])}"
    if duplicates:
        yield f"{duplicates} duplicate charges"


def table(found: Sequence[Wait], rounds: Sequence[Round]) -> str:
    """The figures in Markdown: without kills, of those that waited for a killed part, and by rounds."""
    parts = {"": [one for one in found if not one.killed], ", a part killed": [one for one in found if one.killed]}
    columns = "clips, all well | median s | worst s | clips, a neighbour sick | median s | worst s |"
    lines: list[str] = []
    for words, some in parts.items():
        lines += [
            f"| provider{words} | {columns}",
            "|---|---|---|---|---|---|---|",
            *(f"| {provider} | {well} | {beside} |" for provider, (well, beside) in by_provider(some).items()),
            "",
        ]
    lines += [
        "| sick | killed | clips of the others | median s | worst s |",
        "|---|---|---|---|---|",
        *(f"| {one.title} | {one.killed or '-'} | {waited} |" for one, waited in by_round(found, rounds)),
    ]
    return "\n".join(lines)
