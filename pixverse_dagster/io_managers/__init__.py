"""The IO managers: one module per kind of store."""
