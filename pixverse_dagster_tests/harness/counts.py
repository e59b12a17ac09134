"""How much a run of the tests does: all rows and examples, or as many as CI has time for."""

import os

# Read now: no such variable outlives the beginning of a test run.
FULL = bool(os.environ.get("PIXVERSE_TEST_FULL"))
"""Whether the run was asked for all (`--full`)."""
COVER = FULL or bool(os.environ.get("PIXVERSE_TEST_COVER"))
"""Whether the run was asked for what CI has no time for at every change (`--cover`)."""
