"""The project's commands and Dagster's own, each run in a process as a person or a launcher would."""

import atexit
import csv
import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import pytest

from pixverse_dagster_tests.harness import forked
from pixverse_dagster_tests.harness.forked import Forked, Ran, pixverse_dagster, run_forked, start_forked
from pixverse_dagster_tests.harness.migrations import read_migrations_once
from pixverse_dagster_tests.harness.servers import Simulator

read_migrations_once()

T = TypeVar("T")
Home = tuple[Path, dict[str, str], Simulator]
"""A Dagster home, the environment that joins it to its table and its simulator, and the simulator."""
PACE = {
    "first_poll_seconds": 0.3,
    "max_poll_seconds": 1,
    "collect_after_seconds": 0.5,
    "collect_retry_seconds": 0.5,
    "claim_lease_seconds": 5,
    "record_seconds": 1,
}
_TIMEOUTS = {"submit_timeout_seconds": 8, "connect_timeout_seconds": 1}
ACCOUNTS = dict.fromkeys(("highway", "runware", "pixwith"), _TIMEOUTS)
"""A lease lasts at least as long as a submit may; tests that kill its process wait for the end of it."""
_C1 = "highway/pixverse-c1-reference-to-video"
PRICES = [
    {"model": "highway/pixverse-v4.5-i2v", "resolution": "360p", "motion_mode": "normal", "usd": 0.45},
    {"model": "highway/pixverse-v6-i2v", "resolution": "360p", "audio": False, "per": "second", "usd": 0.033},
    {"model": _C1, "resolution": "360p", "audio": False, "per": "second", "usd": 0.03},
    {"model": "pixwith/pixverse-v5", "resolution": "360p", "duration_seconds": 5, "usd": 0.45},
]
"""What the simulator charges at those providers that publish no price, so that the ledger's totals can be compared."""
MODELS = (
    "highway/pixverse-v4.5-i2v",
    "highway/pixverse-v6-i2v",
    "highway/pixverse-c1-reference-to-video",
    "runware/pixverse-v4.5",
    "pixwith/pixverse-v5",
)


