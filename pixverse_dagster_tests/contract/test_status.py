"""How a pipeline stands: every row in one state, by few queries, on both databases."""

from collections import Counter
from itertools import permutations
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.outcomes import Accepted, Failed, Succeeded
from pixverse_dagster.core.row import Problem, Row
from pixverse_dagster.core.row_state import RowState
from pixverse_dagster.core.task import AccountHold, QueuedRow, Task, governing
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.pauses import Pause
from pixverse_dagster.ledger.schema import tasks
from pixverse_dagster.policy.quality import Finding
from pixverse_dagster.reports.status import LabelStatus, Status, read_status
from pixverse_dagster_tests.harness.factories import NAME, NOW, RUN, make_row, moved, put_row, record_rows

ACCOUNT = "runware/simulator"
WORDS = {"campaign": "spring"}


def test_each_row_is_in_one_state_and_its_reason_is_said(ledger: Ledger) -> None:
    """Rows in every state: what is counted is what was made, by state and reason, with the age of the oldest."""
    made = _every_state(ledger)
    status = read_status(ledger, NAME, NOW + 1000, blocking=True)
    assert {(one.state, one.why): one.count for one in status.states} == made
    assert status.rows == sum(made.values())
    assert status.counts[RowState.RENDERING] == 2
    assert status.counts[RowState.WAITING] == 3
    ages = {(one.state, one.why): one.oldest_at for one in status.states}
    assert ages[RowState.WAITING, "no slot"] == NOW + 5
    assert ages[RowState.READY, ""] == NOW + 20
    assert ages[RowState.NEW, ""] is None
    assert status.invalid_rows == 2
    assert status.is_under_way


def test_without_blocking_rules_nothing_is_withheld(ledger: Ledger) -> None:
    made = _every_state(ledger)
    counts = read_status(ledger, NAME, NOW).counts
    assert counts[RowState.STORED] == made[RowState.STORED, ""] + made[RowState.WITHHELD, ""]
    assert counts[RowState.WITHHELD] == 0


def test_an_empty_pipeline_has_nothing(ledger: Ledger) -> None:
    status = read_status(ledger, NAME, NOW)
    assert (status.rows, status.spent_usd, status.states, status.labels, status.next_poll_at) == (0, 0, (), (), None)
    assert not status.is_under_way


def test_the_money_is_what_the_running_totals_say(ledger: Ledger) -> None:
    """Spent, at stake, and by label: the labels add up to the whole where every row has one."""
    _every_state(ledger)
    status = read_status(ledger, NAME, NOW)
    spent = ledger.spent(NAME, RUN, NOW)
    assert status.spent_today_usd == pytest.approx(spent.day_usd)
    assert status.spent_usd == pytest.approx(spent.total_usd)
    assert sum(one.spent_usd for one in status.labels) == pytest.approx(spent.total_usd)
    assert status.at_stake_usd == pytest.approx(0.1)
    assert read_status(ledger, NAME, NOW + 86_400).spent_today_usd == 0


def test_labels_say_rows_clips_and_money(ledger: Ledger) -> None:
    rows = [make_row(f"r{n}", campaign=["spring", "fall"][n % 2]) for n in range(5)]
    record_rows(ledger, rows)
    for row in rows[:3]:
        _stored(ledger, row)
    assert read_status(ledger, NAME, NOW).labels == (
        LabelStatus("campaign", "spring", rows=3, stored=2, spent_usd=0.2),
        LabelStatus("campaign", "fall", rows=2, stored=1, spent_usd=0.1),
    )


def test_what_is_open_of_earlier_words_is_counted_beside_the_row(ledger: Ledger) -> None:
    """A row whose words changed is new, and the task of the old words may still cost; a failed one is past."""
    for row in (make_row("open"), make_row("over"), make_row("gone")):
        put_row(ledger, row)
    _submitted(ledger, make_row("open"))
    _failed(ledger, make_row("over"), FailureKind.MODERATED)
    _unknown(ledger, make_row("gone"))
    record_rows(ledger, [make_row("open", prompt="other words"), make_row("over", prompt="other words")])
    assert _counts(read_status(ledger, NAME, NOW)) == {
        (RowState.NEW, ""): 2,
        (RowState.RENDERING, ""): 1,
        (RowState.UNKNOWN, "for a person"): 1,
    }


