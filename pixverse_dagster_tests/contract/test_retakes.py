"""Another take of what was rejected: asked for once because of one mark, on SQLite and PostgreSQL."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.mark import Choice, Mark
from pixverse_dagster.core.outcomes import Accepted, Succeeded
from pixverse_dagster.core.row import Row, retake
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import Digest
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.files import ClipFile
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.stages.retake import RetakePlan, ask_for_retakes, plan_retakes
from pixverse_dagster_tests.harness.factories import NAME, NOW, RUN, Setup, make_row, make_session, moved, put_row

TERMS = ClaimTerms(RUN, NOW, 60, world="simulator")
NOWHERE = "http://127.0.0.1:9"


def stored_task(ledger: Ledger, row: Row) -> Task:
    task = ledger.claim(NAME, put_row(ledger, row), TERMS)[0]
    task = ledger.accept(task, Accepted(f"task of {task.id}"), NOW, NOW).task
    task = moved(ledger.store(moved(ledger.succeed(task, Succeeded(("https://r.example.org/1",), 0.11), NOW)), NOW))
    numbers = range(1, task.request.outputs_asked() + 1)
    ledger.files.record(
        task, [ClipFile(n, f"{task_folder(task)}/{n}.mp4", Digest(f"{n:064}", 1)) for n in numbers], NOW
    )
    return task


def mark(task: Task, choice: Choice, n: int = 1) -> Mark:
    return Mark(f"{task_folder(task)}/{n}", task.row, task.id, choice)


def plan(ledger: Ledger, *marks: Mark, budget: float | None = None) -> RetakePlan:
    with make_session(ledger, NOWHERE, Setup(budget=Budget(total_usd=budget))) as session:
        return plan_retakes(session, None, marks)


def ask(ledger: Ledger, made: RetakePlan) -> list[str]:
    with make_session(ledger, NOWHERE) as session:
        return ask_for_retakes(session, made, "rejected")


def takes(ledger: Ledger) -> dict[str, int]:
    return {row.id: row.take for row in ledger.rows.find(NAME).values()}


def test_a_mark_asks_for_one_further_take_however_often_it_is_read(ledger: Ledger):
    """Also by several people at once; the row is queued with the take, and what is withdrawn may be asked for anew."""
    kite, boat = stored_task(ledger, make_row("kite")), stored_task(ledger, make_row("boat"))
    marks = [mark(kite, Choice.REJECT), mark(boat, Choice.NONE)]
    made = plan(ledger, *marks)
    assert ([row.id for row in made.rows], made.left, made.plan.unpriced) == (["kite"], {}, 0)
    assert made.plan.cost_usd > 0
    assert takes(ledger) == {"kite": 1, "boat": 1}, "a plan changes nothing"
    with ThreadPoolExecutor(4) as pool:
        asked = [row for rows in pool.map(ask, [ledger] * 8, [made] * 8) for row in rows]
    assert asked == ["kite"]
    assert takes(ledger) == {"kite": 2, "boat": 1}
    (entry,) = ledger.queue.find(NAME, {"runware": "simulator"})
    assert entry.digest == ledger.rows.find(NAME)["kite"].digest
    assert plan(ledger, *marks).left == {
        "kite": "it asks for something newer than what was rejected: take 2, which is not submitted yet"
    }
    ledger.rows.withdraw(NAME, "kite", NOW)
    assert ask(ledger, plan(ledger, *marks)) == ["kite"]
    second = stored_task(ledger, ledger.rows.find(NAME)["kite"])
    assert plan(ledger, *marks).rows == ()
    assert ask(ledger, plan(ledger, *marks, mark(second, Choice.REJECT))) == ["kite"]
    assert takes(ledger) == {"kite": 3, "boat": 1}


def test_a_row_that_changed_while_a_person_was_asked_is_left_as_it_is(ledger: Ledger):
    """Nobody agreed to pay for other words."""
    made = plan(ledger, mark(stored_task(ledger, make_row("kite")), Choice.REJECT))
    put_row(ledger, make_row("kite", prompt="another kite"))
    assert ask(ledger, made) == []
    assert takes(ledger) == {"kite": 1}
    assert ledger.queue.find(NAME) == []


@pytest.mark.parametrize("number", range(5))
def test_a_row_is_left_out_where_a_rejection_does_not_ask_for_another_take(ledger: Ledger, number: int):
    """An earlier take is picked, an output is undecided, the table changed, the row is gone, the budget is spent."""
    task = stored_task(ledger, make_row("kite", outputs=2 if number == 1 else 1))
    rejected = [mark(task, Choice.REJECT)]
    made: RetakePlan
    match number:
        case 0:
            second = stored_task(ledger, ledger.rows.raise_take(NAME, "kite"))
            made = plan(ledger, mark(task, Choice.PICK), mark(second, Choice.REJECT))
        case 1:
            assert plan(ledger, *rejected, mark(task, Choice.REJECT, 2)).rows
            made = plan(ledger, *rejected)
        case 2:
            put_row(ledger, make_row("kite", prompt="another kite"))
            made = plan(ledger, *rejected)
        case 3:
            ledger.rows.record(NAME, [], [], RUN, NOW)
            made = plan(ledger, *rejected)
        case _:
            made = plan(ledger, *rejected, budget=0.01)
    whys: Sequence[str] = (
        "another of its clips is picked",
        "output 2 of its clip is not rejected",
        "newer than what was rejected: take 1, which is not submitted yet",
        "not in the table as it was last read",
        "over budget: costs about",
    )
    assert made.rows == ()
    assert whys[number] in made.left["kite"]
    assert ask(ledger, made) == []


def test_the_next_reading_of_the_table_keeps_the_take(ledger: Ledger):
    """As it keeps every take that a person asked for."""
    row = make_row("kite")
    ask(ledger, plan(ledger, mark(stored_task(ledger, row), Choice.REJECT)))
    assert ledger.rows.takes(NAME) == {"kite": 2}
    assert ledger.rows.find(NAME)["kite"].digest == retake(row, 2).digest
