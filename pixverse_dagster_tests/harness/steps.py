"""What a question costs SQLite, told by the steps of its own machine: no clock is asked."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event


class Steps:
    """Counts what SQLite's machine does for an engine, in portions of ten steps."""

    def __init__(self, engine: sa.Engine) -> None:
        self.count = 0
        event.listen(engine, "checkout", self._watch)

    def of(self, work: Callable[[], object]) -> int:
        """How many portions this takes."""
        self.count = 0
        work()
        return self.count

    def _watch(self, connection: Any, *_: object) -> None:
        connection.set_progress_handler(self._step, 10)

    def _step(self) -> int:
        self.count += 1
        return 0
