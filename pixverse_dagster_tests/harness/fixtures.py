"""What tests ask of a fixture, by name."""

import os
from collections.abc import Callable

import pytest

from pixverse_dagster_tests.harness.servers import ServerName, missing

# Read now: no such variable outlives the beginning of a test run.
FULL = bool(os.environ.get("PIXVERSE_TEST_FULL"))
"""Whether the run was asked for all rows (`--full`), and not for as many as CI has time for."""

Tell = Callable[[str, object], None]


def require(server: ServerName) -> None:
    """Skip what needs an absent server on a developer's machine; fail it in CI, where nothing may be left out."""
    reason = missing(server)
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
