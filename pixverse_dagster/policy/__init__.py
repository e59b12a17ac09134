"""The decisions: pure functions of values. May import: core."""
