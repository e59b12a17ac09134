"""Reads, checks and measures images and videos, through PyAV. May import: core, policy, transport."""
