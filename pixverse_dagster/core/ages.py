"""Ages and moments as people write and read them."""

from __future__ import annotations

import re

from pixverse_dagster.core.values import from_iso

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_NAMES = (("d", 86_400), ("h", 3600), ("min", 60))
_AGE = re.compile(r"(\d{1,6})\s*([smhdw])", re.IGNORECASE)
SINCE_WORDS = "a date or time (2026-11-01, 2026-11-01T09:30; UTC if it says no offset) or an age (12h, 7d, 4w)"
"""What `read_since` takes."""


def read_since(text: str, now: float) -> float:
    """The moment that a date, a time or an age stands for, in seconds since the epoch. Raises ValueError otherwise.

    A date is its first instant in UTC.
    """
    if age := _AGE.fullmatch(text.strip()):
        return now - int(age[1]) * _UNITS[age[2].lower()]
    try:
        return from_iso(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is not {SINCE_WORDS}") from None


def describe_age(seconds: float) -> str:
    """How long something is ago, in its largest unit: `45 s`, `12 min`, `3 h`, `9 d`. A moment to come is `0 s`."""
    whole = max(int(seconds), 0)
    for name, unit in _NAMES:
        if whole >= unit:
            return f"{whole // unit} {name}"
    return f"{whole} s"
