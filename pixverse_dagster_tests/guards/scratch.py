"""A copy of the package and its tests in a folder of its own, in which a guard is broken and its tests are run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pixverse_dagster_tests.guards.guard import Guard, break_guard

ROOT = Path(__file__).parents[2]
_PARTS = ("pixverse_dagster", "pixverse_dagster_tests", "pyproject.toml")
_LONGEST_SECONDS = 240
# That libraries were imported before is what makes it fast.
_OPTIONS = ("-p", "no:cacheprovider", "-x", "--tb=line", "-n", "0", "-W", "ignore::pytest.PytestAssertRewriteWarning")
_ENV = re.compile(r"PYTEST_.*|PIXVERSE_.*|PYTHON(PATH|SAFEPATH)|COV_.*")


@dataclass(frozen=True)
class Ran:
    """What came of a run of tests: which one failed, and with what words; and what was printed."""

    code: int
    failed: tuple[str, ...]
    said: str

    @property
    def passed(self) -> bool:
        """Whether every test ran, and none failed."""
        return self.code == 0

    @property
    def noticed(self) -> bool:
        """Whether a test failed by itself: not while it was collected or prepared, which any slip would do.

        Without its guard a process may not end any more, and be killed: after the test had failed.
        """
        return self.code in {1, -signal.SIGKILL} and bool(self.failed)


class Scratch:
    """A copy. Used by one thread."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        for part in _PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, folder / part)  # with what Python compiled, which is still valid
            else:
                shutil.copy2(source, folder / part)
        self._server = subprocess.Popen(
            [sys.executable, "-P", "-m", "pixverse_dagster_tests.guards.forking"],
            cwd=folder,
            env=_environment(folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def without(self, guard: Guard) -> Generator[None]:
        """The copy is without the guard for the time of the block."""
        path = self.root / guard.path
        broken = break_guard(self.root, guard)
        original, kept = path.read_bytes(), path.stat()
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()
        path.write_text(broken)
        try:
            yield
        finally:
            path.write_bytes(original)
            os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))

    def run(self, tests: Sequence[str], seconds: int = _LONGEST_SECONDS) -> Ran:
        """Run these tests on the copy, and stop at the first one that fails; they are killed after so many seconds.

        Raises AssertionError if it is not the copy that is tested.
        """
        output = self.root / "output.txt"
        asked = {
            "arguments": [*_OPTIONS, *(f"pixverse_dagster_tests/{test}" for test in tests)],
            "output": str(output),
            "seconds": seconds,
        }
        server = self._server
        if server.stdin is None or server.stdout is None:
            raise AssertionError("a server without pipes")
        server.stdin.write(f"{json.dumps(asked)}\n")
        server.stdin.flush()
        code = int(server.stdout.readline() or -1)
        said = output.read_text(errors="replace") if output.exists() else ""
        if code >= 0 and f"pixverse_dagster: {self.root / 'pixverse_dagster'}\n" not in said:
            raise AssertionError(f"the copy in {self.root} is not what was tested:\n{said[-2000:]}")
        failed = re.findall(r"^FAILED pixverse_dagster_tests/(.*)$", said, re.MULTILINE)
        return Ran(code, tuple(failed), said)

    def close(self) -> None:
        """End the process of which the runs are children."""
        self._server.terminate()
        self._server.communicate()


def _environment(root: Path) -> dict[str, str]:
    """What this process has, with the copy before everything else: for the tests and for what they start."""
    kept = {name: value for name, value in os.environ.items() if not _ENV.fullmatch(name)}
    # A server that is not there must not leave a guard without its test.
    return kept | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "CI": "true"}
