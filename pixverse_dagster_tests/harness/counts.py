"""How much a run of the tests does: all rows and examples, or as many as CI has time for."""

import os

# Read now: no such variable outlives the beginning of a test run.
FULL = bool(os.environ.get("PIXVERSE_TEST_FULL"))
"""Whether the run was asked for all (`--full`)."""
