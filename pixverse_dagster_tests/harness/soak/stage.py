"""What the soak plays on: a simulator with faults, a Dagster home, and real daemons and workers that can be killed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal

import psutil

from pixverse_dagster.ledger.ledger import Ledger, open_ledger
from pixverse_dagster.orchestration.resources import LEDGER_FILE
from pixverse_dagster.simulator import KINDS
from pixverse_dagster_tests.harness.canaries import Canaries, Canary
from pixverse_dagster_tests.harness.code_server import write_workspace
from pixverse_dagster_tests.harness.commands import ACCOUNTS, MODELS, PRICES, prepare_instance, write_table
from pixverse_dagster_tests.harness.echo import Echo, echoing, refusing
from pixverse_dagster_tests.harness.forked import (
    FORKS_RUNS,
    Forked,
    code_server,
    daemon,
    dagster,
    end_with_us,
    pixverse_dagster,
    run_forked,
    start_forked,
)
from pixverse_dagster_tests.harness.judge.records import Bucket, Files, Folder, Places, dagster_events, sqlite_file
from pixverse_dagster_tests.harness.person import Person
from pixverse_dagster_tests.harness.servers import (
    Simulator,
    new_bucket,
    new_database,
    postgres,
    rgw,
    running_simulator,
)
from pixverse_dagster_tests.harness.sinks import search_bucket, search_database, search_folder
from pixverse_dagster_tests.harness.soak.parts import Part

NAME = "demo"
MODULE = "pixverse_dagster.definitions"
PACE = {
    "first_poll_seconds": 0.3,
    "max_poll_seconds": 1,
    "claim_lease_seconds": 5,
    "record_seconds": 1,
    "collect_after_seconds": 0.5,
    "collect_retry_seconds": 0.5,
    "offer_seconds": 20,
    "collect_lease_seconds": 10,
}
_HIGHEST_RATE = {"submit.lost_response": 0.05, "task.stuck": 0.02}
_FOREIGN = ("PIXVERSE_", "DAGSTER_", "AWS_", "PG")
# Dagster sees to a killed worker only while the code server that started it lives. Else its run stays STARTED for ever
# and keeps its place in the queue, which is therefore without a limit.
_DAGSTER_YAML = "telemetry:\n  enabled: false\nconcurrency:\n  runs:\n    max_concurrent_runs: -1\n"
_DAGSTER_ON_POSTGRES = "storage:\n  postgres:\n    postgres_url: {}\n"

_FORKED = {"dagster": dagster, "dagster._daemon": daemon}

Process = subprocess.Popen[bytes] | Forked
Role = Literal["daemon", "worker", "person", "launcher", "webserver"]


@dataclass(frozen=True)
class Options:
    """What is asked for. `seconds` is about how long the whole takes."""

    seed: int
    seconds: float = 180
    rows: int = 500
    database: str = "sqlite"
    store: str = "local"
    generation_seconds: float = 1
    models: Sequence[str] = MODELS
    pace: Mapping[str, float] = field(default_factory=lambda: PACE)
    repeats: float = 0.0
    """At which rate the providers answer with all that they were sent."""


@dataclass(frozen=True)
class _Started:
    role: Role
    process: Process

    def followers(self) -> Iterator[psutil.Process]:
        """The other processes of its group: what it started, and what those started, its own death notwithstanding."""
        for pid in psutil.pids():
            with suppress(OSError, psutil.Error):
                if pid != self.process.pid and os.getpgid(pid) == self.process.pid:
                    process = psutil.Process(pid)
                    if process.status() != psutil.STATUS_ZOMBIE:
                        yield process


class Crew:
    """Every process that a soak or a test started, each with a process group of its own."""

    def __init__(self, home: Path) -> None:
        self.logs = home / "logs"
        self._home = home
        self._groups: list[_Started] = []
        self._count = 0
        self.logs.mkdir()

    def start(self, role: Role, environment: Mapping[str, str], *arguments: str) -> Process:
        """Start a Python module, its output in a log of its own."""
        self._count += 1
        log = self.logs / f"{self._count:03}-{role}.log"
        log.write_text(f"{' '.join(arguments)}\n")
        module, *words = arguments
        if module in _FORKED:
            program = code_server if words[:2] == ["api", "grpc"] else _FORKED[module]
            process: Process = start_forked(program, words, environment, (log, log), cwd=self._home)
        else:
            with log.open("ab") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", *arguments],
                    env=environment,
                    cwd=self._home,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            end_with_us(process.pid)
        self._groups.append(_Started(role, process))
        return process

    def alive(self, role: Role) -> list[Process]:
        """The processes of this role that were started here and run."""
        return [group.process for group in self._groups if group.role == role and group.process.poll() is None]

    def parts(self, part: Part) -> list[psutil.Process]:
        """What can be killed: daemons, their code servers, and run workers, whoever started them."""
        self._forget_the_gone()
        roles: Mapping[Part, Sequence[Role]] = {"daemon": ["daemon"], "worker": ["worker", "person"], "code server": []}
        found: list[psutil.Process] = []
        for process in (process for role in roles[part] for process in self.alive(role)):
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(process.pid))
        if part == "daemon":
            return found
        belongs = _is_worker if part == "worker" else _is_code_server
        for group in self._groups:
            for process in group.followers() if group.role == "daemon" else ():
                with suppress(psutil.Error):
                    found += [process] if belongs(process) else []
        return found

    def end(self) -> None:
        """Kill what is left of every group."""
        self._forget_the_gone()
        for group in self._groups:
            with suppress(ProcessLookupError):
                os.killpg(group.process.pid, signal.SIGKILL)
            group.process.wait()
        self._groups.clear()

    def _forget_the_gone(self) -> None:
        # An empty group's number may be given to somebody else's process.
        self._groups = [one for one in self._groups if one.process.poll() is None or any(one.followers())]


def _is_code_server(process: psutil.Process) -> bool:
    return "grpc" in process.cmdline()


def _is_worker(process: psutil.Process) -> bool:
    """Spawned by a code server, or forked in the place of that."""
    parent = process.parent()
    return "--multiprocessing-fork" in process.cmdline() or (parent is not None and parent.name() == FORKS_RUNS)


@dataclass(frozen=True)
class Stage:
    """One soak's home, servers and processes, and its rows: their ids by prompt."""

    options: Options
    home: Path
    environment: Mapping[str, str]
    simulator: Simulator
    crew: Crew
    ledger: Ledger
    places: Places
    """Where the judge reads."""
    rows: Mapping[str, str]
    rates: Mapping[str, float]
    canaries: Canaries
    echo: Echo

    def start_daemon(self) -> None:
        """Dagster's daemon, which polls, collects, and starts what stands in the queue."""
        self.crew.start("daemon", self.environment, "dagster._daemon", "run", "-w", self._workspace())

    def read_table(self) -> Process:
        """Materialise `prompts`."""
        words = ("dagster", "asset", "materialize", "-m", MODULE, "--select", f"{NAME}/prompts")
        return self.crew.start("worker", self.environment, *words)

    def submit(self, rows: Sequence[str], *, queued: bool = False) -> Process:
        """A submit run: a process of ours, or one that the daemon starts when it comes by."""
        config = self.crew.logs / f"{uuid.uuid4().hex}.json"
        config.write_text(json.dumps({"ops": {f"{NAME}_submit_rows": {"config": {"rows": list(rows)}}}}))
        words = ("-j", f"{NAME}_submit", "-c", str(config))
        if queued:
            return self.crew.start(
                "launcher", self.environment, "dagster", "job", "launch", "-w", self._workspace(), *words
            )
        return self.crew.start("worker", self.environment, "dagster", "job", "execute", "-m", MODULE, *words)

    def take(
        self, rows: Sequence[str], *, select: Sequence[str] = ("clips",), pace: Mapping[str, float] = PACE
    ) -> Process:
        """A person's own materialisation of consecutive rows: it adopts or submits, waits, and stores."""
        assets = ",".join(f"{NAME}/{asset}" for asset in select)
        words = ("--select", assets, "--partition-range", f"{rows[0]}...{rows[-1]}")
        environment = {**self.environment, "PIXVERSE_PACE": json.dumps(pace)}
        return self.crew.start("person", environment, "dagster", "asset", "materialize", "-m", MODULE, *words)

    def ask(self, *arguments: str) -> str:
        """What the project's command line prints."""
        words, files = [*arguments, "--home", str(self.home)], self.crew.logs / uuid.uuid4().hex
        done = run_forked(pixverse_dagster, words, self.environment, files, cwd=self.home, timeout_seconds=120)
        if not done.output:
            raise RuntimeError(f"{arguments}: exit code {done.code}: {done.errors[-2000:]}")
        return done.output

    def person(self) -> Person:
        """Whoever operates the pipeline."""
        return Person(self.ask, self.simulator)

    def find_leaks(self) -> list[str]:
        """Where a key is in anything that was kept: files, logs, databases, objects."""
        found = [*search_folder(self.home, self.canaries)]
        for url in {self.places.ledger_url, self.places.dagster_url}:
            found += search_database(url, self.canaries) if url.startswith("postgres") else ()
        if isinstance(self.places.files, Bucket):
            found += search_bucket(self.places.files.client, self.places.files.bucket, self.canaries)
        return [str(leak) for leak in found]

    def _workspace(self) -> str:
        return str(write_workspace(self.home, MODULE))


