"""What tests ask of a fixture, by name."""

import os
from collections.abc import Callable

import pytest

from pixverse_dagster_tests.harness.servers import ServerName, missing

Tell = Callable[[str, object], None]


def require(server: ServerName) -> None:
    """Skip what needs an absent server on a developer's machine; fail it in CI, where nothing may be left out."""
    reason = missing(server)
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
