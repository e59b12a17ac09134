"""HTTP: the only code that sends provider calls and downloads. May import: core, providers."""
