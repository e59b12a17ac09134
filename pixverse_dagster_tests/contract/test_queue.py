"""The queue keeps what was asked for, on SQLite and PostgreSQL: through refusals, kills, withdrawals and readings."""

from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from pixverse_dagster.core.errors import RowChanged
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.row import retake
from pixverse_dagster.core.task import AccountHold, Applied, HoldCause, MoveRefused, Place, QueuedRow
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster_tests.harness.factories import NAME, NOW, RUN, make_row, moved, put_row

TERMS = ClaimTerms(RUN, NOW, 60, asked=True)
ROW = make_row()


def entry_of(row_id: str, digest: str, since: float = NOW, run_id: str = RUN) -> QueuedRow:
    return QueuedRow(row_id, digest, "runware", run_id, "asked for", since)


ENTRY = entry_of(ROW.id, ROW.digest)


def test_a_refusal_puts_its_row_back_in_one_transaction(ledger: Ledger):
    """Both or neither: no kill comes between them. A move that is not made puts nothing back."""
    put_row(ledger, ROW)
    ledger.queue.ask(NAME, [ENTRY], NOW + 60)
    task, _ = ledger.claim(NAME, ROW, TERMS)
    assert ledger.queue.find(NAME) == []
    broken = Place(replace(ENTRY, provider=None), NOW)  # pyright: ignore[reportArgumentType]
    with pytest.raises(IntegrityError):
        ledger.refuse(task, "no credit", place=broken)
    assert ledger.tasks.refresh(task).state is TaskState.CLAIMED
    place = Place(replace(ENTRY, reason="no credit", refusals=1, answer="no", trouble="credit"), NOW + 9)
    assert moved(ledger.refuse(task, "no credit", place=place)).state is TaskState.REFUSED
    assert ledger.queue.find(NAME) == [place.entry]
    assert ledger.queue.due(NAME, NOW + 8) == []
    assert ledger.queue.due(NAME, NOW + 9) == [place.entry]
    ledger.queue.drop(NAME, [ROW.id])
    assert isinstance(ledger.refuse(task, "again", place=place), MoveRefused)
    assert ledger.queue.find(NAME) == []


@pytest.mark.parametrize("meanwhile", ["changed", "left", "withdrawn", "asked for"])
def test_a_row_is_put_back_as_it_is_now(ledger: Ledger, meanwhile: str):
    """Not one that asks for something else, or that nobody wants any more; one that is there again is there once."""
    put_row(ledger, ROW)
    task, _ = ledger.claim(NAME, ROW, TERMS)
    there: list[QueuedRow] = []
    if meanwhile == "changed":
        put_row(ledger, make_row(prompt="other words"))
        there = [entry_of(ROW.id, make_row(prompt="other words").digest)]
        ledger.queue.add(NAME, there, NOW)
    elif meanwhile == "left":
        ledger.rows.record(NAME, [], [], RUN, NOW)
    elif meanwhile == "withdrawn":
        ledger.rows.withdraw(NAME, ROW.id, NOW)
    else:
        ledger.queue.add(NAME, [replace(ENTRY, since=NOW + 5)], NOW)
        there = [ENTRY]
    assert isinstance(ledger.refuse(task, "no credit", place=Place(ENTRY, NOW)), Applied)
    assert ledger.queue.find(NAME) == there


def test_asking_keeps_places_and_leaves_out_what_needs_no_submit(ledger: Ledger):
    """A place is taken over by the run that asks last; what has its answer, or changed, is not asked for."""
    rows = {name: put_row(ledger, make_row(name)) for name in ("waits", "new", "paid", "changed")}
    ledger.queue.add(NAME, [replace(entry_of("waits", rows["waits"].digest, NOW - 9), refusals=2)], NOW)
    ledger.claim(NAME, rows["paid"], ClaimTerms(RUN, NOW, 60))
    put_row(ledger, retake(rows["changed"], 2))
    entries = [entry_of(name, row.digest, run_id="run-2") for name, row in rows.items()]
    found = ledger.queue.ask(NAME, entries, NOW + 60)
    assert {name: (one.since, one.refusals, one.run_id) for name, one in found.items()} == {
        "waits": (NOW - 9, 2, "run-2"),
        "new": (NOW, 0, "run-2"),
    }
    assert [entry.row for entry in ledger.queue.find(NAME)] == ["waits", "new"]
    assert ledger.queue.due(NAME, NOW + 59) == []
    ledger.queue.renew(NAME, ["waits", "new"], "run-2", NOW + 90)
    ledger.queue.renew(NAME, ["waits", "new"], "another run", NOW + 900)
    assert len(ledger.queue.due(NAME, NOW + 90)) == 2, "the lease of a run that was killed ends"
    ledger.queue.leave(NAME, ["waits"], "another run")
    ledger.queue.leave(NAME, ["new"], "run-2")
    assert [entry.row for entry in ledger.queue.find(NAME)] == ["waits"]