def _drawn_rates(seed: int) -> dict[str, float]:
    # Named, so that the rates do not depend on what else is drawn from the seed.
    dice = Random(f"{seed}:rates")  # noqa: S311 - reproducible on purpose, guards nothing
    return {kind: round(dice.uniform(0.005, _HIGHEST_RATE.get(kind, 0.12)), 4) for kind in KINDS}


@contextmanager
def open_stage(
    options: Options,
    folder: Path,
    rates: Mapping[str, float] | None = None,
    keys: Mapping[str, str] | None = None,
) -> Generator[Stage]:
    """Start what the options ask for in a folder; everything ends with the context.

    The rates of the simulator's faults are drawn from the seed if they are not given; `keys` are further ones.
    """
    home = folder / "home"
    home.mkdir()
    rates = _drawn_rates(options.seed) if rates is None else rates
    prompts = write_table(folder / "prompts.csv", options.rows, tuple(options.models))
    with prompts.open(newline="") as file:
        rows = {row["prompt"]: row["id"] for row in csv.DictReader(file)}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    environment |= {
        "DAGSTER_HOME": str(home),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "PIXVERSE_NAME": NAME,
        "PIXVERSE_PROMPTS": str(prompts),
        "PIXVERSE_PACE": json.dumps(options.pace),
        "PIXVERSE_ACCOUNTS": json.dumps(ACCOUNTS),
        "PIXVERSE_PRICES": json.dumps(PRICES),
    }
    with ExitStack() as running:
        ledger_url, dagster_url = _make_databases(options, folder, environment, running)
        files = _make_store(options, folder, environment, running)
        seconds = options.generation_seconds
        planted = [Canary(f"the key at {name}") for name in ACCOUNTS]
        keys = {**(keys or {}), **{canary.secret: "simulator" for canary in planted}}
        if options.repeats:
            own = {n: {**a, "api_key": c.secret} for (n, a), c in zip(ACCOUNTS.items(), planted, strict=True)}
            environment |= {"PIXVERSE_ACCOUNTS": json.dumps(own), "PIXVERSE_RECORD": str(home / "recorded")}
        started = running_simulator(folder, generation_seconds=seconds, seed=options.seed, faults=rates, keys=keys)
        simulator = running.enter_context(started)
        echo = Echo(simulator.url, options.repeats, refusing, options.seed)
        if options.repeats:
            running.enter_context(echoing(echo))
        environment["PIXVERSE_SIMULATOR_URL"] = echo.url or simulator.url
        crew = Crew(home)
        running.callback(crew.end)
        places = Places(NAME, ledger_url, files, dagster_url)
        yield Stage(
            options,
            home,
            environment,
            simulator,
            crew,
            open_ledger(ledger_url),
            places,
            rows,
            rates,
            Canaries(planted),
            echo,
        )


