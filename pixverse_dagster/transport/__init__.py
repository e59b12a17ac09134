"""The one sender: everything that crosses HTTP. May import: core, providers."""
