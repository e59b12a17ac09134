"""What a provider charged corrects what follows: a price book that is too low passes no budget."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.outcomes import Accepted, Succeeded
from pixverse_dagster.core.price import Price
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger, open_ledger
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.policy.plan import Verdict
from pixverse_dagster.policy.prices import COUNTS_SECONDS, HIGHEST_SECONDS
from pixverse_dagster.stages.plan import plan_rows
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster_tests.harness.factories import (
    NAME,
    NOW,
    PIXWITH,
    RUNWARE,
    make_row,
    make_rows,
    make_session,
    moved,
    poll_until,
    put_row,
    record_rows,
)
from pixverse_dagster_tests.harness.forked import call_together
from pixverse_dagster_tests.harness.servers import Simulator, StartSimulator

LOW = Price(model=RUNWARE, usd=0.05)
LIVE = "runware/live"


def with_prices(session: Session, budget: Budget, *prices: Price) -> Session:
    """The same session with a budget and a price book."""
    options = session.options.model_copy(update={"budget": budget, "prices": prices})
    return replace(session, pipeline=replace(session.pipeline, options=options))


def charged(running: Simulator) -> float:
    """What the simulator charged in all."""
    return sum(task["charged_usd"] for task in running.tasks())


@dataclass(frozen=True)
class Run:
    """One of several at once: its name, where it works, its budget and its rows."""

    name: str
    ledger_url: str
    provider: str
    total_usd: float
    rows: tuple[str, ...]


def submit_own(run: Run) -> int:
    """In a process of its own: how many rows it sent."""
    with make_session(open_ledger(run.ledger_url), run.provider) as session:
        mine = replace(with_prices(session, Budget(total_usd=run.total_usd), LOW), run_id=run.name)
        return sum(submission.sent for submission in submit_rows(mine, run.rows))


def submit_at_once(url: str, running: Simulator, total_usd: float, keys: Sequence[str]) -> int:
    """Two processes, with threads of their own, submit these rows, each all of them: how many were sent."""
    runs = [Run(f"run {n}", url, running.url, total_usd, tuple(keys)) for n in range(2)]
    return sum(call_together(submit_own, runs))


def test_a_price_book_below_the_published_price_passes_no_budget(ledger_url: str, simulator: StartSimulator) -> None:
    """Ten rows at 0.05 each by the book, charged 0.1121 each, from several processes at once: 0.50 is not passed."""
    running = simulator(generation_seconds=0)
    engine = open_engine(ledger_url)
    keys = record_rows(Ledger(engine), make_rows(10))
    engine.dispose()
    assert submit_at_once(ledger_url, running, 0.50, keys) == 4
    assert charged(running) == pytest.approx(0.4484)


@pytest.mark.parametrize("factor", [3.0])
def test_a_charge_that_was_seen_counts_for_all_that_follows(
    ledger_url: str, simulator: StartSimulator, factor: float
) -> None:
    """The provider charges more than it publishes. From the first charge on that is what is reserved.

    The plan says so too, and rows that wait in the queue since before are sent at the price that is known now.
    """
    running = simulator(generation_seconds=0, charge_factor=factor)
    engine = open_engine(ledger_url)
    ledger = Ledger(engine)
    rows = [replace(row, line=n + 2) for n, row in enumerate(make_rows(10))]
    keys = record_rows(ledger, rows)
    with make_session(ledger, running.url) as session:
        mine = with_prices(session, Budget(total_usd=1.0), LOW)
        before = {line.row: line.verdict for line in plan_rows(mine, rows).lines}
        list(submit_rows(mine, keys[:1]))
        poll_until(session, lambda tasks: all(task.state is TaskState.SUCCEEDED for task in tasks))
        after = plan_rows(mine, rows[1:])
    price = 0.1121 * factor
    assert before == dict.fromkeys(keys[:8], Verdict.NEW) | dict.fromkeys(keys[8:], Verdict.OVER_BUDGET)
    affordable = int(1.0 / price) - 1
    assert [line.verdict for line in after.lines].count(Verdict.NEW) == affordable
    assert after.cost_usd == pytest.approx(affordable * price)
    assert submit_at_once(ledger_url, running, 1.0, keys) == affordable
    assert charged(running) <= 1.0
    engine.dispose()


def test_what_is_under_way_is_reserved_anew_when_its_price_is_seen(ledger: Ledger) -> None:
    """Of four that were sent at 0.20 one comes back at 0.45: the others count 0.45 each, in every total."""
    budget = Budget(total_usd=2.0)
    sent = [claim(ledger, f"r{n}", 0.2, budget) for n in range(5)]
    other = claim(ledger, "other", 0.2, budget, resolution="1080p")
    ledger.refuse(sent[4], "no")
    first = ledger.accept(sent[0], Accepted("t"), NOW, NOW).task
    ledger.succeed(first, Succeeded(("https://v.example/1.mp4",), cost_usd=0.45), NOW)
    assert [task.estimate_usd for task in ledger.tasks.find(NAME, keys=["r1", "r2", "r3"])] == [0.45] * 3
    assert ledger.tasks.find(NAME, keys=["other"])[0].estimate_usd == other.estimate_usd
    assert ledger.spent(NAME, "run", NOW).total_usd == pytest.approx(4 * 0.45 + (other.estimate_usd or 0))
    assert ledger.spent_at(LIVE, NOW).total_usd == pytest.approx(4 * 0.45 + (other.estimate_usd or 0))


def claim(ledger: Ledger, row: str, usd: float | None, budget: Budget, model: str = RUNWARE, **cells: str):
    """Claim one more row at the account, at a price of the price book's."""
    terms = ClaimTerms("run", NOW, 60, usd, budget, account=LIVE)
    return ledger.claim(NAME, put_row(ledger, make_row(row, model, **cells)), terms)[0]


