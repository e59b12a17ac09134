"""Tables change while their tasks are under way: nothing that was paid for is lost, and nothing is paid for again."""

from dataclasses import replace
from pathlib import Path

import pytest

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster_tests.harness.factories import make_row, make_session, record_rows, submit_all, succeeded_tasks
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.servers import StartSimulator


@pytest.fixture
def ledger(tmp_path: Path):
    engine = open_engine(ledger_in(tmp_path))
    yield Ledger(engine)
    engine.dispose()


def test_a_clip_of_a_request_that_left_the_table_is_still_collected(
    tmp_path: Path, ledger: Ledger, simulator: StartSimulator
) -> None:
    """A row was changed, another removed while their tasks were under way: both were paid for and are stored."""
    running = simulator(generation_seconds=0.2)
    kite, gone = make_row("kite"), make_row("gone")
    with make_session(ledger, running.url) as session:
        succeeded_tasks(session, [kite, gone])
        changed = make_row("kite", prompt="the kite falls")
        record_rows(ledger, [changed])
        assert ledger.tasks.current(session.pipeline.name) == {}
        offered = ledger.tasks.collectable(session.pipeline.name, ["kite", "gone"])
        assert {task.row for task in offered} == {"kite", "gone"}
        store = LocalStore(tmp_path / "clips")
        assert all(collected.manifest for collected in collect_tasks(session, store, offered))
        assert ledger.tasks.counts(session.pipeline.name) == {TaskState.STORED: 2}


def test_a_changed_row_is_another_request_and_its_new_clip_is_the_one_that_is_loaded(
    tmp_path: Path, ledger: Ledger, simulator: StartSimulator
) -> None:
    """The old clip stays, the new one stands beside it, and of the two the current request's is loaded."""
    running = simulator(generation_seconds=0.2)
    old, new = make_row("kite"), make_row("kite", prompt="the kite falls")
    store = LocalStore(tmp_path / "clips")
    with make_session(ledger, running.url) as session:
        succeeded_tasks(session, [old])
        by_digest = {task.digest: task for task in succeeded_tasks(session, [new])}
        assert by_digest.keys() == {old.digest, new.digest}
        for digest in (new.digest, old.digest):
            assert all(found.manifest for found in collect_tasks(session, store, [by_digest[digest]]))
        loaded = ledger.tasks.newest_stored(session.pipeline.name, ["kite"])["kite"]
        assert loaded.digest == new.digest
        assert len(running.tasks()) == 2
    assert len(list((tmp_path / "clips").rglob("manifest.json"))) == 2


def test_a_label_a_line_and_an_order_cost_nothing(ledger: Ledger, simulator: StartSimulator) -> None:
    """What does not reach the provider never causes a new submit."""
    running = simulator(generation_seconds=0.2)
    rows = [make_row("a"), make_row("b")]
    with make_session(ledger, running.url) as session:
        submit_all(session, rows)
        moved = [replace(row, line=row.line + 7, labels={"campaign": "summer"}) for row in reversed(rows)]
        again = submit_all(session, moved)
        assert not any(submission.sent for submission in again.values())
    assert len(running.tasks()) == 2
