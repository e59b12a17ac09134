"""The data types: values only, no I/O. May import: nothing.

Of other packages, only Pydantic is used.
"""
