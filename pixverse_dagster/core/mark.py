"""What a person thinks of a clip: picked, rejected, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Choice(StrEnum):
    """Whether a person wants a clip. `NONE` is no decision: there may be a note all the same."""

    PICK = "pick"
    REJECT = "reject"
    NONE = ""


@dataclass(frozen=True)
class Mark:
    """A mark on one output of a task. `clip` is the key of its file in the store, without the ending."""

    clip: str
    row: str
    task: str
    choice: Choice
    note: str = ""
    marked_at: str = ""

    @property
    def n(self) -> int:
        """The number of the output, from 1."""
        return int(self.clip.rpartition("/")[2])

    def __str__(self) -> str:
        return f"{self.choice or 'no mark'}" + (f": {self.note}" if self.note else "")
