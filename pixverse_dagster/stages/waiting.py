"""Waiting for what other threads do, no longer than a person wants it, and never for a call that hangs."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_LOOK_SECONDS = 0.5
"""How often a wait looks whether it is to end."""


class RunStopped(Exception):
    """A person cancelled the run. What was submitted goes on, and is stored by another run; nothing further leaves."""


class Workers:
    """A pool of threads that nobody has to wait for: the process may end while one of them is in a call that hangs.

    Python's own pools are waited for when the process ends, however long that takes. What is lost with such a thread
    is what a kill at the same moment would lose; so a paid call is waited for, with `finish`.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._threads: list[threading.Thread] = []
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()

    def submit(self, call: Callable[..., T], *words: Any) -> Future[T]:
        """Have a thread call this, as soon as one is free."""
        future: Future[T] = Future()
        self._calls.put((future, lambda: call(*words)))
        if len(self._threads) < self._count:
            thread = threading.Thread(target=self._work, daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def leave(self) -> None:
        """Begin no further call; those that are under way end by themselves, and nobody waits for them."""
        while True:
            try:
                waiting = self._calls.get_nowait()
            except queue.Empty:
                break
            if waiting:
                waiting[0].cancel()
        for _ in self._threads:
            self._calls.put(None)

    def finish(self) -> None:
        """Begin no further call, and wait for those that are under way."""
        self.leave()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while call := self._calls.get():
            future, make = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = make()
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                future.set_exception(error)
            else:
                future.set_result(result)
            # Nothing of a call is kept while the thread waits for the next one.
            del call, future, make


def as_they_end(futures: Sequence[Future[T]], stopped: Callable[[], bool]) -> Iterator[Future[T]]:
    """The futures as they end. Raises RunStopped within a second of the moment from which `stopped` says so."""
    ended: queue.SimpleQueue[Future[T]] = queue.SimpleQueue()
    for future in futures:
        future.add_done_callback(ended.put)
    left, look_at = len(futures), time.monotonic() + _LOOK_SECONDS
    while left:
        done = None
        with suppress(queue.Empty):
            done = ended.get(timeout=max(look_at - time.monotonic(), 0))
        if done is not None:
            left -= 1
            yield done
        if left and time.monotonic() >= look_at:
            check_stopped(stopped)
            look_at = time.monotonic() + _LOOK_SECONDS


def call_aside(call: Callable[[], T], stopped: Callable[[], bool]) -> T:
    """The result of a call that nothing depends on while it lasts: a stopped run does not wait for it.

    Raises what it raises, and RunStopped.
    """
    workers = Workers(1)
    try:
        (done,) = as_they_end([workers.submit(call)], stopped)
        return done.result()
    finally:
        workers.leave()


def check_stopped(stopped: Callable[[], bool]) -> None:
    """Raise RunStopped if a person wants no more of this run."""
    if stopped():
        raise RunStopped
