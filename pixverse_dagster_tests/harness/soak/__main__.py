"""`python -m pixverse_dagster_tests.harness.soak`."""

import sys

from pixverse_dagster_tests.harness.soak.soak import main

if __name__ == "__main__":
    sys.exit(main())
