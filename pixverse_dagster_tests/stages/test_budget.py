"""Money is reserved before it is spent, and any number of runs at once cannot pass a budget."""

import json
import time
from dataclasses import dataclass, replace
from typing import Any

import pytest

from pixverse_dagster.core.errors import OverBudget
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.outcomes import Succeeded
from pixverse_dagster.core.price import Price
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger, open_ledger
from pixverse_dagster.policy.budget import Budget, Spent
from pixverse_dagster.policy.plan import Verdict
from pixverse_dagster.stages.plan import plan_rows
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster_tests.harness.factories import (
    NAME,
    make_row,
    make_rows,
    make_session,
    put_row,
    record_rows,
)
from pixverse_dagster_tests.harness.fixtures import Tell
from pixverse_dagster_tests.harness.forked import call_together
from pixverse_dagster_tests.harness.servers import StartSimulator

NOW = 1_800_000_000.0
V6 = "highway/pixverse-v6-i2v"


def with_budget(session: Session, *prices: Price, **limits: float) -> Session:
    """The same session with a budget."""
    options = session.options.model_copy(update={"budget": Budget(**limits), "prices": prices})
    return replace(session, pipeline=replace(session.pipeline, options=options))


def test_what_counts_as_spent(ledger: Ledger) -> None:
    """Reserved and unknown count, refused does not; the provider's figure replaces the estimate."""

    def claim(row: str, run: str, at: float):
        return ledger.claim(NAME, put_row(ledger, make_row(row)), ClaimTerms(run, at, 60, 1.0))[0]

    yesterday = NOW - NOW % 86_400 - 1
    claim("old", "run 0", yesterday)
    claim("reserved", "run 1", NOW)
    ledger.mark_unknown(claim("unknown", "run 1", NOW), "lost", None)
    ledger.refuse(claim("refused", "run 1", NOW), "no")
    done = ledger.accept(claim("done", "run 2", NOW), accepted("t"), NOW, NOW).task
    ledger.succeed(done, Succeeded(("https://v.example/1.mp4",), cost_usd=0.4), NOW)
    assert ledger.spent(NAME, "run 1", NOW) == Spent(run_usd=2.0, day_usd=2.4, total_usd=3.4)
    assert ledger.spent("another", "run 1", NOW) == Spent()


def accepted(task_id: str) -> Any:
    """The provider took it."""
    from pixverse_dagster.core.outcomes import Accepted  # noqa: PLC0415 - keeps the import beside its only use

    return Accepted(task_id)


def test_a_claim_beyond_the_budget_claims_nothing(ledger: Ledger) -> None:
    """Too dear, or of unknown price: an error that says what to do, and no task."""
    budget = Budget(total_usd=1.0)
    ledger.claim(NAME, put_row(ledger, make_row("a")), ClaimTerms("r", NOW, 60, 0.7, budget))
    with pytest.raises(OverBudget, match=r"0\.700 USD and 0\.300 USD are left"):
        ledger.claim(NAME, put_row(ledger, make_row("b")), ClaimTerms("r", NOW, 60, 0.7, budget))
    with pytest.raises(OverBudget, match=r"add a line to the price book: Price\(model="):
        ledger.claim(NAME, put_row(ledger, make_row("c", V6)), ClaimTerms("r", NOW, 60, None, budget))
    ledger.claim(NAME, put_row(ledger, make_row("d")), ClaimTerms("r", NOW, 60, 0.3, budget))
    assert {task.row for task in ledger.tasks.find(NAME)} == {"a", "d"}


def test_plan_and_submission_leave_out_the_same_rows_in_table_order(ledger: Ledger, simulator: StartSimulator) -> None:
    """What `plan` shows is what a submission does: the dear row is left, a later cheap one is taken."""
    running = simulator(generation_seconds=0.2)
    sizes = ["720p", "1080p", "720p", "360p", "720p"]
    rows = [make_row(f"r{n}", resolution=size) for n, size in enumerate(sizes)]
    rows = [replace(row, line=n + 2) for n, row in enumerate(rows)]
    with make_session(ledger, running.url) as open_session:
        session = with_budget(open_session, per_run_usd=0.43)
        record_rows(ledger, rows)
        made = plan_rows(session, rows)
        assert [line.verdict for line in made.lines] == [
            Verdict.NEW, Verdict.OVER_BUDGET, Verdict.NEW, Verdict.NEW, Verdict.OVER_BUDGET,
        ]  # fmt: skip
        found = {submission.row: submission for submission in submit_rows(session, [row.id for row in rows])}
    assert {row for row, submission in found.items() if submission.sent} == {"r0", "r2", "r3"}
    assert "costs about 0.299 USD, and 0.280 USD are left of the budget" in found["r1"].problem
    assert len(running.tasks()) == 3
    assert made.cost_usd == pytest.approx(sum(task["charged_usd"] for task in running.tasks())) == pytest.approx(0.4111)


@dataclass(frozen=True)
class Run:
    """One of eight: whose name it has, where it works, and which hundred rows are its own."""

    name: str
    ledger_url: str
    provider: str
    rows: tuple[str, ...]


def submit_own(run: Run) -> int:
    """In a process of its own: how many rows it sent."""
    with make_session(open_ledger(run.ledger_url), run.provider) as session:
        mine = replace(with_budget(session, total_usd=22.425), run_id=run.name)
        return sum(submission.sent for submission in submit_rows(mine, run.rows))


def test_eight_runs_at_once_stop_together_at_the_budget(ledger_url: str, simulator: StartSimulator, tell: Tell) -> None:
    """Eight processes with a hundred rows each and a budget for 150 clips: exactly 150 charges."""
    running = simulator(generation_seconds=60)
    rows = [replace(row, id=f"row{n:03}", line=n + 2) for n, row in enumerate(make_rows(800, resolution="720p"))]
    engine = open_engine(ledger_url)
    record_rows(Ledger(engine), rows)
    engine.dispose()
    started = time.monotonic()
    shares = [tuple(row.id for row in rows[at : at + 100]) for at in range(0, 800, 100)]
    sent = call_together(submit_own, [Run(f"run {n}", ledger_url, running.url, own) for n, own in enumerate(shares)])
    assert sum(sent) == 150
    assert len(running.tasks()) == 150
    prompts = json.dumps(sorted(task["client_reference"] for task in running.tasks()))
    assert len(set(json.loads(prompts))) == 150
    engine = open_engine(ledger_url)
    ledger = Ledger(engine)
    assert ledger.tasks.counts(NAME) == {TaskState.SUBMITTED: 150}
    assert ledger.spent(NAME, "", time.time(), "simulator").total_usd == pytest.approx(22.425)
    engine.dispose()
    kind = ledger_url.partition(":")[0].partition("+")[0]
    usd = sum(task["charged_usd"] for task in running.tasks())
    tell(
        f"budget, {kind}",
        f"processes={len(shares)} rows={len(rows)} budget_usd=22.425 charges={len(running.tasks())} "
        f"charged_usd={usd:.3f} seconds={time.monotonic() - started:.0f}",
    )
