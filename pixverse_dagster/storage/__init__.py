"""Where clips are kept: one module per kind of store."""
