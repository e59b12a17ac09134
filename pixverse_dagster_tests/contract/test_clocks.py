"""A time that a machine with a wrong clock wrote holds nothing up for longer than any such wait, on each database."""

from pixverse_dagster.core.outcomes import Accepted, Succeeded
from pixverse_dagster.core.task import AccountHold, MoveRefused, QueuedRow, Task
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.renaming import Renaming
from pixverse_dagster.policy.timing import Pace
from pixverse_dagster_tests.harness.factories import NAME, NOW, RUN, make_row, moved, put_row

HOURS = 3 * 3600.0
AHEAD = NOW + HOURS
"""What a clock shows that is three hours ahead."""


def claim(ledger: Ledger, row: str, now: float = NOW) -> Task:
    terms = ClaimTerms(RUN, now, 180, account="runware/live")
    return ledger.claim(NAME, put_row(ledger, make_row(row)), terms)[0]


def submitted(ledger: Ledger, row: str, now: float = NOW) -> Task:
    return ledger.accept(claim(ledger, row, now), Accepted(f"task of {row}"), now, now + 15).task


def test_tasks_are_polled_and_collected_whatever_time_a_wrong_clock_gave_them(ledger: Ledger):
    """Those first, for nobody knows how long they wait already. A wait that may be is waited for."""
    submitted(ledger, "soon")
    submitted(ledger, "ahead", AHEAD)
    claim(ledger, "claimed", AHEAD)
    ledger.keep_polling(submitted(ledger, "slow"), "", NOW + 900)
    assert [task.row for task in ledger.tasks.due(NAME, NOW + 15, 9)] == ["ahead", "claimed", "soon"]
    pace = Pace(max_poll_seconds=4 * 3600)
    later = ledger.tasks.due(NAME, NOW + 15, 9, longest_seconds=pace.longest_poll_wait)
    assert [task.row for task in later] == ["soon"], "with a pace that polls so rarely, nothing is wrong with it"
    done = moved(ledger.succeed(submitted(ledger, "done"), Succeeded(("https://r.example.org/1",)), NOW))
    for until, ready in ((AHEAD, ["done"]), (NOW + 900, [])):
        ledger.collecting.lease([done], until)
        assert [task.row for task in ledger.tasks.ready(NAME, NOW, 9)] == ready


def test_rows_wait_for_their_turn_no_longer_than_any_row_does(ledger: Ledger):
    """A lease of the queue from the future is none; a row that needs a person is looked at again after an hour."""
    kite = put_row(ledger, make_row("kite"))
    ledger.queue.add(NAME, [QueuedRow("kite", kite.digest, "runware", RUN, "busy", NOW)], NOW)
    for until, due in ((AHEAD, ["kite"]), (NOW + 3600, [])):
        ledger.queue.lease(NAME, ["kite"], until)
        assert [entry.row for entry in ledger.queue.due(NAME, NOW)] == due


def test_an_account_is_held_no_longer_than_a_hold_lasts(ledger: Ledger):
    """One from the future is over, what was refused is remembered, and the next hold has its own end."""
    name = "runware/live"
    ledger.accounts.hold(name, AccountHold(AHEAD, 2, "slow down"), AHEAD)
    held = ledger.accounts.held(name, NOW)
    assert (held.forbids(NOW), held.rests(NOW, "key"), held.refusals) == (False, False, 2)
    ledger.accounts.hold(name, AccountHold(NOW + 600, 3, "slow down"), NOW)
    assert ledger.accounts.held(name, NOW).until == NOW + 600
    ledger.accounts.hold(name, AccountHold(NOW + 60, 1, "slow down"), NOW)
    assert ledger.accounts.held(name, NOW).until == NOW + 600, "a later end is kept"


def test_a_submit_from_the_future_occupies_no_slot(ledger: Ledger):
    """Of those of unknown outcome, ten minutes count, before and not behind."""
    for row, now in (("now", NOW), ("ahead", AHEAD)):
        ledger.mark_unknown(claim(ledger, row, now), "no answer", None)
    assert ledger.accounts.open_tasks(["runware/live"], NOW) == {"runware/live": 1}


def test_a_lease_from_the_future_keeps_nobody_from_an_open_submit(ledger: Ledger):
    """Neither a run that finds out about it, nor a person."""
    task = moved(ledger.mark_unknown(claim(ledger, "kite"), "no answer", NOW + 5))
    task = moved(ledger.renew(task, AHEAD, now=AHEAD, replay=True))
    task = moved(ledger.renew(task, NOW + 180, now=NOW, replay=True))
    assert isinstance(ledger.renew(task, NOW + 190, now=NOW + 10, replay=True), MoveRefused), "somebody is sending it"
    ledger.renew(task, AHEAD, now=AHEAD, replay=True)
    ledger.names.make(Renaming(NAME, "reels"), NOW)
