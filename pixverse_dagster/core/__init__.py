"""The nouns: values only, no I/O. May import: nothing.

Pydantic and the standard library alone.
"""
