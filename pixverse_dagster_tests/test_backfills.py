"""Backfills with the real backfill daemon, launched by the webserver's own API: which rows fail, and what is paid."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from pixverse_dagster_tests.servers import Simulator, free_ports
from pixverse_dagster_tests.test_pipeline import (
    charges_per_reference,
    finish,
    materialize,
    pixverse,
    project,
    wait_until,
    write_table,
)

__all__ = ["project"]

CLIPS = dg.AssetKey(["demo", "clips"])
SECONDS = 200
_LAUNCH = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params)
  { __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_CANCEL = "mutation($id: String!) { cancelPartitionBackfill(backfillId: $id) { __typename } }"
_AGAIN = """mutation($params: ReexecutionParams!) { reexecutePartitionBackfill(reexecutionParams: $params)
  { __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_STATUS = """query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status
  assetBackfillData { assetBackfillStatuses { ... on AssetPartitionsStatusCounts
  { numPartitionsMaterialized numPartitionsFailed } } } } } }"""


class Web:
    """Dagster's webserver, as its pages use it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, query: str, **variables: Any) -> Any:
        answer = httpx.post(
            f"{self._url}/graphql", json={"query": query, "variables": variables}, timeout=60, trust_env=False
        )
        return answer.json()["data"]

    def backfill(self, rows: list[str]) -> str:
        """What the partition dialog does: these rows of `clips`, in one backfill."""
        params = {"assetSelection": [{"path": CLIPS.path}], "partitionNames": rows, "tags": []}
        made = self.ask(_LAUNCH, params=params)["launchPartitionBackfill"]
        return str(made["backfillId"])

    def backfill_again(self, backfill: str) -> str:
        """What the button for re-execution from failure does."""
        params = {"parentRunId": backfill, "strategy": "FROM_FAILURE"}
        made = self.ask(_AGAIN, params=params)["reexecutePartitionBackfill"]
        return str(made["backfillId"])

    def cancel(self, backfill: str) -> None:
        self.ask(_CANCEL, id=backfill)

    def status(self, backfill: str) -> tuple[str, int, int]:
        """Its status, and how many partitions are materialised and failed."""
        found = self.ask(_STATUS, id=backfill)["partitionBackfillOrError"]
        none: dict[str, int] = {}
        counts = next(iter(found["assetBackfillData"]["assetBackfillStatuses"]), none)
        return found["status"], counts.get("numPartitionsMaterialized", 0), counts.get("numPartitionsFailed", 0)


@contextmanager
def dagster_servers(home: Path, environment: dict[str, str]) -> Generator[Web]:
    """The webserver and the daemon, on one workspace."""
    workspace = home / "workspace.yaml"
    workspace.write_text("load_from:\n  - python_module: pixverse_dagster.definitions\n")
    (port,) = free_ports(1)
    commands = [
        ["dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", str(workspace)],
        ["dagster._daemon", "run", "-w", str(workspace)],
    ]
    logs = [(home / f"server-{n}.log").open("w") for n in range(2)]
    servers = [
        subprocess.Popen(
            [sys.executable, "-m", *command], env=os.environ | environment, cwd=home, stdout=log, stderr=log, text=True
        )
        for command, log in zip(commands, logs, strict=True)
    ]
    try:
        wait_until(lambda: answers(port), 90, "the webserver answers")
        yield Web(f"http://127.0.0.1:{port}")
    finally:
        for server in servers:
            server.terminate()
        for server, log in zip(servers, logs, strict=True):
            finish(server, 60)
            log.close()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/server_info", timeout=5, trust_env=False).is_success
    except httpx.TransportError:
        return False


def materialized(home: Path) -> set[str]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return set(instance.get_materialized_partitions(CLIPS))


@pytest.mark.timeout(600)
def test_backfills_fail_exactly_the_failed_rows_and_pay_for_nothing_twice(
    tmp_path: Path, project: Callable[..., tuple[Path, dict[str, str], Simulator]]
) -> None:
    """Scattered rows of which some fail, a contiguous range that is cancelled half-way, and both re-executed."""
    table = write_table(tmp_path / "t.csv", 24, ("runware/pixverse-v4.5",))
    home, environment, running = project(table, generation_seconds=8, seed=5, faults={"task.failed": 0.3})
    environment["PIXVERSE_ACCOUNTS"] = json.dumps({"runware": {"submits_per_minute": 15}})
    materialize(environment, "demo/prompts")
    scattered, block = ["r001", "r003", "r004", "r009"], [f"r{n:03}" for n in range(12, 24)]
    with dagster_servers(home, environment) as web:
        some, many = web.backfill(scattered), web.backfill(block)
        in_block = {f"@cat looks up, frame {int(row[1:])}" for row in block}
        wait_until(
            lambda: len(in_block & set(charges_per_reference(running))) >= 3, SECONDS, "3 rows of the block submitted"
        )
        web.cancel(many)
        wait_until(lambda: web.status(many)[0] == "CANCELED", SECONDS, "the block's backfill is cancelled")
        wait_until(lambda: web.status(some)[0].startswith("COMPLETED"), SECONDS, "the scattered backfill has ended")
        sent_by_then = len(in_block & set(charges_per_reference(running)))
        assert sent_by_then < len(block), "cancelled too late to prove anything"
        ledger = {task["row"]: task["state"] for task in tasks_of(home, environment)}
        failed = [row for row in scattered if ledger[row] == "failed"]
        assert web.status(some)[1:] == (len(scattered) - len(failed), len(failed))
        assert {row for row in scattered if row in materialized(home)} == set(scattered) - set(failed)
        again = [web.backfill_again(some)] if failed else []
        again.append(web.backfill(block))
        for backfill in again:
            wait_until(
                lambda one=backfill: web.status(one)[0].startswith("COMPLETED"), SECONDS, "re-execution has ended"
            )
    assert set(charges_per_reference(running).values()) == {1}, "something was paid for twice"
    # The last attempt of each row: what stood in line when its run was stopped is a refused one, and free.
    ended = {task["row"]: task["state"] for task in tasks_of(home, environment)}
    assert ended.keys() == {*scattered, *block}
    assert set(ended.values()) <= {"stored", "failed"}
    assert materialized(home) == {row for row, state in ended.items() if state == "stored"}
    assert "0 disagreements" in pixverse("verify", home=home, environment=environment).stdout


def tasks_of(home: Path, environment: dict[str, str]) -> list[dict[str, Any]]:
    """Every task in the ledger."""
    return json.loads(pixverse("tasks", "list", "--json", home=home, environment=environment).stdout)