def test_a_charge_is_of_one_account_model_and_shape(ledger: Ledger) -> None:
    """Another resolution, another model and another account keep their own price."""
    see(ledger, "a", 0.45)
    budget = Budget(total_usd=100)
    assert claim(ledger, "same", 0.2, budget).estimate_usd == 0.45
    assert claim(ledger, "larger", 0.31, budget, resolution="1080p").estimate_usd == 0.31
    assert claim(ledger, "another", 0.2, budget, PIXWITH).estimate_usd == 0.2
    terms = ClaimTerms("run", NOW, 60, 0.2, budget, account="runware/other")
    assert ledger.claim(NAME, put_row(ledger, make_row("elsewhere")), terms)[0].estimate_usd == 0.2


def see(ledger: Ledger, row: str, usd: float, now: float = NOW) -> None:
    """A task of the account that was charged so much."""
    task = claim(ledger, row, 0.2, Budget())
    accepted = ledger.accept(task, Accepted(f"task of {row}"), now, now).task
    moved(ledger.succeed(accepted, Succeeded(("https://v.example/1.mp4",), cost_usd=usd), now))


def test_a_charge_makes_a_price_known(ledger: Ledger) -> None:
    """Where no price book has one, a budget can reserve what was charged before."""
    see(ledger, "a", 0.3)
    assert claim(ledger, "b", None, Budget(total_usd=1.0)).estimate_usd == 0.3


def test_a_budget_reserves_the_higher_of_estimate_and_charge(ledger: Ledger) -> None:
    """A charge below the price book's corrects the estimate, and the budget keeps to the higher one."""
    see(ledger, "a", 0.12)
    assert claim(ledger, "free", 0.5, Budget()).estimate_usd == 0.12
    assert claim(ledger, "limited", 0.5, Budget(total_usd=10)).estimate_usd == 0.5


def test_a_price_that_fell_is_reserved_for_a_week_and_a_charge_counts_for_a_month(ledger: Ledger) -> None:
    """One odd figure ends by itself: no row is held back for ever."""
    see(ledger, "a", 0.9)
    see(ledger, "b", 0.15)
    budget = Budget(total_usd=100)

    def reserved(row: str, days: float) -> float | None:
        terms = ClaimTerms("run", NOW + days, 60, 0.12, budget, account=LIVE)
        return ledger.claim(NAME, put_row(ledger, make_row(row)), terms)[0].estimate_usd

    assert reserved("c", 1) == 0.9
    assert reserved("d", HIGHEST_SECONDS + 1) == 0.15
    assert reserved("e", COUNTS_SECONDS + 1) == 0.12


def test_outputs_are_priced_one_by_one(ledger: Ledger) -> None:
    """Two of three outputs for 0.3 are 0.15 each, and four of them 0.6."""
    task = claim(ledger, "a", 0.2, Budget(), outputs="3")
    accepted = ledger.accept(task, Accepted("t"), NOW, NOW).task
    urls = ("https://v.example/1.mp4", "https://v.example/2.mp4")
    ledger.succeed(accepted, Succeeded(urls, cost_usd=0.3), NOW)
    assert claim(ledger, "b", 0.2, Budget(total_usd=9), outputs="4").estimate_usd == pytest.approx(0.6)


def test_the_ledger_is_read_once_per_plan(ledger: Ledger) -> None:
    """What was seen is found by account, with its date."""
    see(ledger, "a", 0.3, NOW + 5)
    ((account, model, _), shape), *others = ledger.prices.find([LIVE, "pixwith/live"]).items()
    assert (account, model, others) == (LIVE, RUNWARE, [])
    assert shape.charged is not None
    assert (shape.charged.usd, shape.charged.seen_at, shape.listed) == (0.3, NOW + 5, None)
    assert time.time() > NOW
