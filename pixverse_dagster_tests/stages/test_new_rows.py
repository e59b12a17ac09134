"""The look for new rows: what cannot be asked for is in nobody's way, and no look goes on for long."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from pixverse_dagster.core.price import Price
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import QueuedRow
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.stages.queue import queue_new_rows
from pixverse_dagster.stages.session import Session
from pixverse_dagster_tests.harness.factories import (
    HIGHWAY,
    NAME,
    NOW,
    PIXWITH,
    RUN,
    RUNWARE,
    make_row,
    make_session,
    record_rows,
)

DEAR = make_row("dear", HIGHWAY)
KITE = make_row("kite", RUNWARE)


@pytest.fixture
def session(ledger: Ledger) -> Iterator[Session]:
    """One that never sends: nobody is at its address."""
    with make_session(ledger, "http://127.0.0.1:1") as session:
        yield session


def with_budget(session: Session, *prices: Price) -> Session:
    options = session.options.model_copy(update={"budget": Budget(total_usd=1), "prices": prices})
    return replace(session, pipeline=replace(session.pipeline, options=options))


def copies(row: Row, count: int) -> Sequence[Row]:
    return [replace(row, id=f"{row.id}{number:03}") for number in range(count)]


@pytest.mark.parametrize("prices", [(), (Price(model=HIGHWAY, usd=2),)], ids=["unpriced", "over budget"])
def test_rows_that_cannot_be_paid_for_are_in_nobodys_way(session: Session, prices: tuple[Price, ...]):
    """However many stand at the head of the table; those behind are asked for, and the plan names the others."""
    record_rows(session.ledger, [*copies(DEAR, 510), KITE, make_row("last", HIGHWAY)])
    budgeted = with_budget(session, *prices)
    looked = queue_new_rows(budgeted, 10)
    assert (looked.wanted, len(looked.plan.lines), looked.position) == (["kite"], 512, -1)
    assert queue_new_rows(budgeted, 10).wanted == []


def test_a_look_ends_in_time_and_the_next_one_goes_on_where_it_ended(session: Session):
    """Round and round, so that a row at the head is looked at again."""
    record_rows(session.ledger, [*copies(DEAR, 1005), *copies(KITE, 12)])
    budgeted, after, seen = with_budget(session), -1, list[int]()
    wanted: list[str] = []
    for _ in range(4):
        looked = queue_new_rows(budgeted, 8, after, within_seconds=0)
        after, wanted = looked.position, [*wanted, *looked.wanted]
        seen.append(after)
    assert seen == [499, 999, 1012, -1]
    assert wanted == [f"kite{number:03}" for number in range(8)], "and no more than the budget pays for"


def test_a_provider_whose_rows_wait_in_large_numbers_keeps_no_other_from_being_asked(session: Session):
    """More of it are asked for when fewer wait."""
    others = [make_row("other", PIXWITH), KITE]
    record_rows(session.ledger, others)
    many = [QueuedRow(row.id, row.digest, "runware", RUN, "busy", NOW) for row in copies(DEAR, 2000)]
    session.ledger.queue.add(NAME, many, NOW)
    assert queue_new_rows(session, 10).wanted == ["other"]
    session.ledger.queue.drop(NAME, ["dear000"])
    assert queue_new_rows(session, 10).wanted == ["kite"]
