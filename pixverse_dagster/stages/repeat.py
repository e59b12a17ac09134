"""Repeating what costs nothing and may work the next time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def repeat(call: Callable[[], T], pauses_seconds: Sequence[float], errors: tuple[type[Exception], ...]) -> T:
    """Call, and after one of these errors again, once after each pause. Raises the last error."""
    for pause_seconds in pauses_seconds:
        try:
            return call()
        except errors:
            threading.Event().wait(pause_seconds)
    return call()