def test_what_a_simulator_made_answers_for_no_real_row(ledger: Ledger) -> None:
    """And what is open at a real provider is shown while the pipeline works with a simulator."""
    put_row(ledger, make_row("kite"))
    _submitted(ledger, make_row("kite"))
    ledger.worlds.set(NAME, {"runware": "simulator"})
    status = read_status(ledger, NAME, NOW)
    assert _counts(status) == {(RowState.NEW, ""): 1, (RowState.RENDERING, ""): 1}
    assert (status.is_simulated, status.spent_usd) == (True, 0)


def test_the_task_that_answers_is_the_one_that_the_rest_goes_by(ledger: Ledger, engine: sa.Engine) -> None:
    """Of several claims of a request, in every order of their ends."""
    ends = (TaskState.STORED, TaskState.FAILED, TaskState.REFUSED, TaskState.ABANDONED)
    put_row(ledger, make_row("kite"))
    _submitted(ledger, make_row("kite"))
    with engine.begin() as connection:
        template = dict(connection.execute(sa.select(tasks)).mappings().one())
        connection.execute(sa.delete(tasks))
        orders = [order for length in (1, 2, 3) for order in permutations(ends, length)]
        records = [
            template
            | {"id": f"{n}-{claim}", "row": f"r{n}", "claim": claim, "attempt": claim, "state": state}
            | {"task_id": f"{n}-{claim}", "client_reference": f"{n}-{claim}", "kind": None}
            for n, order in enumerate(orders)
            for claim, state in enumerate(order, 1)
        ]
        connection.execute(sa.insert(tasks), records)
    record_rows(ledger, [make_row(f"r{n}") for n in range(len(orders))])
    claims: dict[str, list[Task]] = {}
    for task in ledger.tasks.find(NAME):
        claims.setdefault(task.row, []).append(task)
    expected = Counter(str(answer.state) for of_row in claims.values() if (answer := governing(of_row)))
    assert {str(state): count for state, count in read_status(ledger, NAME, NOW).counts.items() if count} == expected


def test_accounts_have_their_slots_their_rest_and_pauses(ledger: Ledger) -> None:
    put_row(ledger, make_row("kite"))
    task = _submitted(ledger, make_row("kite"))
    ledger.accounts.hold(ACCOUNT, AccountHold(NOW + 60, 1, "slow down"), NOW)
    ledger.pauses.add(Pause("pipeline", NAME, "lunch", NOW))
    status = read_status(ledger, NAME, NOW + 1, limits={ACCOUNT: 3, "pixwith/simulator": None})
    first, second = status.accounts
    assert (first.account, first.open_tasks, first.max_open_tasks) == (ACCOUNT, 1, 3)
    assert (first.rests_until, first.rests_why) == (NOW + 60, "slow down")
    assert (second.open_tasks, second.max_open_tasks, second.rests_until) == (0, None, None)
    assert status.paused == (f"spending of pipeline {NAME!r} is paused (lunch)",)
    assert status.next_poll_at == task.next_poll_at
    assert [one.account for one in read_status(ledger, NAME, NOW).accounts] == [ACCOUNT]


def test_it_takes_as_many_queries_for_many_rows_as_for_one(ledger: Ledger, engine: sa.Engine) -> None:
    taken: list[int] = []
    for count in (1, 200):
        rows = [make_row(f"r{n}") for n in range(count)]
        record_rows(ledger, rows)
        _submitted(ledger, rows[-1])
        with Queries(engine) as queries:
            read_status(ledger, NAME, NOW)
        taken.append(len(queries))
    assert taken[0] == taken[1] <= 15


