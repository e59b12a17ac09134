"""`python -m pixverse_dagster.cli`."""

from pixverse_dagster.cli import main

main()
