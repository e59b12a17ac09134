"""What an earlier version left is read by this one: its ledger is upgraded, its store as it was, nothing paid again.

A new revision of the schema gets a folder of its own in `data/kept` (`python -m pixverse_dagster_tests.harness.kept`);
those that are there stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import ClipManifest, World
from pixverse_dagster.core.row import Row, retake
from pixverse_dagster.core.task import task_cost
from pixverse_dagster.ledger import schema
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import open_engine, sqlite_url
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.policy.retry import RetryPolicy
from pixverse_dagster.reports.verify import verify
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster_tests.harness.factories import NAME, NOW, RUN
from pixverse_dagster_tests.harness.kept import KEPT

REVISIONS = sorted(folder.name for folder in KEPT.iterdir() if folder.is_dir())
BOUGHT = {TaskState.CLAIMED, TaskState.SUBMITTED, TaskState.SUCCEEDED, TaskState.STORED, TaskState.UNKNOWN}


@pytest.fixture(params=REVISIONS)
def revision(request: pytest.FixtureRequest) -> str:
    """A revision of the schema that was released."""
    return request.param


@pytest.fixture
def kept(revision: str) -> dict[str, list[dict[str, Any]]]:
    """Every table of the ledger that this revision left."""
    return json.loads((KEPT / revision / "ledger.json").read_text())


@pytest.fixture(params=["sqlite", "postgres"])
def ledger(
    request: pytest.FixtureRequest, tmp_path: Path, revision: str, kept: dict[str, list[dict[str, Any]]]
) -> Iterator[Ledger]:
    """The kept ledger in a database of each kind, opened, and so upgraded, by this version."""
    sqlite = sqlite_url(tmp_path / "ledger.db")
    url = sqlite if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    write_ledger(url, revision, kept)
    engine = open_engine(url)
    yield Ledger(engine)
    engine.dispose()


def write_ledger(url: str, revision: str, tables: dict[str, list[dict[str, Any]]]) -> None:
    """Make the schema of this revision, as its own migrations did, and fill it."""
    engine = sa.create_engine(url)
    config = Config()
    config.set_main_option("script_location", "pixverse_dagster.ledger:migrations")
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        metadata = sa.MetaData()
        metadata.reflect(connection)
        for name, records in tables.items():
            connection.execute(sa.delete(metadata.tables[name]))
            if records:
                connection.execute(sa.insert(metadata.tables[name]), records)
    engine.dispose()


def test_the_newest_revision_is_kept():
    """Whoever changes the schema keeps what the new one leaves."""
    assert schema.HEAD in REVISIONS


def test_every_task_row_and_total_is_as_it_was(ledger: Ledger, kept: dict[str, list[dict[str, Any]]]):
    """The id of the ledger, the state of every task, what was spent, who waits, what is paused, and the history."""
    assert ledger.id == kept["pixverse_meta"][0]["value"]
    before = {task["id"]: task for task in kept["pixverse_tasks"]}
    found = ledger.tasks.find(NAME)
    assert {task.state for task in found} == {TaskState(task["state"]) for task in before.values()}
    for task in found:
        old = before[task.id]
        for name in ("row", "digest", "claim", "attempt", "folder", "account", "world", "task_id", "cost_usd"):
            assert getattr(task, name) == old[name], name
        assert (str(task.state), task.client_reference) == (old["state"], old["client_reference"])
    assert len(found) == len(before)
    totals = {(one["scope"], one["name"], one["day"]): one["usd_millionths"] for one in kept["pixverse_spending"]}
    whole = sum(millionths for (scope, name, day), millionths in totals.items() if _is_whole(scope, name, day))
    spent = {world: ledger.spent(NAME, RUN, NOW, world) for world in get_args(World)}
    assert sum(one.total_usd for one in spent.values()) == pytest.approx(whole / 1e6)
    for world, one in spent.items():
        at_stake = sum((task_cost(task).usd or 0) for task in found if task.world == world and task.state != "refused")
        assert one.total_usd == pytest.approx(at_stake), "each world has totals of its own"
    assert [entry.row for entry in ledger.queue.find(NAME)] == ["waits"]
    assert [str(pause) for pause in ledger.pauses.find()] == [
        "spending of account 'runware/live' is paused (the year ends)"
    ]
    assert [entry.position for entry in ledger.history.after(0, 1000)] == list(
        range(1, len(kept["pixverse_history"]) + 1)
    )


def test_what_was_paid_for_is_not_paid_for_again(ledger: Ledger):
    """The digests are those that this version computes, so that no row looks new."""
    ledger.pauses.remove("account", "runware/live")
    rows = ledger.rows.find(NAME)
    world: dict[str, World] = {task.row: task.world for task in ledger.tasks.find(NAME)}
    terms = ClaimTerms("another run", NOW, 180, 0.1, Budget(), Budget(), RetryPolicy())
    for row in rows.values():
        assert recomputed(row) == (row.digest, row.address_digest), row.id
    claimed = {
        row.id for row in rows.values() if ledger.claim(NAME, row, replace(terms, world=world.get(row.id, "live")))[1]
    }
    assert claimed == {"refused", "waits", "another take", "withdrawn"}


def _is_whole(scope: str, name: str, day: int) -> bool:
    return scope in {"pipeline", "simulator"} and (name, day) == (NAME, -1)


def recomputed(row: Row) -> tuple[str, str]:
    """What this version's digests of the row's request are."""
    again = retake(row, row.take)
    return again.digest, again.address_digest


def test_the_store_agrees_with_the_ledger(ledger: Ledger, revision: str):
    """Every byte, poster and manifest; and a manifest is read by itself."""
    store = LocalStore(KEPT / revision / "store")
    report = verify(ledger, store, NAME)
    assert (report.clips, report.disagreements) == (3, ())
    for path in (KEPT / revision / "store").rglob("manifest.json"):
        manifest = ClipManifest.load(str(path))
        assert manifest.row in {"first", "zwei ü 2", "third"}
        assert manifest.ledger_id == ledger.id
