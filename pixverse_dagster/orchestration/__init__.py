"""Dagster. May import: core, policy, providers, storage, transport, ledger, tables, stages, reports."""
