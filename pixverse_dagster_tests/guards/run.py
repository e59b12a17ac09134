"""Breaks guards one after the other, each in a copy, and says which of them no test misses."""

from __future__ import annotations

import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from pixverse_dagster_tests.guards.guard import Guard
from pixverse_dagster_tests.guards.scratch import ROOT, Ran, Scratch

_AT_ONCE = 20
"""So many tests are run in one go where all guards are in place."""
_WHOLE_SECONDS = 1800


@dataclass(frozen=True)
class Verdict:
    """What became of a guard: it was noticed, or it survived, or its tests could not say."""

    guard: Guard
    ran: Ran
    seconds: float

    @property
    def survived(self) -> bool:
        """Whether all its tests passed without it."""
        return self.ran.passed

    def __str__(self) -> str:
        if self.ran.noticed:
            return f"noticed {self.guard.name} ({self.seconds:.0f} s) by {self.ran.failed[0]}"
        if self.survived:
            return f"SURVIVED {self.guard.name} ({self.guard.promise}): {self.guard.wrong}"
        return f"NOT TRIED {self.guard.name}: its tests ended with {self.ran.code}\n{self.ran.said[-1500:]}"


def draw(guards: Sequence[Guard], count: int, seed: str) -> list[Guard]:
    """So many guards, the same for the same seed."""
    return random.Random(seed).sample(list(guards), min(count, len(guards)))  # noqa: S311 - a choice, no secret


def find_commit() -> str:
    """The commit that is tested; empty where there is none, as in a source distribution."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return head.stdout.strip()


def try_guards(guards: Sequence[Guard], jobs: int, tell: Callable[[str], None]) -> list[Verdict]:
    """Break each guard, so many at a time. First their tests are run with all guards in place.

    Raises AssertionError if one fails then: it proves nothing. Raises GuardMoved for a guard that is not found.
    """
    tests = sorted({test for guard in guards for test in guard.tests})
    with _copies(jobs) as copies, ThreadPoolExecutor(jobs) as pool:
        tell(f"{len(tests)} tests with all guards in place")

        def try_whole(some: Sequence[str]) -> Ran:
            with _one_of(copies) as scratch:
                return scratch.run(some, _WHOLE_SECONDS)

        # Those of one file together, which share their servers.
        for whole in pool.map(try_whole, [tests[n : n + _AT_ONCE] for n in range(0, len(tests), _AT_ONCE)]):
            if not whole.passed:
                raise AssertionError(f"tests fail though no guard is broken:\n{whole.said[-4000:]}")

        def attempt(guard: Guard) -> Verdict:
            with _one_of(copies) as scratch, scratch.without(guard):
                began = time.monotonic()
                verdict = Verdict(guard, scratch.run(guard.tests), time.monotonic() - began)
            tell(str(verdict))
            return verdict

        return list(pool.map(attempt, guards))


@contextmanager
def _one_of(copies: SimpleQueue[Scratch]) -> Generator[Scratch]:
    """One for the time of the block."""
    scratch = copies.get()
    try:
        yield scratch
    finally:
        copies.put(scratch)


@contextmanager
def _copies(count: int) -> Generator[SimpleQueue[Scratch]]:
    copies: SimpleQueue[Scratch] = SimpleQueue()
    with ExitStack() as folders:
        for _ in range(count):
            folder = Path(folders.enter_context(tempfile.TemporaryDirectory(prefix="guards-")))
            copy = Scratch(folder)
            folders.callback(copy.close)
            copies.put(copy)
        yield copies
