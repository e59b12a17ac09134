"""The daemon's crashes: its code server dies in a tick, it dies before or after it launches a run, the machine dies.

Then a new daemon is started, and nobody does anything else.
"""

import functools
import itertools
import os
import signal
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

import dagster as dg

from pixverse_dagster_tests.harness.code_server import write_workspace
from pixverse_dagster_tests.harness.commands import ask_until
from pixverse_dagster_tests.harness.crash.home import (
    DATABASES,
    MODELS,
    MODULE,
    STORES,
    Database,
    Home,
    Site,
    StoreKind,
    make_home,
)
from pixverse_dagster_tests.harness.crash.judge import Figures, check_end, count, total
from pixverse_dagster_tests.harness.forked import Forked, daemon, start_forked
from pixverse_dagster_tests.harness.servers import running_simulator

_DEATH_SECONDS, _END_SECONDS = 90.0, 120.0


@dataclass(frozen=True)
class Scenario:
    """Who dies by itself at which point, and what dies with it; without a point, the daemon dies while a run works."""

    point: str
    also: Literal["daemon", "all"]
    nth: int = 1


SCENARIOS: Mapping[str, Scenario] = {
    "code server, result recorded": Scenario("tick-result-recorded", "all"),
    "code server, collect leased": Scenario("tick-collect-leased", "all"),
    "daemon, run not launched": Scenario("run-unlaunched", "all"),
    "daemon, run goes on": Scenario("", "daemon"),
    "machine, run half done": Scenario("stored", "all", nth=3),
}


@dataclass(frozen=True)
class Case:
    """One scenario on one database and one store."""

    name: str
    database: Database
    store: StoreKind

    def __str__(self) -> str:
        return f"{self.name}, {self.database}, {self.store}"


def daemon_cases(*, full: bool) -> list[Case]:
    """Every scenario on each database and store; or on one of these four after the other."""
    if full:
        return [Case(*one) for one in itertools.product(SCENARIOS, DATABASES, STORES)]
    return [Case(name, DATABASES[n % 2], STORES[(n + n // 2) % 2]) for n, name in enumerate(SCENARIOS)]


def run_cases(site: Site, cases: Sequence[Case], jobs: int) -> tuple[list[str], Figures]:
    """Run cases side by side: what is wrong, and the figures of all."""
    with ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(functools.partial(run_case, site), cases))
    return [one for wrong, _ in done for one in wrong], total(figures for _, figures in done)


def run_case(site: Site, case: Case) -> tuple[list[str], Figures]:
    """Submit, kill, start a new daemon, wait, judge: what is wrong, and the figures."""
    name = case.name
    scenario, figures = SCENARIOS[name], Figures({name}, cells=1)
    folder = site.folder / str(case)
    folder.mkdir()
    # Slow media, so that there is a run at work to look at.
    faults = {} if scenario.point else {"media.slow": 1.0}
    with (
        running_simulator(folder, generation_seconds=0.2, faults=faults) as simulator,
        make_home(site, simulator, case.database, case.store, (MODELS[len(name) % 3], *MODELS[3:])) as home,
    ):
        for ran in (home.materialize("demo/prompts"), home.job("submit", home.rows())):
            assert ran.code == 0, ran.log[-2000:]
        marker = home.folder / "killed"
        kill = {
            "PIXVERSE_TEST_KILL": scenario.point,
            "PIXVERSE_TEST_KILL_NTH": str(scenario.nth),
            "PIXVERSE_TEST_KILL_MARKER": str(marker),
        }
        with _daemon(home, "first", kill) as first:
            died = ask_until(marker.exists if scenario.point else lambda: _at_work(home), _DEATH_SECONDS)
            wrong = [] if died else [f"nothing died: {_log(home, 'first')}"]
            os.killpg(first.pid, signal.SIGKILL) if scenario.also == "all" else first.kill()
            first.wait()
            wrong += ["everything was stored before the kill"] if _stored(home) == len(home.rows()) else []
            figures.kills += died
            with _daemon(home, "second", {}):
                if not ask_until(lambda: _stored(home) == len(home.rows()), _END_SECONDS):
                    wrong.append(f"not all stored: {_log(home, 'second')}")
        wrong += check_end(home.scene(), set(), "")
        count(home.scene(), figures)
    return [f"{case}: {one}" for one in wrong], figures


@contextmanager
def _daemon(home: Home, name: str, kill: Mapping[str, str]) -> Generator[Forked]:
    """Dagster's daemon with its code server and runs, in a group of their own that ends with it."""
    workspace = write_workspace(home.folder, MODULE)
    log = home.folder / f"{name}.log"
    environment = dict(home.environment) | dict(kill)
    process = start_forked(_killable_daemon, ["run", "-w", str(workspace)], environment, (log, log), cwd=home.folder)
    try:
        yield process
    finally:
        # The group outlives its leader: what a killed daemon left is in it too.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _killable_daemon() -> None:
    import_module(MODULE)
    daemon()


def _stored(home: Home) -> int:
    return sum(task["state"] == "stored" for task in home.tasks().values())


def _at_work(home: Home) -> bool:
    with dg.DagsterInstance.from_config(str(home.folder)) as instance:
        started = dg.RunsFilter(job_name="demo_collect", statuses=[dg.DagsterRunStatus.STARTED])
        return instance.get_runs_count(started) > 0


def _log(home: Home, name: str) -> str:
    return (home.folder / f"{name}.log").read_text(errors="replace")[-2500:]
