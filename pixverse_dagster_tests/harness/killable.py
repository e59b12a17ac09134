"""The project's own definitions in a process that may be killed: what `-m` and workspace.yaml name in a crash test.

Imported by a daemon, it makes that killable too.
"""

from pixverse_dagster import definitions
from pixverse_dagster_tests.harness.crash import killpoints

defs = definitions.defs
killpoints.arm()