def pixverse(
    *arguments: str, home: Path, environment: dict[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    words = [*arguments, "--home", str(home)]
    ran = _run(pixverse_dagster, words, environment or {}, cwd=home.parent, timeout_seconds=600)
    if check:
        assert ran.code == 0, ran.output[-3000:] + ran.errors[-3000:]
    return subprocess.CompletedProcess(words, ran.code, ran.output, ran.errors)


def follow(line: str, folder: Path, environment: dict[str, str] | None = None) -> Ran:
    """Run a command that was printed, as a shell would take it, in some folder, without a cold start."""
    program, *words = shlex.split(line)
    assert Path(program).name == "pixverse-dagster"
    return _run(pixverse_dagster, words, {"DAGSTER_HOME": "", **(environment or {})}, cwd=folder, timeout_seconds=120)


def _run(
    program: Callable[[], None], words: list[str], environment: dict[str, str], *, cwd: Path, timeout_seconds: float
) -> Ran:
    with tempfile.TemporaryDirectory() as folder:
        given = os.environ | environment
        return run_forked(program, words, given, Path(folder) / "run", cwd=cwd, timeout_seconds=timeout_seconds)


def demo(home: Path, *arguments: str, check: bool = True) -> dict[str, Any]:
    """Run the demo and return what it reports."""
    done = pixverse("demo", "--json", *arguments, home=home, check=check)
    assert done.returncode in {0, 1}, done.stderr[-3000:]
    return json.loads(done.stdout)


def write_table(path: Path, count: int, models: tuple[str, ...] = MODELS, **extra: str) -> Path:
    """A table of `count` rows over these models, at the smallest size."""
    names = ["id", "model", "prompt", "image", "references", "resolution", *extra]
    reference = json.dumps([{"type": "subject", "name": "cat", "image": "chelsea.png"}])
    with path.open("w", newline="") as file:
        rows = csv.DictWriter(file, names, restval="")
        rows.writeheader()
        for n in range(count):
            model = models[n % len(models)]
            row = {
                "id": f"r{n:03}",
                "model": model,
                "prompt": f"@cat looks up, frame {n}",
                "resolution": "360p",
                **extra,
            }
            if model.endswith("reference-to-video"):
                row["references"] = reference
            elif model.startswith("highway"):
                row["image"] = "coffee.png"
            rows.writerow(row)
    return path


@cache
def _empty_home() -> Path:
    """A Dagster home whose databases have their tables and nothing else, made once."""
    home = Path(tempfile.mkdtemp(prefix="pixverse-home-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs_count()
    return home


def prepare_instance(home: Path, settings: str) -> None:
    """A Dagster home with these settings. Its databases are copied: to make their tables anew takes a second or two."""
    shutil.copytree(_empty_home(), home, dirs_exist_ok=True)
    (home / "dagster.yaml").write_text(settings)


def make_home(home: Path, table: Path, running: Simulator) -> Home:
    """A Dagster home for the project's own definitions, and the environment that joins it to table and simulator."""
    prepare_instance(home, "telemetry:\n  enabled: false\n")
    environment = {
        "DAGSTER_HOME": str(home),
        "PIXVERSE_PROMPTS": str(table),
        "PIXVERSE_SIMULATOR_URL": running.url,
        "PIXVERSE_PACE": json.dumps(PACE),
        "PIXVERSE_ACCOUNTS": json.dumps(ACCOUNTS),
    }
    return home, environment, running


_number = itertools.count(1)


def dagster(environment: dict[str, str], *arguments: str) -> Forked:
    """Start one of Dagster's own commands on the project's definitions."""
    cwd = Path(environment["DAGSTER_HOME"])
    log = cwd / f"command-{next(_number):04}.log"
    return start_forked(forked.dagster, arguments, os.environ | environment, (log, log), cwd=cwd)


def run_job(environment: dict[str, str], job: str, op: str, rows: list[str]) -> Forked:
    """Start a run of one of the pipeline's op jobs, as the run launcher would: a process of its own."""
    return dagster(environment, *_execute(environment, job, op, rows))


def _execute(environment: dict[str, str], job: str, op: str, rows: list[str]) -> list[str]:
    config = Path(environment["DAGSTER_HOME"]) / f"{job}.json"
    config.write_text(json.dumps({"ops": {op: {"config": {"rows": rows}}}}))
    return ["job", "execute", "-m", "pixverse_dagster.definitions", "-j", job, "-c", str(config)]


def run_rows(environment: dict[str, str], job: str, op: str, rows: list[str]) -> str:
    """As `run_job`, to its end and without a cold start; returns the run's log."""
    return run_dagster(environment, *_execute(environment, job, op, rows)).log


def run_dagster(environment: dict[str, str], *arguments: str, cwd: Path | None = None) -> Ran:
    """Run one of Dagster's own commands to its end, without a cold start."""
    folder = cwd or Path(environment["DAGSTER_HOME"])
    return _run(forked.dagster, list(arguments), environment, cwd=folder, timeout_seconds=200)


def finish(process: subprocess.Popen[str] | Forked, timeout: float = 120) -> str:
    """Wait for a process and return what it printed."""
    if isinstance(process, Forked):
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"not done after {timeout} s: {process.output.read_text()[-3000:]}")
        return process.output.read_text()
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        pytest.fail(f"not done after {timeout} s: {output[-3000:]}")
    return output


def run_dg(folder: Path, *arguments: str) -> Ran:
    """Run `dg` in a project's folder to its end, without a cold start and without a Dagster home."""
    return _run_in(folder, forked.dg, arguments)


def run_pytest(folder: Path, *arguments: str) -> Ran:
    """Run `pytest` in a project's folder to its end, in the same way."""
    return _run_in(folder, forked.pytest, arguments)


def _run_in(folder: Path, program: Callable[[], None], arguments: Sequence[str]) -> Ran:
    # A program's own folder is the first place that is searched, and Dagster takes the first place off the list.
    own = str(Path(sys.executable).parent)
    path = os.pathsep.join(filter(None, [own, str(folder / "src"), os.environ.get("PYTHONPATH", "")]))
    environment = {"PYTHONPATH": path, "COLUMNS": "200", "DAGSTER_HOME": ""}
    return _run(program, list(arguments), environment, cwd=folder, timeout_seconds=120)


def materialize(
    environment: dict[str, str],
    select: str,
    *more: str,
    module: str = "pixverse_dagster.definitions",
    fails: bool = False,
) -> str:
    """Materialise assets in a real run and return its log."""
    ran = run_dagster(environment, "asset", "materialize", "-m", module, "--select", select, *more)
    assert bool(ran.code) == fails, ran.log[-4000:]
    return ran.log


def ask_until(condition: Callable[[], T], seconds: float) -> T:
    """Ask until the answer is true, for a bounded time; returns the last answer.

    It asks for a tenth of the time at most: a webserver that is asked all the time leaves no core to what it is
    asked about.
    """
    deadline = time.monotonic() + seconds
    while True:
        asked_at = time.monotonic()
        answer = condition()
        now = time.monotonic()
        if answer or now >= deadline:
            return answer
        threading.Event().wait(max(0.1, 9 * (now - asked_at)))


def wait_until(condition: Callable[[], T], seconds: float, what: str) -> T:
    """As `ask_until`; an answer that is not true in the end fails the test."""
    answer = ask_until(condition, seconds)
    assert answer, f"not within {seconds} s: {what}"
    return answer


def tasks_of(home: Path, environment: dict[str, str]) -> list[dict[str, Any]]:
    """Every task in the ledger, the oldest first."""
    return json.loads(pixverse("tasks", "list", "--json", home=home, environment=environment).stdout)


def states(home: Path, environment: dict[str, str]) -> Counter[str]:
    """How many tasks the ledger has in each state."""
    return Counter(task["state"] for task in tasks_of(home, environment))


def run_on(environment: dict[str, str], rows: int) -> None:
    """Run on as a person would: materialise `clips` of every row."""
    materialize(environment, "demo/clips", "--partition-range", f"r000...r{rows - 1:03}")


def charges_per_reference(running: Simulator) -> Counter[str]:
    """Charged tasks per row: the prompt is the row's own."""
    bodies = [task["request"] for task in running.tasks()]
    return Counter(str(body.get("prompt") or body.get("positivePrompt")).strip() for body in bodies)
