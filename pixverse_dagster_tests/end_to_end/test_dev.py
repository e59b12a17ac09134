"""`demo`, `dev` and `home` as a person starts and stops them: nothing is lost, and nothing is left behind."""

import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import dagster as dg
import psutil
import pytest

from pixverse_dagster_tests.harness.commands import wait_until

PROGRAM = (sys.executable, "-m", "pixverse_dagster.cli")
pytestmark = pytest.mark.cover


def start(folder: Path, *words: str) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a command with a process group of its own, as a shell does, and its output in a file."""
    log = folder / f"{words[0]}-{len(list(folder.glob('*.log')))}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*PROGRAM, *words], cwd=folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    return process, log


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_dev_ends_with_all_that_it_started(tmp_path: Path, how: signal.Signals) -> None:
    """Simulator, webserver, daemon and code servers; the address that it said was one that answered."""
    words = ("dev", "--home", "home", "--port", str(free_port()), "--simulator-port", str(free_port()))
    process, log = start(tmp_path, *words)
    try:
        said = wait_until(
            lambda: re.search(r"^Dagster: +http://127\.0\.0\.1:(\d+)/asset-groups", log.read_text(), re.MULTILINE),
            120,
            "the address of the pages",
        )
        assert said is not None
        with socket.create_connection(("127.0.0.1", int(said.group(1))), timeout=5):
            pass
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= 3, started
        process.send_signal(how)
        process.wait(60)
        wait_until(lambda: not [one for one in started if one.is_running()], 10, "no process is left")
    finally:
        process.kill()


def test_a_demo_that_is_stopped_says_how_to_go_on_and_goes_on(tmp_path: Path) -> None:
    """One line; the next demo on the home stores what the first one paid for, and pays for nothing."""
    words = ("demo", "--rows", "2", "--home", "home", "--generation-seconds")
    process, log = start(tmp_path, *words, "15")
    wait_until(lambda: submitted(tmp_path / "home") == 2, 120, "rows are under way")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130, log.read_text()
    (line,) = re.findall(r"^Stopped: .*$", log.read_text(), re.MULTILINE)
    assert "2 rows are under way" in line
    assert "demo --rows 2 --home" in line
    assert "Traceback" not in log.read_text()
    done = subprocess.run(
        [*PROGRAM, *words, "1", "--json"], cwd=tmp_path, capture_output=True, timeout=120, check=False
    )
    ended = json.loads(done.stdout)
    assert {clip["state"] for clip in ended["clips"]} == {"stored"}
    assert ended["charged_tasks"] == 0


def submitted(home: Path) -> int:
    """How many tasks the ledger of a home has submitted; none while it is being made."""
    try:
        with closing(sqlite3.connect(f"file:{home}/storage/pixverse/ledger.db?mode=ro", uri=True)) as ledger:
            return int(ledger.execute("SELECT count(*) FROM pixverse_tasks WHERE state = 'submitted'").fetchone()[0])
    except sqlite3.Error:
        return 0


def test_several_processes_make_one_home_ready_at_once(tmp_path: Path) -> None:
    """Dagster's own race at this leaves its databases broken for good."""
    processes = [start(tmp_path, "home", "--home", "home")[0] for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        assert instance.get_runs_count() == 0
        assert list(instance.all_asset_keys()) == []
