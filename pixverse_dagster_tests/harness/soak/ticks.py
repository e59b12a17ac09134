"""How long the looks of the sensors took, as Dagster has noted them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LONGEST_TICK_SECONDS = 20.0


@dataclass(frozen=True)
class Tick:
    """One look of a sensor. What was killed in the midst has no length."""

    sensor: str
    began: float
    seconds: float | None
    failed: bool = False


def read_ticks(home: Path) -> list[Tick]:
    """Every look of every sensor, in this Dagster home."""
    import dagster as dg  # noqa: PLC0415 - tests without Dagster use the rest
    from dagster._core.scheduler.instigation import TickStatus  # noqa: PLC0415

    with dg.DagsterInstance.from_config(str(home)) as instance:
        return [
            Tick(
                state.name,
                tick.timestamp,
                tick.end_timestamp - tick.timestamp if tick.end_timestamp else None,
                failed=tick.status is TickStatus.FAILURE,
            )
            for state in instance.all_instigator_state()
            for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)
        ]


def untouched(ticks: Sequence[Tick], kills: Sequence[float]) -> list[Tick]:
    """The looks in which nothing was killed at one of these times: else what comes after finishes them."""
    ends = [(tick, tick.began + tick.seconds) for tick in ticks if tick.seconds is not None]
    return [tick for tick, end in ends if not any(tick.began <= killed <= end for killed in kills)]


def too_long(ticks: Sequence[Tick], kills: Sequence[float] = ()) -> list[str]:
    """What is wrong: the looks that took longer than any may, whatever a provider does."""
    lengths = [(tick.sensor, tick.seconds or 0) for tick in untouched(ticks, kills)]
    return [f"a tick of {name} took {seconds:.1f} s" for name, seconds in lengths if seconds > LONGEST_TICK_SECONDS]
