"""The simulator as a child process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from pixverse_dagster.core.errors import PixverseError

_READY = "simulator ready on "
_STOP_SECONDS = 10
_NEEDS = ("starlette", "uvicorn")


@contextmanager
def start_simulator(*arguments: str, port: int = 0, absent: Sequence[str] = _NEEDS) -> Generator[str]:
    """A simulator in a process of its own, yielding its address; stopped at the end. Port 0 picks a free one.

    Raises PixverseError if it does not start, or if what it needs is not installed.
    """
    missing = [module for module in absent if find_spec(module) is None]
    if missing:
        raise PixverseError(f"{', '.join(missing)} not installed: pip install 'pixverse-dagster[demo]'")
    command = [sys.executable, "-m", "pixverse_dagster.simulator", "--port", str(port), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own program
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line.startswith(_READY):
                raise PixverseError(f"the simulator did not start on port {port}: is the port taken?")
            yield line.removeprefix(_READY).strip()
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
