"""HTTP: every provider call and every download is made here. May import: core, policy, providers."""
