"""What a person decides. May import: core, policy, providers, storage, transport, ledger, stages, reports."""
