"""A record that another version kept is shown as what it is; its task is polled and stored, and the others go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.row import address_digest, changed_columns, retake
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.schema import rows as rows_table
from pixverse_dagster.ledger.schema import tasks as tasks_table
from pixverse_dagster.policy.plan import Verdict
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.stages.plan import plan_rows
from pixverse_dagster.stages.poll import poll_due
from pixverse_dagster.stages.queue import queue_new_rows
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster_tests.harness.factories import (
    NAME,
    PIXWITH,
    RUNWARE,
    make_row,
    make_session,
    poll_until,
    record_rows,
    submit_all,
)
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.servers import StartSimulator

GONE = "runware/pixverse-v3"
KEPT: dict[str, tuple[str, str]] = {
    "its model is gone": (GONE, json.dumps({"prompt": "a kite", "resolution": "360p", "outputs": 1})),
    "its provider is gone": ("runware/x/y", json.dumps({"prompt": "a kite"})),
    "a parameter is gone": (
        RUNWARE,
        json.dumps({"prompt": "a kite", "sound": True, "webhook_url": "https://a/?s3cret"}),
    ),
    "a value is refused": (RUNWARE, json.dumps({"prompt": "x" * 5000, "resolution": "8k", "outputs": 99})),
    "no values": (RUNWARE, "{}"),
    "other types": (RUNWARE, json.dumps({"prompt": 7, "resolution": [1], "output_format": {}, "outputs": "two"})),
    "names of methods": (GONE, json.dumps({"images": [], "body": {"a": 1}, "public": 1, "model_fields": 2, "_x": 3})),
    "no object": (RUNWARE, "[1]"),
    "no JSON": (RUNWARE, "{"),
}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    made = open_engine(ledger_in(tmp_path))
    yield made
    made.dispose()


@pytest.fixture
def films(engine: sa.Engine, simulator: StartSimulator) -> Iterator[Session]:
    with make_session(Ledger(engine), simulator(generation_seconds=0.3).url) as session:
        yield session


def age(engine: sa.Engine, row: str, model: str, request: str, **more: Any) -> None:
    """Make the records of a row those of another version."""
    with engine.begin() as connection:
        for table in (rows_table, tasks_table):
            values = {"model": model, "request": request, **more}
            connection.execute(sa.update(table).where(table.c.row == row).values(values))


def find(session: Session, row: str) -> Task:
    (task,) = session.ledger.tasks.find(NAME, keys=[row])
    return task


@pytest.mark.parametrize("kind", ["its model is gone", "a parameter is gone", "other types", "no JSON"])
def test_an_old_record_is_polled_stored_and_shown_like_any_other(
    films: Session, engine: sa.Engine, tmp_path: Path, kind: str
):
    """With a good one beside it; nothing is paid for again."""
    model, text = KEPT[kind]
    submit_all(films, [make_row("old"), make_row("good", PIXWITH)])
    age(engine, "old", model, text)
    assert poll_due(films, 10).unread == 0
    done = poll_until(films, lambda found: all(task.state is TaskState.SUCCEEDED for task in found))
    collected = list(collect_tasks(films, LocalStore(tmp_path / "clips"), done))
    assert [one.problem for one in collected] == ["", ""]
    assert {task.state for task in films.ledger.tasks.find(NAME)} == {TaskState.STORED}
    assert model == find(films, "old").request.MODEL
    assert {line.row: line.model for line in plan_rows(films, films.ledger.rows.find(NAME).values()).lines} == {
        "old": model,
        "good": PIXWITH,
    }
    shown = str(find(films, "old").request.public())
    assert "s3cret" not in shown
    submitted = {one.row: one for one in submit_rows(films, ["old", "good"])}
    assert not any(one.sent for one in submitted.values())


@pytest.mark.parametrize("kind", ["its model is gone", "a value is refused"])
def test_an_old_row_is_never_sent_and_counts_once_the_table_was_read_again(
    films: Session, engine: sa.Engine, kind: str
):
    """What this version would not ask for is not paid for; the row is named, and the others are sent."""
    model, text = KEPT[kind]
    record_rows(films.ledger, [make_row("old"), make_row("good", PIXWITH)])
    age(engine, "old", model, text)
    lines = {line.row: line for line in plan_rows(films, films.ledger.rows.find(NAME).values()).lines}
    assert (lines["old"].verdict, lines["old"].cost_usd, lines["good"].verdict) == (Verdict.INVALID, 0, Verdict.NEW)
    assert "read the prompt table again" in lines["old"].note
    assert queue_new_rows(films, 10).wanted == ["good"]
    submitted = {one.row: one for one in submit_rows(films, ["old", "good"])}
    assert {row: one.sent for row, one in submitted.items()} == {"old": False, "good": True}
    assert "read the prompt table again" in submitted["old"].problem
    assert "Nothing was sent" in submitted["old"].problem
    change = films.ledger.rows.record(NAME, [make_row("old"), make_row("good", PIXWITH)], [], "run-2", 0)
    assert change.unchanged == 2
    assert [one.sent for one in submit_rows(films, ["old"])] == [True]


@pytest.mark.parametrize("kind", KEPT)
def test_an_old_record_is_compared_and_counted_like_any_other(films: Session, engine: sa.Engine, kind: str):
    """It has digests of its own, which are no other request's; another take of it is another request."""
    model, text = KEPT[kind]
    record_rows(films.ledger, [make_row("old")])
    age(engine, "old", model, text)
    old, new = films.ledger.rows.find(NAME)["old"], make_row("old")
    assert isinstance(changed_columns(old, new), tuple)
    assert isinstance(changed_columns(new, old), tuple)
    assert len({address_digest(old), retake(old, 2).digest, new.digest}) == 3
    assert films.ledger.rows.raise_take(NAME, "old").take == 2
    assert old.request.outputs_asked() in range(1, 5)
    assert old.request.container()


def test_images_and_differences_of_another_version_are_read_as_far_as_they_can_be(films: Session, engine: sa.Engine):
    """None of them is needed to poll or to store."""
    record_rows(films.ledger, [make_row("old")])
    age(
        engine,
        "old",
        RUNWARE,
        json.dumps({"prompt": "a kite"}),
        images=json.dumps({"a.png": {"source": "a.png", "digest": "sha256:1", "width": "wide", "colour": 3}}),
        differences=json.dumps([{"field": "seed", "asked": 1}, {"other": 2}]),
    )
    row = films.ledger.rows.find(NAME)["old"]
    assert row.images["a.png"].source == "a.png"
    assert [difference.field for difference in row.differences] == ["seed"]
