"""A process that has imported the libraries, and of which each run of tests is a child: half of the time is imports.

Of the package and its tests it has imported nothing, so that each child has them as they are then. It is told what to
run in lines of JSON, and answers each with the exit code.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
from contextlib import suppress

LIBRARIES = (
    "alembic.command",
    "av",
    "boto3",
    "click",
    "dagster",
    "dagster_aws.s3",
    "httpcore",
    "psutil",
    "psycopg2",
    "pytest",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite",
)


def run_in_child(arguments: list[str], output: str, seconds: int) -> int:
    """The exit code of pytest with these arguments, in a child whose output goes to a file; it is killed in the end."""
    if pid := os.fork():

        def kill(*_: object) -> None:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

        for number in (signal.SIGALRM, signal.SIGTERM):
            signal.signal(number, kill)
        signal.alarm(seconds)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        signal.alarm(0)
        kill()  # what it started and left behind
        return code
    os.setsid()
    for number in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    file = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for old, new in ((nothing, 0), (file, 1), (file, 2)):
        os.dup2(old, new)
    import pytest  # noqa: PLC0415 - it is there already

    sys.exit(pytest.main(arguments))


def main() -> None:
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()
    ours = {name for name in sys.modules if name.startswith("pixverse_dagster") and name != "pixverse_dagster_tests"}
    if ours - {"pixverse_dagster_tests.guards"}:
        raise AssertionError(f"a child would not import anew: {sorted(ours)}")
    for line in sys.stdin:
        sys.stdout.write(f"{run_in_child(**json.loads(line))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
