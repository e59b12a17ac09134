"""Threads for downloads, so many for each provider's host, so that one that hangs takes none of another's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar
from urllib.parse import urlsplit

from pixverse_dagster.core.task import Task
from pixverse_dagster.stages.waiting import Workers

T = TypeVar("T")
_MAX_LANES = 16
"""More hosts than this share lanes by provider, so that the number of threads is bounded."""
_SILENT_AFTER = 3


class Lane:
    """The downloads from one host, and whether it still answers. Thread-safe."""

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        self.workers = Workers(threads)
        self._lock = threading.Lock()
        self._unanswered = 0

    @property
    def is_silent(self) -> bool:
        """Whether several downloads in a row had no answer, so that nobody waits for another one now."""
        return self._unanswered >= _SILENT_AFTER

    def note(self, *, answered: bool) -> None:
        """Remember whether a download had an answer."""
        with self._lock:
            self._unanswered = 0 if answered else self._unanswered + 1


class Lanes:
    """One lane for each provider and host that tasks' clips are at. Leave it after use; used by one thread.

    Two providers may keep their files at one host, and only one's be slow: neither waits for the other.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._lanes: dict[tuple[str, str], Lane] = {}

    def submit(self, task: Task, call: Callable[[Lane, Task], T]) -> Future[T]:
        """Call in the lane of the task's first link; in its provider's, if it has none."""
        host = urlsplit(task.urls[0]).netloc if task.urls else ""
        if (task.provider, host) not in self._lanes and len(self._lanes) >= _MAX_LANES:
            host = ""
        name = host or f"{task.provider}'s host"
        lane = self._lanes.setdefault((task.provider, host), Lane(name, self._threads))
        return lane.workers.submit(call, lane, task)

    def leave(self) -> None:
        """Start nothing more; what is under way ends by itself, and nobody waits for it."""
        for lane in self._lanes.values():
            lane.workers.leave()