def _make_databases(options: Options, folder: Path, environment: dict[str, str], running: ExitStack) -> tuple[str, str]:
    """Where the ledger is, and where Dagster's events are."""
    home = folder / "home"
    prepare_instance(home, _DAGSTER_YAML)
    if options.database == "sqlite":
        (home / "storage" / LEDGER_FILE).parent.mkdir(parents=True)
        return sqlite_file(home / "storage" / LEDGER_FILE), dagster_events(home)
    server = running.enter_context(postgres(folder))
    ledger_url, dagster_url = new_database(server), new_database(server)
    (home / "dagster.yaml").write_text(_DAGSTER_YAML + _DAGSTER_ON_POSTGRES.format(dagster_url))
    environment["PIXVERSE_LEDGER_URL"] = ledger_url
    return ledger_url, dagster_url


def _make_store(options: Options, folder: Path, environment: dict[str, str], running: ExitStack) -> Files:
    if options.store == "local":
        return Folder(folder / "home" / "clips")
    server = running.enter_context(rgw(folder))
    bucket = new_bucket(server)
    environment |= {
        "PIXVERSE_S3_BUCKET": bucket,
        "AWS_ENDPOINT_URL_S3": server.endpoint_url,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_REGION": server.region,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    client = server.client()
    running.callback(client.close)
    return Bucket(client, bucket)
