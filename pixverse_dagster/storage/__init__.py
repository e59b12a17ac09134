"""Where clips are kept: a store is a file here and a line in STORES. May import: core."""
