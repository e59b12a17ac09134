"""Tables change while their tasks are under way: nothing that was paid for is lost, and nothing is paid for again."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from pixverse_dagster.clip import TaskState
from pixverse_dagster.collection import collect_tasks
from pixverse_dagster.ledger import Ledger
from pixverse_dagster.ledger.database import open_engine, sqlite_url
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster_tests.harness.factories import make_row, make_workshop, record_rows, submit_all, succeeded_tasks
from pixverse_dagster_tests.harness.servers import StartSimulator


@pytest.fixture
def ledger(tmp_path: Path):
    engine = open_engine(sqlite_url(tmp_path / "ledger.db"))
    yield Ledger(engine)
    engine.dispose()


def test_a_clip_of_a_request_that_left_the_table_is_still_collected(
    tmp_path: Path, ledger: Ledger, simulator: StartSimulator
) -> None:
    """A row was changed, another removed while their tasks were under way: both were paid for and are stored."""
    running = simulator(generation_seconds=0.2)
    kite, gone = make_row("kite"), make_row("gone")
    with make_workshop(ledger, running.url) as shop:
        succeeded_tasks(shop, [kite, gone])
        changed = make_row("kite", prompt="the kite falls")
        record_rows(ledger, [changed])
        assert ledger.current(shop.pipeline.name) == {}
        offered = ledger.collectable(shop.pipeline.name, ["kite", "gone"])
        assert {task.row for task in offered} == {"kite", "gone"}
        store = LocalStore(tmp_path / "clips")
        assert all(collected.manifest for collected in collect_tasks(shop, store, offered))
        assert ledger.counts(shop.pipeline.name) == {TaskState.STORED: 2}


def test_a_changed_row_is_another_request_and_its_new_clip_is_the_one_that_is_loaded(
    tmp_path: Path, ledger: Ledger, simulator: StartSimulator
) -> None:
    """The old clip stays, the new one stands beside it, and of the two the current request's is loaded."""
    running = simulator(generation_seconds=0.2)
    old, new = make_row("kite"), make_row("kite", prompt="the kite falls")
    store = LocalStore(tmp_path / "clips")
    with make_workshop(ledger, running.url) as shop:
        succeeded_tasks(shop, [old])
        by_digest = {task.digest: task for task in succeeded_tasks(shop, [new])}
        assert by_digest.keys() == {old.digest, new.digest}
        for digest in (new.digest, old.digest):
            assert all(found.manifest for found in collect_tasks(shop, store, [by_digest[digest]]))
        loaded = ledger.newest_stored(shop.pipeline.name, ["kite"])["kite"]
        assert loaded.digest == new.digest
        assert len(running.tasks()) == 2
    assert len(list((tmp_path / "clips").rglob("manifest.json"))) == 2


def test_a_label_a_line_and_an_order_cost_nothing(ledger: Ledger, simulator: StartSimulator) -> None:
    """What does not reach the provider never causes a new submit."""
    running = simulator(generation_seconds=0.2)
    rows = [make_row("a"), make_row("b")]
    with make_workshop(ledger, running.url) as shop:
        submit_all(shop, rows)
        moved = [replace(row, line=row.line + 7, labels={"campaign": "summer"}) for row in reversed(rows)]
        again = submit_all(shop, moved)
        assert not any(submission.sent for submission in again.values())
    assert len(running.tasks()) == 2


def test_dagsters_own_limits_on_partition_keys_are_ours() -> None:
    """What a row id may not have is at least what Dagster refuses in a partition key."""
    partitions = dg.StaticPartitionsDefinition
    for mark in ("...", "\n", "\0", "\t"):
        with pytest.raises(dg.DagsterInvalidDefinitionError):
            partitions([f"a{mark}b"])
