"""What media files say of themselves, through PyAV. May import: core, policy, transport."""
