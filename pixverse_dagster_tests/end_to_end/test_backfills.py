"""Backfills with the real backfill daemon, launched by the webserver's own API: which rows fail, and what is paid."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pixverse_dagster_tests.harness.commands import (
    charges_per_reference,
    materialize,
    pixverse,
    tasks_of,
    wait_until,
    write_table,
)
from pixverse_dagster_tests.harness.servers import Simulator
from pixverse_dagster_tests.harness.webserver import Started, open_dagster

NAMED = "sc01/[a] it's *?#%2F:&"
"""What rows are called before their number: nearly everything can be a partition key."""
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


# The project's own definitions. What an account may do stands in a file, for it changes during the test.
PROJECT = """
import os
from pathlib import Path

os.environ["PIXVERSE_ACCOUNTS"] = (Path(os.environ["DAGSTER_HOME"]) / "accounts.json").read_text()
from pixverse_dagster.definitions import defs
"""


@dataclass(frozen=True)
class Web:
    """Dagster's backfills, as its pages launch them."""

    home: Path
    dagster: Started

    def ask(self, query: str, **variables: Any) -> Any:
        return self.dagster.ask(query, **variables)

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

    def has_ended(self, backfill: str) -> None:
        """Wait for its runs, and then have the daemon look at it."""
        of = dg.RunsFilter(tags={"dagster/backfill": backfill})
        with dg.DagsterInstance.from_config(str(self.home)) as instance:

            def over() -> bool:
                runs = instance.get_runs(of)
                return bool(runs) and all(run.is_finished for run in runs)

            wait_until(over, SECONDS, "the backfill's runs have ended")
        if self.status(backfill)[0] in {"REQUESTED", "CANCELING"}:
            self.dagster.start_daemon()


def told_of(home: Path, row: str) -> str:
    """What the page of a row's clip says happened last, where it has none."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        records = instance.fetch_observations(dg.AssetRecordsFilter(CLIPS, asset_partitions=[row]), limit=1).records
    observation = records[0].asset_observation if records else None
    return (observation.description if observation else None) or ""


def materialized(home: Path) -> set[str]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return set(instance.get_materialized_partitions(CLIPS))


@pytest.mark.cover
@pytest.mark.timeout(600)
def test_backfills_fail_exactly_the_failed_rows_and_pay_for_nothing_twice(
    tmp_path: Path, project: Callable[..., tuple[Path, dict[str, str], Simulator]]
) -> None:
    """Scattered rows of which some fail, a contiguous range that is cancelled half-way, and both re-executed."""
    table = write_table(tmp_path / "t.csv", 24, ("runware/pixverse-v4.5",))
    table.write_text(table.read_text().replace("\nr", f"\n{NAMED}"))
    home, environment, running = project(table, generation_seconds=2, seed=5, faults={"task.failed": 0.3})
    accounts, module = home / "accounts.json", home / "paced.py"
    accounts.write_text(json.dumps({"runware": {"submits_per_minute": 12}}))
    module.write_text(PROJECT)
    materialize(environment, "demo/prompts")
    scattered, block = ([f"{NAMED}{n:03}" for n in rows] for rows in ((1, 3, 4, 9), range(12, 24)))
    with open_dagster(home, environment, ("-f", str(module)), daemon=False) as started:
        web = Web(home, started)
        some, many = web.backfill(scattered), web.backfill(block)
        started.start_daemon()
        in_block = {f"@cat looks up, frame {int(row[-3:])}" for row in block}
        wait_until(
            lambda: len(in_block & set(charges_per_reference(running))) >= 3, SECONDS, "3 rows of the block submitted"
        )
        web.cancel(many)
        started.start_daemon()
        web.has_ended(many)
        web.has_ended(some)
        wait_until(lambda: web.status(many)[0] == "CANCELED", SECONDS, "the block's backfill is cancelled")
        wait_until(lambda: web.status(some)[0].startswith("COMPLETED"), SECONDS, "the scattered backfill has ended")
        sent_by_then = len(in_block & set(charges_per_reference(running)))
        assert sent_by_then < len(block), "cancelled too late to prove anything"
        ledger = {task["row"]: task["state"] for task in tasks_of(home, environment)}
        failed = [row for row in scattered if ledger[row] == "failed"]
        assert web.status(some)[1:] == (len(scattered) - len(failed), len(failed))
        assert all("failed at the provider" in told_of(home, row) for row in failed)
        assert {row for row in scattered if row in materialized(home)} == set(scattered) - set(failed)
        accounts.write_text("{}")  # the rest need not be slow
        again = [web.backfill_again(some)] if failed else []
        again.append(web.backfill(block))
        started.start_daemon()
        for backfill in again:
            web.has_ended(backfill)
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
