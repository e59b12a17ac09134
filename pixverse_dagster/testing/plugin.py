"""The plugin that pytest finds by itself: the fixture `pixverse_simulator`.

It imports nothing but pytest until a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pixverse_dagster.testing.simulator import PixverseSimulator


@pytest.fixture(scope="session")
def pixverse_simulator_process() -> Iterator[str]:
    """The address of a simulator that all tests of this process share; most want `pixverse_simulator`."""
    from pixverse_dagster.testing.process import start_simulator  # noqa: PLC0415 - nobody pays who does not use it

    with start_simulator("--generation-seconds", "0") as address:
        yield address


@pytest.fixture
def pixverse_simulator(pixverse_simulator_process: str) -> Iterator[PixverseSimulator]:
    """The three providers on this machine, as freshly started: no key, no money, real playable clips."""
    from pixverse_dagster.testing.simulator import PixverseSimulator  # noqa: PLC0415 - as above

    with PixverseSimulator(pixverse_simulator_process) as simulator:
        simulator.reset()
        yield simulator
