"""Views of ledger and store that change nothing. May import: core, ledger, storage, media."""
