"""Views of ledger and store that change nothing. May import: core, policy, ledger, storage, media."""
