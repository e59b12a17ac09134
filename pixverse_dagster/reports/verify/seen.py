"""What was seen of many clips, in a few bytes for each: so that memory is bounded where there are millions."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

_WORD = 8


def mark(text: str) -> int:
    """Eight bytes that stand for a text. Of a million texts, two have the same ones in one of 30 million stores."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=_WORD).digest())


class Seen:
    """Tasks that were compared, with the sha256 of their outputs: 16 bytes for each task and 16 for each output.

    First it is added to, then it is sealed and asked.
    """

    def __init__(self) -> None:
        self._tasks, self._first = array("Q"), array("Q")
        self._outputs, self._owners = array("Q"), array("Q")
        self._sharing: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: str, sha256: Sequence[str]) -> None:
        """A task was compared, and its manifest has outputs with these sha256."""
        of_task, outputs = mark(task), [mark(one) for one in sha256]
        self._tasks.append(of_task)
        self._first.append(outputs[0] if outputs else 0)
        for one in set(outputs):
            self._outputs.append(one)
            self._owners.append(of_task)

    def seal(self) -> None:
        """Everything was added."""
        order = sorted(range(len(self._tasks)), key=self._tasks.__getitem__)
        self._tasks, self._first = (array("Q", (of[n] for n in order)) for of in (self._tasks, self._first))
        order = sorted(range(len(self._outputs)), key=self._outputs.__getitem__)
        for n, after in pairwise(order):
            if self._outputs[n] == self._outputs[after]:
                self._sharing |= {self._owners[one]: self._outputs[one] for one in (n, after)}
        self._outputs, self._owners = array("Q"), array("Q")

    def has(self, task: str) -> bool:
        """Whether the task was compared."""
        return self._find(task) is not None

    def first(self, task: str) -> int | None:
        """The mark of the sha256 of the task's first output; None where its manifest could not be read."""
        n = self._find(task)
        return (self._first[n] or None) if n is not None else None

    def shared(self, task: str) -> int | None:
        """The mark of the bytes that an output of this task has in common with one of another task; None if none."""
        return self._sharing.get(mark(task)) if self._sharing else None

    def _find(self, task: str) -> int | None:
        wanted = mark(task)
        n = bisect_left(self._tasks, wanted)
        return n if n < len(self._tasks) and self._tasks[n] == wanted else None
