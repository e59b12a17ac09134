"""`python -m pixverse_dagster_tests.harness.trials`: what an operator tries, with real processes."""

import sys

from pixverse_dagster_tests.harness.trials.trials import main

if __name__ == "__main__":
    sys.exit(main())
