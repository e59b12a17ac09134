"""Dagster's webserver and daemon for a test, asked as their pages ask them."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pixverse_dagster_tests.harness.commands import prepare_instance, wait_until
from pixverse_dagster_tests.harness.servers import free_ports
from pixverse_dagster_tests.harness.soak.stage import Crew

_LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { __typename
  ... on PythonError { message } } } } } }"""
PROJECT = ("-m", "pixverse_dagster.definitions")
"""The words that tell a code server what to load."""
LOCATION = "project"
# `nux`: the first page would otherwise have an invitation to Dagster's community over it. The queue is looked at every
# second, not every five; and a run's output, which nobody reads here, takes four processes to keep.
_DAGSTER_YAML = """telemetry:
  enabled: false
nux:
  enabled: false
run_coordinator:
  module: dagster
  class: QueuedRunCoordinator
  config: {dequeue_interval_seconds: 1}
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""


@dataclass(frozen=True)
class Webserver:
    """A webserver, by its address."""

    url: str

    def ask(self, query: str, **variables: Any) -> Any:
        """The data that a GraphQL query or mutation answers with."""
        sent = {"query": query, "variables": variables}
        answer = httpx.post(f"{self.url}/graphql", json=sent, trust_env=False, timeout=60).json()
        assert not answer.get("errors"), answer
        return answer["data"]

    def loaded(self) -> list[str]:
        """The code locations that it shows; one that cannot be loaded fails the test, with the reason."""
        try:
            entries = self.ask(_LOCATIONS)["workspaceOrError"]["locationEntries"]
        except httpx.TransportError:
            return []
        found: dict[str, dict[str, str]] = {one["name"]: one["locationOrLoadError"] or {} for one in entries}
        assert not any(one.get("message") for one in found.values()), found
        return [name for name, one in found.items() if one.get("__typename") == "RepositoryLocation"]

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            return httpx.get(f"{self.url}/server_info", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False


@dataclass(frozen=True)
class Started(Webserver):
    """A webserver whose daemon a test can start again."""

    crew: Crew
    environment: Mapping[str, str]
    workspace: Path

    def start_daemon(self) -> None:
        """Start the daemon, anew where there is one.

        It looks at backfills at once when it starts, and then every 30 s: to start it is to have it look now. Runs are
        the code server's, and go on.
        """
        for old in self.crew.alive("daemon"):
            old.terminate()
            old.wait(90)
        self.crew.start("daemon", self.environment, "dagster._daemon", "run", "-w", str(self.workspace))


@contextmanager
def open_dagster(
    home: Path, environment: Mapping[str, str], code: tuple[str, ...] = PROJECT, *, daemon: bool = True
) -> Generator[Started]:
    """The webserver and the daemon on a home and one code location, whose server they share."""
    if (home / "history").exists():
        (home / "dagster.yaml").write_text(_DAGSTER_YAML)
    else:
        prepare_instance(home, _DAGSTER_YAML)
    code_port, port = free_ports(2)
    workspace = home / "workspace.yaml"
    location = {"host": "127.0.0.1", "port": code_port, "location_name": LOCATION}
    workspace.write_text(json.dumps({"load_from": [{"grpc_server": location}]}))
    crew = Crew(home)
    given = {**os.environ, **environment, "DAGSTER_HOME": str(home)}
    web = Started(f"http://127.0.0.1:{port}", crew, given, workspace)
    try:
        code_server = crew.start(
            "launcher", given, "dagster", "api", "grpc", "-h", "127.0.0.1", "-p", str(code_port), *code
        )
        wait_until(lambda: listens(code_port) or code_server.poll() is not None, 90, "the code server listens")
        assert code_server.poll() is None, "\n".join(log.read_text() for log in crew.logs.glob("*-launcher.log"))
        pages = crew.start(
            "webserver", given, "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", str(workspace)
        )
        if daemon:
            web.start_daemon()
        wait_until(lambda: web.answers() or pages.poll() is not None, 90, "the webserver answers")
        assert pages.poll() is None, "\n".join(log.read_text() for log in crew.logs.glob("*-webserver.log"))
        wait_until(web.loaded, 90, "the code location is loaded")
        yield web
    finally:
        crew.end()


def listens(port: int) -> bool:
    """Whether somebody takes connections on a port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
