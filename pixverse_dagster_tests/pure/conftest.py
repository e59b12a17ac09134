"""What a pure test may not do is refused and reported: no socket, no process, no database, no Dagster.

The interpreter tells an audit hook of every such step before it happens. The hook cannot be taken out again, so it
acts only while a pure test runs; workers of xdist and other tests are left alone.
"""

import multiprocessing.util
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest

STEPS = ("socket.", "subprocess.", "os.fork", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "pty.", "sqlite3.")
MODULES = ("dagster", "psycopg2")


class ImpureError(RuntimeError):
    """A pure test took a step out of its process. It has not happened."""


class Watch:
    """What the test that runs now did against the rule."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook."""
        if not self.on:
            return
        if event.startswith(STEPS):
            self.refuse(event, arguments)
        if event == "import" and str(arguments[0]).split(".")[0] in MODULES:
            self.refuse(event, arguments[:1])

    def refuse(self, event: str, arguments: tuple[Any, ...]) -> NoReturn:
        """Keep it in mind, as the code under test may swallow the error, and stop it."""
        self.seen.append(f"{event} {arguments!r:.200}")
        raise ImpureError(self.seen[-1])

    @contextmanager
    def watching(self) -> Generator[None]:
        """Fail what was done in the block against the rule."""
        self.on, self.seen = True, []
        try:
            yield
        finally:
            self.on = False
            if self.seen:
                pytest.fail("a pure test needs no more than its own process: " + "; ".join(self.seen), pytrace=False)


WATCH = Watch()
sys.addaudithook(WATCH.hear)

_util: Any = multiprocessing.util
_spawn = _util.spawnv_passfds  # the one way to a process of which no hook is told


def _audited_spawn(path: Any, args: Any, passfds: Any) -> Any:
    if WATCH.on:
        WATCH.refuse("multiprocessing spawn", (args,))
    return _spawn(path, args, passfds)


_util.spawnv_passfds = _audited_spawn


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    """A fixture that starts a server is as impure as its test."""
    with WATCH.watching():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    """The test itself."""
    with WATCH.watching():
        return (yield)
