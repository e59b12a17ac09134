"""Signals that end a command in good order."""

import signal
import threading
from typing import Any, Self


class Interrupts:
    """Ctrl-C, SIGTERM and SIGHUP: a KeyboardInterrupt at once, and another one at the next `check`.

    For Dagster takes the first one for the failure of a step, where it comes in one.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._came = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {one: signal.signal(one, self._note) for one in self._SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)

    def check(self) -> None:
        """Raise KeyboardInterrupt if somebody wants this to stop."""
        if self._came:
            raise KeyboardInterrupt

    def _note(self, *_: object) -> None:
        self._came = True
        raise KeyboardInterrupt