class Queries:
    """The queries that leave an engine while this is open."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine, self._sent = engine, list[str]()

    def __enter__(self) -> list[str]:
        event.listen(self._engine, "before_cursor_execute", self._note)
        return self._sent

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._note)

    def _note(self, _connection: Any, _cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith("SELECT"):
            self._sent.append(statement)


def _every_state(ledger: Ledger) -> dict[tuple[RowState, str], int]:
    """A pipeline with rows in every state; how many are in each, and why."""
    names = [
        *("new", "sent", "submitted", "ready", "stalled", "stored", "withheld", "moderated", "provider", "unknown"),
        *("asked", "refused", "abandoned", "slow", "slots", "again"),
    ]
    rows = {name: make_row(name, **WORDS) for name in names}
    problems = [
        Problem(2, "bad", "model", "no such model"),
        Problem(2, "bad", "prompt", "empty"),
        Problem(3, "x", "", "?"),
    ]
    ledger.rows.record(NAME, list(rows.values()), problems, RUN, NOW)
    _claimed(ledger, rows["sent"])
    _submitted(ledger, rows["submitted"])
    _succeeded(ledger, rows["ready"])
    stalled = _succeeded(ledger, rows["stalled"])
    ledger.retry_collect(stalled, "the host is down", NOW + 900, NOW + 50)
    _stored(ledger, rows["stored"])
    withheld = _stored(ledger, rows["withheld"])
    ledger.checks.record(withheld, [Finding("motion", passed=False, asked="motion", came="none")], NOW)
    _failed(ledger, rows["moderated"], FailureKind.MODERATED)
    _failed(ledger, rows["provider"], FailureKind.PROVIDER_ERROR)
    _unknown(ledger, rows["unknown"])
    moved(ledger.abandon(_submitted(ledger, rows["abandoned"]), "no use", "by a test"))
    moved(ledger.refuse(_claimed(ledger, rows["refused"]), "no such size"))
    moved(ledger.refuse(_claimed(ledger, rows["again"]), "no credit"))
    waits = [("again", "no credit", 9), ("slow", "no slot", 5), ("slots", "no slot", 7)]
    entries = [QueuedRow(row, rows[row].digest, "runware", RUN, why, NOW + after) for row, why, after in waits]
    ledger.queue.add(NAME, entries, NOW)
    return {
        (RowState.NEW, ""): 2,
        (RowState.WAITING, "no credit"): 1,
        (RowState.WAITING, "no slot"): 2,
        (RowState.RENDERING, ""): 2,
        (RowState.READY, ""): 1,
        (RowState.STALLED, ""): 1,
        (RowState.STORED, ""): 1,
        (RowState.WITHHELD, ""): 1,
        (RowState.FAILED, "moderated"): 1,
        (RowState.FAILED, "provider_error"): 1,
        (RowState.UNKNOWN, "for a person"): 1,
        (RowState.REFUSED, ""): 1,
        (RowState.ABANDONED, ""): 1,
    }


def _counts(status: Status) -> dict[tuple[RowState, str], int]:
    return {(one.state, one.why): one.count for one in status.states}


def _claimed(ledger: Ledger, row: Row) -> Task:
    return ledger.claim(NAME, row, ClaimTerms(RUN, NOW, 60, 0.1, account=ACCOUNT, world="live"))[0]


def _submitted(ledger: Ledger, row: Row) -> Task:
    return ledger.accept(_claimed(ledger, row), Accepted(f"at-{row.id}-{row.digest[:6]}"), NOW + 10, NOW + 30).task


def _succeeded(ledger: Ledger, row: Row) -> Task:
    done = Succeeded(("https://cdn.example.org/1.mp4",))
    return moved(ledger.succeed(_submitted(ledger, row), done, NOW + 20))


def _stored(ledger: Ledger, row: Row) -> Task:
    return moved(ledger.store(_succeeded(ledger, row), NOW + 40, "0" * 64))


def _failed(ledger: Ledger, row: Row, kind: FailureKind) -> Task:
    return moved(ledger.fail(_submitted(ledger, row), Failed(kind, "it says no"), NOW + 20))


def _unknown(ledger: Ledger, row: Row) -> Task:
    return moved(ledger.mark_unknown(_claimed(ledger, row), "no answer", None))
