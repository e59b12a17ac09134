"""An interrupted run leaves no process behind, whatever it had started and however it was ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pixverse_dagster_tests.harness.commands import ask_until, wait_until
from pixverse_dagster_tests.harness.forked import UNPREPARED

MANY = 7
"""What it forks from, PostgreSQL's several, a simulator, a program, its child, and a command."""
# A server with processes of its own, a simulator, a program with a child in its group, and a command that never ends.
TEST = """
import os
from pathlib import Path
from threading import Event

from pixverse_dagster_tests.harness.forked import run_forked, simulator
from pixverse_dagster_tests.harness.servers import postgres, running_simulator
from pixverse_dagster_tests.harness.soak.stage import Crew

FOLDER = Path(__file__).parent

def test_that_is_interrupted():
    with postgres(FOLDER), running_simulator(FOLDER):
        crew = Crew(FOLDER)
        crew.start("webserver", os.environ, "parent")
        while not (FOLDER / "parent is up").exists():
            Event().wait(0.05)
        (FOLDER / "up").touch()
        run_forked(simulator, ["--port", "0"], os.environ, FOLDER / "run", cwd=FOLDER, timeout_seconds=600)
"""
PARENT = """
import pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
pathlib.Path("parent is up").touch()
child.wait()
"""


def alive(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended; who has ended and was not asked after is no process any more."""
    found: list[psutil.Process] = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.parametrize(
    ("how", "workers"),
    [
        (signal.SIGINT, 0),
        pytest.param(signal.SIGINT, 1, marks=pytest.mark.cover),
        pytest.param(signal.SIGTERM, 0, marks=pytest.mark.cover),
        (signal.SIGKILL, 1),
    ],
)
def test_an_interrupted_run_leaves_no_process_behind(tmp_path: Path, how: signal.Signals, workers: int) -> None:
    """Servers, simulators, daemons with what they started, forked commands: they end with the run or its worker."""
    (tmp_path / "test_it.py").write_text(TEST)
    (tmp_path / "parent.py").write_text(PARENT)
    words = ("-c", os.devnull, "--rootdir", str(tmp_path), "-p", "no:cacheprovider", "-n", str(workers), "test_it.py")
    with (tmp_path / "log").open("wb") as log:
        run = subprocess.Popen(
            [sys.executable, "-m", "pytest", *words],
            cwd=tmp_path,
            env=os.environ | {UNPREPARED: "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    itself, started = psutil.Process(run.pid), list[psutil.Process]()
    try:
        wait_until(lambda: (tmp_path / "up").exists() or run.poll() is not None, 120, "all is up but the command")
        wait_until(lambda: len(itself.children(recursive=True)) >= MANY + workers, 60, "the command is up")
        started = itself.children(recursive=True)
        # Ctrl-C is for all that a terminal has in the foreground: the run and its workers.
        os.killpg(run.pid, how) if how is signal.SIGINT else run.send_signal(how)
        ask_until(lambda: not alive([itself, *started]), 60)
        assert not alive([itself, *started]), (tmp_path / "log").read_text()
    finally:
        for process in alive([itself, *started]):
            process.kill()
        run.wait(30)
