"""The production example as plain processes: its own files and commands, on the servers that a test has started.

A process here is what a container is there: `compose.yaml` says which there are and what each runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from pixverse_dagster_tests.harness.commands import wait_until
from pixverse_dagster_tests.harness.servers import free_ports
from pixverse_dagster_tests.harness.soak.stage import Crew, Process
from pixverse_dagster_tests.harness.webserver import Webserver

PRODUCTION = Path(__file__).parents[2] / "examples" / "production"
LOCATION = "pixverse"
_FILES = ("dagster.yaml", "workspace.yaml", "definitions.py")
_PROGRAMS = {"dagster": "dagster", "dagster-daemon": "dagster._daemon", "dagster-webserver": "dagster_webserver"}
_LOOKS = re.compile(r"poll_interval_seconds: \d+")
_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")

_LAUNCH = """mutation($run: ExecutionParams!) { launchRun(executionParams: $run) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } ... on PipelineNotFoundError { message } } }"""
_RUN = """query($id: ID!) { runOrError(runId: $id) { ... on Run { status tags { key value }
  eventConnection(limit: 1000) { events { ... on MessageEvent { message } } } } } }"""
_RUNS = "{ runsOrError { ... on Runs { results { runId jobName status tags { key value } } } } }"
_ASSET = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  partitionStats { numPartitions numMaterialized numFailed }
  assetMaterializations(limit: 1) { partition runId metadataEntries { label } } } } }"""


class Production(Webserver):
    """The example's webserver, asked as its pages ask it."""

    def launch(
        self,
        job: str,
        config: Mapping[str, Any],
        *,
        assets: Sequence[Sequence[str]] = (),
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Put a run into the queue, as the UI's button does, and return its id."""
        selector = {
            "repositoryLocationName": LOCATION,
            "repositoryName": "__repository__",
            "jobName": job,
            "assetSelection": [{"path": path} for path in assets] or None,
        }
        run: dict[str, Any] = {"selector": selector, "runConfigData": json.dumps(config), "mode": "default"}
        run["executionMetadata"] = {"tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]}
        answer = self.ask(_LAUNCH, run=run)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return answer["run"]["runId"]

    def run(self, run_id: str) -> Any:
        """A run's status, tags and messages."""
        return self.ask(_RUN, id=run_id)["runOrError"]

    def runs(self) -> list[Any]:
        """Every run, the newest first."""
        return self.ask(_RUNS)["runsOrError"]["results"]

    def asset(self, *path: str) -> Any:
        """A partitioned asset's counts and its newest materialisation."""
        return self.ask(_ASSET, key={"path": path})["assetNodeOrError"]

    def log(self, run_id: str) -> str:
        """A run's messages."""
        return "\n".join(event.get("message", "") for event in self.run(run_id)["eventConnection"]["events"])

    def worker(self, run_id: str) -> psutil.Process:
        """The process that a run is in, by the run's own log."""
        messages = self.log(run_id)
        found = re.search(r"Started process for run \(pid: (\d+)\)", messages)
        assert found, messages
        return psutil.Process(int(found.group(1)))


@dataclass(frozen=True)
class Topology:
    """The running whole: every process, and the webserver to talk to."""

    home: Path
    environment: Mapping[str, str]
    crew: Crew
    webserver: Production
    code: list[Process] = field(default_factory=list[Process])
    """The code server that runs."""

    def start_code(self) -> None:
        """Start the code server, as its container's restart does."""
        port = int(self.environment["CODE_SERVER_PORT"])
        self.code[:] = [self._start("code")]
        wait_until(lambda: _listens(port), 90, "the code server")

    def kill_code(self) -> None:
        """SIGKILL to the code server and the runs that it has started: the end of a container."""
        (code,) = self.code
        os.killpg(code.pid, signal.SIGKILL)
        code.wait()

    def start_others(self) -> None:
        """Start daemon and webserver."""
        self._start("daemon")
        self._start("webserver")
        wait_until(lambda: self.webserver.loaded() == [LOCATION], 90, "the webserver has the code location")

    def _start(self, service: str) -> Process:
        """A container's command as a process; where it listens for everybody, only this machine is meant."""
        command = yaml.safe_load((PRODUCTION / "compose.yaml").read_text())["services"][service]["command"]
        program, *words = [_filled(word, self.environment) for word in command]
        words = ["127.0.0.1" if word == "0.0.0.0" else word for word in words]  # noqa: S104 - replaced, not bound
        return self.crew.start("daemon", self.environment, _PROGRAMS[program], *words)


@contextmanager
def started(home: Path, settings: Mapping[str, str]) -> Generator[Topology]:
    """Start the services of compose.yaml in its order, with these settings instead of those of .env."""
    home.mkdir()
    for name in _FILES:
        shutil.copy(PRODUCTION / name, home)
    # How often Dagster looks after its runs is the one thing that is not as it is there.
    instance = home / "dagster.yaml"
    text, replaced = _LOOKS.subn("poll_interval_seconds: 5", instance.read_text())
    assert replaced == 1
    instance.write_text(text)
    (home / "tmp").mkdir()
    code, web = free_ports(2)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_GRPC")}
    environment |= documented() | {
        "DAGSTER_HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "CODE_SERVER_HOST": "127.0.0.1",
        "CODE_SERVER_PORT": str(code),
        "WEBSERVER_PORT": str(web),
        **settings,
    }
    topology = Topology(home, environment, Crew(home), Production(f"http://127.0.0.1:{web}"))
    try:
        topology.start_code()
        topology.start_others()
        yield topology
    finally:
        for process in topology.crew.alive("daemon"):
            process.send_signal(signal.SIGTERM)
        topology.crew.end()


def documented() -> dict[str, str]:
    """What .env.example sets."""
    lines = (PRODUCTION / ".env.example").read_text().splitlines()
    return {name: value for name, equals, value in (line.partition("=") for line in lines) if equals and name[0] != "#"}


def _filled(word: str, environment: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda found: environment.get(found.group(1), found.group(2)), word)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
