"""`python -m benchmarks.measure RESULT COMMAND…`: run a command and write down what its process tree cost, as JSON.

A small process of its own, so that nothing else is counted. On Linux it adopts the orphans of the tree; elsewhere, a
process whose parent has ended without waiting for it goes uncounted.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    result, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    started = time.monotonic()
    child = os.posix_spawnp(command[0], command, os.environ)
    code, wall = 0, 0.0
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            break
        if pid == child:
            code, wall = os.waitstatus_to_exitcode(status), time.monotonic() - started
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    measured = {
        "exit_code": code,
        "wall_seconds": wall,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / unit,
    }
    Path(result).write_text(json.dumps(measured))


if __name__ == "__main__":
    main()
