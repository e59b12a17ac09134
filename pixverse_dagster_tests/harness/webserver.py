"""Dagster's webserver and daemon for a test, asked as their pages ask them."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import httpx

from pixverse_dagster_tests.harness.commands import wait_until
from pixverse_dagster_tests.harness.servers import free_ports
from pixverse_dagster_tests.harness.soak.stage import Crew

_LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { __typename
  ... on PythonError { message } } } } } }"""
PROJECT = {"python_module": "pixverse_dagster.definitions"}
# `nux`: the first page would otherwise have an invitation to Dagster's community over it.
_DAGSTER_YAML = "telemetry:\n  enabled: false\nnux:\n  enabled: false\n"


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


@contextmanager
def open_dagster(
    home: Path, environment: Mapping[str, str], location: Mapping[str, Any] = PROJECT
) -> Generator[Webserver]:
    """The webserver and the daemon on a home and one code location."""
    (home / "dagster.yaml").write_text(_DAGSTER_YAML)
    workspace = home / "workspace.yaml"
    workspace.write_text(json.dumps({"load_from": [location]}))
    # Its tables are made here: two processes that make them at the same time stand in each other's way.
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs_count()
    (port,) = free_ports(1)
    webserver = Webserver(f"http://127.0.0.1:{port}")
    given = {**os.environ, **environment, "DAGSTER_HOME": str(home)}
    crew = Crew(home)
    try:
        words = ("dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", str(workspace))
        crew.start("webserver", given, *words)
        crew.start("daemon", given, "dagster._daemon", "run", "-w", str(workspace))
        wait_until(lambda: webserver.answers() or not crew.alive("webserver"), 90, "the webserver answers")
        assert crew.alive("webserver"), "\n".join(log.read_text() for log in crew.logs.glob("*-webserver.log"))
        wait_until(webserver.loaded, 90, "the code location is loaded")
        yield webserver
    finally:
        crew.end()
