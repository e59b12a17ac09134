"""What a tick asks the ledger costs the same however much has ended, told by the steps of SQLite's own machine."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import OCCUPIES_SLOT, FailureKind, TaskState
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.schema import tasks
from pixverse_dagster.policy.retry import RetryPolicy
from pixverse_dagster.reports.status import read_status
from pixverse_dagster_tests.harness.factories import NAME, make_row, put_row
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.steps import Steps

NOW = 1_800_000_000.0
ACCOUNT = "runware/simulator"
RETRY = RetryPolicy(moderated=1)
ENDED = (
    {"state": TaskState.STORED, "stored_at": NOW},
    {"state": TaskState.REFUSED, "attempt": None},
    {"state": TaskState.FAILED, "kind": FailureKind.MODERATED},
    {"state": TaskState.ABANDONED},
)
ASKED_BY_A_TICK: dict[str, Callable[[Ledger], object]] = {
    "what is due": lambda ledger: ledger.tasks.due(NAME, NOW, 50),
    "what is ready": lambda ledger: ledger.tasks.ready(NAME, NOW, 50),
    "what is under way": lambda ledger: ledger.tasks.counts(NAME, states=OCCUPIES_SLOT),
    "whose it is": lambda ledger: ledger.tasks.holders(NAME),
    "what nobody knows": lambda ledger: ledger.tasks.unresolved(NAME),
    "what does not come on": lambda ledger: ledger.tasks.stalled(NAME),
    "what is to be retried": lambda ledger: ledger.tasks.to_retry(NAME, ledger.policies.find_retries(NAME, RETRY), 50),
    "what waits": lambda ledger: ledger.queue.due(NAME, NOW),
    "which slots are taken": lambda ledger: ledger.accounts.open_tasks([ACCOUNT], NOW),
    "what was spent": lambda ledger: ledger.spent(NAME, "run", NOW),
}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = open_engine(ledger_in(tmp_path))
    yield engine
    engine.dispose()


def test_a_page_of_new_rows_costs_what_is_on_it(engine: sa.Engine) -> None:
    """However long the table is, and wherever in it the page begins."""
    ledger, steps = Ledger(engine), Steps(engine)
    taken: list[int] = []
    for count in (50, 1000):
        ledger.rows.record(NAME, [make_row(f"r{n}", prompt=f"kite {n}") for n in range(count)], [], "run", NOW)
        taken += [steps.of(lambda at=at: ledger.rows.page_unsubmitted(NAME, at, 20)) for at in (-1, count - 21)]
    assert max(taken) <= min(taken) + 20, taken


def test_how_a_pipeline_stands_takes_steps_in_proportion_to_its_rows(engine: sa.Engine) -> None:
    """Four times the rows take about four times the steps: a join by scanning would take sixteen times as many."""
    ledger, steps, taken = Ledger(engine), Steps(engine), list[int]()
    for count in (50, 200):
        rows = [make_row(f"r{n}", campaign="spring") for n in range(count)]
        ledger.rows.record(NAME, rows, [], "run", NOW)
        for row in rows:
            ledger.claim(NAME, row, ClaimTerms("run", NOW, 60, 0.1, account=ACCOUNT, world="live"))
        taken.append(steps.of(lambda: read_status(ledger, NAME, NOW, blocking=True)))
    assert taken[1] <= 6 * taken[0], taken


def test_what_has_ended_costs_no_tick_anything(engine: sa.Engine) -> None:
    """A thousand clips, failures and refusals later, each question takes as many steps as before."""
    ledger, steps = Ledger(engine), Steps(engine)
    row = put_row(ledger, make_row("kite"))
    ledger.policies.see_retries(NAME, RETRY, NOW)
    ledger.claim(NAME, row, ClaimTerms("run", NOW, 60, 0.1, account=ACCOUNT, world="simulator"))
    before = {what: steps.of(lambda ask=ask: ask(ledger)) for what, ask in ASKED_BY_A_TICK.items()}
    with engine.begin() as connection:
        template = dict(connection.execute(sa.select(tasks)).mappings().one()) | {"next_poll_at": None}
        many = [
            template | {"id": f"{n}", "row": f"r{n}", "task_id": f"t{n}", "client_reference": f"c{n}"} | ENDED[n % 4]
            for n in range(1000)
        ]
        for state in range(4):
            connection.execute(sa.insert(tasks), many[state::4])
    after = {what: steps.of(lambda ask=ask: ask(ledger)) for what, ask in ASKED_BY_A_TICK.items()}
    grown = {what: (before[what], after[what]) for what in before if after[what] > before[what] + 20}
    assert not grown, "steps before and after"
