"""Whatever opens a database of Dagster here finds its migrations read."""

from pixverse_dagster_tests.harness.migrations import read_migrations_once

read_migrations_once()
