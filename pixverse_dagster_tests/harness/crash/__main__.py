"""`python -m pixverse_dagster_tests.harness.crash`."""

import sys

from pixverse_dagster_tests.harness.crash.matrix import main

if __name__ == "__main__":
    sys.exit(main())
