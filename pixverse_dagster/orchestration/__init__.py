"""Dagster. May import: core, policy, providers, storage, transport, ledger, tables, stages, reports."""

from importlib.metadata import version

from dagster_shared.libraries import DagsterLibraryRegistry

# As Dagster's integrations do, so that its pages and a code server's list of libraries name this one. Here and not in
# the package itself, for importing that loads nothing; whoever defines a pipeline passes here.
DagsterLibraryRegistry.register("pixverse-dagster", version("pixverse-dagster"), is_dagster_package=False)