def test_a_row_that_has_its_task_waits_no_longer(ledger: Ledger):
    """Its claim takes it off; a slower process that puts it there again brings no run to it."""
    put_row(ledger, ROW)
    ledger.queue.ask(NAME, [ENTRY], NOW + 60)
    assert ledger.claim(NAME, ROW, TERMS)[1]
    assert ledger.queue.count(NAME) == (0, "")
    ledger.queue.add(NAME, [ENTRY], NOW)
    assert ledger.queue.count(NAME) == (1, "asked for")
    assert ledger.queue.find(NAME) == ledger.queue.due(NAME, NOW) == []


def test_what_is_said_of_other_words_is_not_written_on_a_place(ledger: Ledger):
    """A run that ends puts off the row as it had it; meanwhile the row changed, and was asked for anew."""
    put_row(ledger, ROW)
    ledger.queue.add(NAME, [ENTRY], NOW)
    late = replace(ENTRY, digest=make_row(prompt="other words").digest, reason="refused")
    ledger.queue.put_off(NAME, [Place(late, NOW + 600)])
    assert ledger.queue.due(NAME, NOW) == [ENTRY]


def test_a_place_for_other_words_is_nobodys_turn(ledger: Ledger):
    """A slower process put it there after the row had changed: nobody asked to pay for the new words."""
    put_row(ledger, ROW)
    ledger.queue.add(NAME, [entry_of(ROW.id, make_row(prompt="other words").digest)], NOW)
    assert ledger.queue.count(NAME) == (1, "asked for")
    assert ledger.queue.find(NAME) == ledger.queue.due(NAME, NOW) == []


def test_what_is_put_off_stays_and_what_is_gone_stays_gone(ledger: Ledger):
    """A run that ends says why its rows wait; those that were claimed or withdrawn meanwhile it does not bring back."""
    rows = [put_row(ledger, make_row(name)) for name in ("a", "b")]
    entries = [entry_of(row.id, row.digest) for row in rows]
    ledger.queue.ask(NAME, entries, NOW + 60)
    ledger.rows.withdraw(NAME, "b", NOW)
    ledger.queue.put_off(NAME, [Place(replace(one, reason="over budget", since=NOW + 7), NOW + 600) for one in entries])
    assert ledger.queue.find(NAME) == [replace(entries[0], reason="over budget", since=NOW + 7)]
    assert ledger.queue.due(NAME, NOW + 599) == []
    assert ledger.queue.count(NAME) == (1, "over budget")


def test_a_row_that_is_withdrawn_is_not_claimed_by_a_run_that_asked_for_it(ledger: Ledger):
    """Nor asked for again by the same run; a person who asks anew gets it."""
    put_row(ledger, ROW)
    ledger.queue.ask(NAME, [ENTRY], NOW + 60)
    ledger.rows.withdraw(NAME, ROW.id, NOW)
    assert ledger.queue.ask(NAME, [ENTRY], NOW + 60, again=[ROW.id]) == {}
    with pytest.raises(RowChanged, match="withdrawn"):
        ledger.claim(NAME, ROW, TERMS)
    ledger.queue.add(NAME, [ENTRY], NOW)
    assert list(ledger.queue.ask(NAME, [ENTRY], NOW + 60, again=[ROW.id])) == [ROW.id], "asked for by hand since"
    ledger.rows.withdraw(NAME, ROW.id, NOW)
    assert list(ledger.queue.ask(NAME, [ENTRY], NOW + 60)) == [ROW.id]
    assert ledger.claim(NAME, ROW, TERMS)[1]


def test_a_hold_says_what_the_trouble_is_and_with_which_key(ledger: Ledger):
    """The later end counts, with its cause: what a provider asked for is not shortened by other trouble."""
    asked = AccountHold(NOW + 600, 1, "slow down")
    ledger.accounts.hold("runware/live", asked, NOW)
    ledger.accounts.hold("runware/live", AccountHold(NOW + 60, 2, "no credit", HoldCause.BALANCE, "k1"), NOW)
    assert ledger.accounts.held("runware/live", NOW) == AccountHold(NOW + 600, 2, "no credit", HoldCause.PACE, "k1")
    key = AccountHold(NOW + 900, 3, "no such key", HoldCause.KEY, "k1")
    ledger.accounts.hold("runware/live", key, NOW)
    assert ledger.accounts.held("runware/live", NOW) == key
    assert (key.rests(NOW, "k1"), key.rests(NOW, "k2"), key.rests(NOW + 900, "k1")) == (True, False, False)
    assert (key.forbids(NOW), asked.forbids(NOW), asked.forbids(NOW + 600)) == (False, True, False)
