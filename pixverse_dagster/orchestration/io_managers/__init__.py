"""IO managers: one for each kind of store."""
