"""Stopping real runs: a person's wish ends the spending at once, a worker's death only detaches."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pixverse_dagster_tests.harness.commands import (
    dagster,
    finish,
    materialize,
    pixverse,
    run_job,
    run_on,
    states,
    wait_until,
    write_table,
)
from pixverse_dagster_tests.harness.servers import Simulator

ROWS = 40
UNLIMITED = {"PIXVERSE_ACCOUNTS": "{}"}
"""What is run on need not be slow any more."""
KEYS = [f"r{n:03}" for n in range(ROWS)]


@pytest.fixture
def home(tmp_path: Path, project: Callable[..., Any]) -> tuple[Path, dict[str, str], Simulator]:
    """A home with forty rows, of which one in a second can be submitted."""
    table = write_table(tmp_path / "t.csv", ROWS, ("runware/pixverse-v4.5",))
    made = project(table, generation_seconds=0.5)
    made[1]["PIXVERSE_ACCOUNTS"] = json.dumps({"runware": {"submits_per_minute": 60}})
    materialize(made[1], "demo/prompts")
    return made


def running_run(home: Path) -> dg.DagsterRun:
    """The run that is under way."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (record,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        return record


def test_a_terminated_run_submits_nothing_more_and_says_what_goes_on(home: tuple[Path, dict[str, str], Simulator]):
    """The launcher's interrupt reaches the process while it submits."""
    folder, environment, running = home
    process = run_job(environment, "demo_submit", "demo_submit_rows", KEYS)
    wait_until(lambda: len(running.tasks()) >= 5, 60, "5 submitted rows")
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        instance.report_run_canceling(running_run(folder))
    process.send_signal(signal.SIGINT)
    log = finish(process, 60)
    submitted = len(running.tasks())
    assert submitted <= 25, "it went on submitting"
    assert f"Cancelled: nothing further is submitted. {submitted} tasks that this run submitted go on" in log
    assert f"about {submitted * 0.1121:.3f} USD" in log
    run_on(environment | UNLIMITED, ROWS)
    assert states(folder, environment)["stored"] == ROWS
    assert len(running.tasks()) == ROWS


@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.cover)])
def test_a_signal_only_detaches_and_re_execution_adopts(home: tuple[Path, dict[str, str], Simulator], how: int):
    """A worker that is told to go leaves its tasks to the next run, and says what goes on."""
    folder, environment, running = home
    process = dagster(
        environment, "asset", "materialize", "-m", "pixverse_dagster.definitions", "--select", "demo/clips",
        "--partition-range", f"{KEYS[0]}...{KEYS[-1]}",
    )  # fmt: skip
    wait_until(lambda: len(running.tasks()) >= 5, 60, "5 submitted rows")
    process.send_signal(how)
    log = finish(process, 60)
    assert "Interrupted: nothing further is submitted." in log, log[-3000:]
    assert len(running.tasks()) < ROWS
    run_on(environment | UNLIMITED, ROWS)
    assert states(folder, environment)["stored"] == ROWS
    assert len(running.tasks()) == ROWS
    assert "0 disagreements" in pixverse("verify", home=folder, environment=environment).stdout


def test_a_run_that_waits_for_the_provider_ends_by_the_flag_alone(tmp_path: Path, project: Callable[..., Any]):
    """No signal reaches it: it ends all the same, cancelled, and says what goes on and how its rows stood."""
    table = write_table(tmp_path / "t.csv", 2, ("runware/pixverse-v4.5",))
    folder, environment, running = project(table, generation_seconds=3600)
    environment["PIXVERSE_PACE"] = json.dumps({"progress_seconds": 0.5})
    materialize(environment, "demo/prompts")
    process = dagster(
        environment, "asset", "materialize", "-m", "pixverse_dagster.definitions", "--select", "demo/clips",
        "--partition-range", f"{KEYS[0]}...{KEYS[1]}",
    )  # fmt: skip
    wait_until(lambda: len(running.tasks()) == 2, 60, "2 submitted rows")
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        run = running_run(folder)
        instance.report_run_canceling(run)
        log = finish(process, 60)
        ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.CANCELED
    assert "Cancelled: nothing further is submitted. 2 tasks that this run submitted go on" in log
    assert ": of 2 rows, 2 render" in log
