"""Tests of your own, against the simulator. May import: core, policy, stages, storage, orchestration.

Each name loads its module when it is first used, so that pytest, which loads the plugin here in every run, does not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pixverse_dagster.testing.assertions import assert_charges, assert_clips, assert_paid_once
    from pixverse_dagster.testing.running import Ended, StillMoving, run_to_end
    from pixverse_dagster.testing.simulator import PixverseSimulator

_HOME_OF = {
    "Ended": "running",
    "PixverseSimulator": "simulator",
    "StillMoving": "running",
    "assert_charges": "assertions",
    "assert_clips": "assertions",
    "assert_paid_once": "assertions",
    "run_to_end": "running",
}

__all__ = [
    "Ended",
    "PixverseSimulator",
    "StillMoving",
    "assert_charges",
    "assert_clips",
    "assert_paid_once",
    "run_to_end",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
