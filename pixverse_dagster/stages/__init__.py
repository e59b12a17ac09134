"""The flow, without Dagster. May import: core, policy, providers, storage, transport, ledger, media, tables."""
