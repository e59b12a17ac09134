"""`python -m pixverse_dagster_tests.harness.chaos`."""

import sys

from pixverse_dagster_tests.harness.chaos.chaos import main

if __name__ == "__main__":
    sys.exit(main())
