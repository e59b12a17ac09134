"""Commands in a process of their own, forked from a server that has done the imports: nine tenths of what one costs."""

import atexit
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FORK = multiprocessing.get_context("forkserver")
_FORK.set_forkserver_preload(["dagster._cli", "dagster_postgres", "psycopg2", __name__])


class RunHung(Exception):
    """A command did not end in time. It was killed; the message has the end of what it printed."""


@dataclass(frozen=True)
class Ran:
    """A command that has ended: its exit code, negative where a signal ended it, and what it printed."""

    code: int
    output: str
    errors: str

    @property
    def log(self) -> str:
        """All that it printed."""
        return self.output + self.errors


def dagster() -> None:
    """The program `dagster`."""
    from dagster._cli import main  # noqa: PLC0415 - preloaded

    main()


def pixverse_dagster() -> None:
    """The program `pixverse-dagster`."""
    from pixverse_dagster.cli import main  # noqa: PLC0415 - reads the environment

    main()


def dg() -> None:
    """The program `dg`."""
    from dagster_dg_cli.cli import main  # noqa: PLC0415 - few tests need it

    main()


def run_forked(
    program: Callable[[], None],
    arguments: Sequence[str],
    environment: Mapping[str, str],
    files: Path,
    *,
    cwd: Path,
    timeout_seconds: float,
) -> Ran:
    """Run a program to its end, with nothing but this environment.

    What it prints is kept beside `files`, with the suffixes `.out` and `.err`.
    """
    child = _FORK.Process(target=_child, args=(program, arguments, dict(environment), files, cwd))
    child.start()
    child.join(timeout_seconds)
    hung = child.exitcode is None
    if hung:
        child.kill()
        child.join()
    child.close()
    output, errors = (_beside(files, end).read_text(errors="replace") for end in ("out", "err"))
    if hung:
        raise RunHung(f"{' '.join(arguments)} was not done after {timeout_seconds} s: {output[-2000:]}{errors[-2000:]}")
    # The fork server may lose an exit code (255) when several children end at once: what the child says counts, and
    # a child that could say nothing was killed.
    said = _beside(files, "code")
    return Ran(int(said.read_text()) if said.exists() else -signal.SIGKILL, output, errors)


def _beside(files: Path, end: str) -> Path:
    return files.with_name(f"{files.name}.{end}")


def _child(
    program: Callable[[], None], arguments: Sequence[str], environment: dict[str, str], files: Path, cwd: Path
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    # The interpreter read this when the server started.
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    for number, end in ((1, "out"), (2, "err")):
        os.dup2(os.open(_beside(files, end), os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
    sys.argv = [program.__name__.replace("_", "-"), *arguments]
    code: Any = 1
    try:
        program()
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
        raise
    finally:
        # As any process does that ends by itself; multiprocessing ends its own without.
        atexit._run_exitfuncs()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        _beside(files, "code").write_text(str(code if isinstance(code, int) else 1))
