"""The project's own definitions in a process that may be killed: what `-m` and workspace.yaml name in a crash test.

Run as a program it is Dagster's daemon, itself killable.
"""

from pixverse_dagster import definitions
from pixverse_dagster_tests.harness.crash import killpoints

defs = definitions.defs
killpoints.arm()

if __name__ == "__main__":
    from dagster._daemon.cli import main

    main()
