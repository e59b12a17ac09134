"""What would become of each row, and what it would cost, before anything is spent."""

from __future__ import annotations

from typing import Any

import pytest

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.price import Price
from pixverse_dagster.core.row import Problem
from pixverse_dagster.policy.budget import Budget, Spent
from pixverse_dagster.policy.plan import NotPaid, PlanInputs, Verdict, make_plan
from pixverse_dagster.policy.retry import Retries, RetryPolicy
from pixverse_dagster_tests.harness.factories import PIXWITH, RUNWARE, make_row, make_rows, make_task

INPUTS = PlanInputs(prices=(Price(model=RUNWARE, usd=2),))
ONE_MORE = RetryPolicy(moderated=1)

ENDS: list[tuple[dict[str, Any], RetryPolicy, Verdict, float]] = [
    ({"state": TaskState.REFUSED}, RetryPolicy(), Verdict.AGAIN, 2),
    ({"state": TaskState.CLAIMED}, ONE_MORE, Verdict.IN_FLIGHT, 0),
    ({"state": TaskState.SUBMITTED}, ONE_MORE, Verdict.IN_FLIGHT, 0),
    ({"state": TaskState.SUCCEEDED}, ONE_MORE, Verdict.IN_FLIGHT, 0),
    ({"state": TaskState.STORED}, ONE_MORE, Verdict.STORED, 0),
    ({"state": TaskState.UNKNOWN}, ONE_MORE, Verdict.UNKNOWN, 0),
    ({"state": TaskState.FAILED, "kind": FailureKind.MODERATED}, RetryPolicy(), Verdict.FAILED, 0),
    ({"state": TaskState.FAILED, "kind": FailureKind.MODERATED, "failed_position": 1}, ONE_MORE, Verdict.RETRY, 2),
    ({"state": TaskState.FAILED, "kind": FailureKind.LOST, "failed_position": 1}, ONE_MORE, Verdict.FAILED, 0),
    ({"state": TaskState.FAILED, "kind": FailureKind.LOST, "released": True}, RetryPolicy(), Verdict.RETRY, 2),
    ({"state": TaskState.ABANDONED}, ONE_MORE, Verdict.ABANDONED, 0),
    ({"state": TaskState.ABANDONED, "released": True}, RetryPolicy(), Verdict.RETRY, 2),
]


@pytest.mark.parametrize(("values", "retry", "verdict", "cost_usd"), ENDS)
def test_the_newest_attempt_decides_what_becomes_of_a_row(
    values: dict[str, Any], retry: RetryPolicy, verdict: Verdict, cost_usd: float
):
    """Only what was refused, and what a policy or a person lets be paid for again, costs anything."""
    row = make_row()
    retries = Retries(retry, dict.fromkeys(FailureKind, 0))
    (line,) = make_plan([row], [], [make_task(**values)], PlanInputs(INPUTS.prices, retries=retries)).lines
    assert (line.row, line.verdict, line.cost_usd) == (row.id, verdict, cost_usd)
    assert line.task == make_task(**values)


def test_each_world_has_tasks_and_a_budget_of_its_own():
    """What a simulator made or charged leaves a row new, and the money there."""
    row, done = make_row(), make_task(state=TaskState.STORED, world="simulator", account="runware/simulator")
    spent = {"live": Spent(total_usd=3), "simulator": Spent(total_usd=9)}
    verdicts = {
        (world, budget_usd): make_plan(
            [row, make_row("next")],
            [],
            [done],
            PlanInputs(INPUTS.prices, Budget(total_usd=budget_usd), spent, worlds={"runware": world}),  # pyright: ignore[reportArgumentType]
        ).counts
        for world, budget_usd in (("live", 7), ("live", 5), ("simulator", 11), ("simulator", 10))
    }
    assert verdicts == {
        ("live", 7): {Verdict.NEW: 2},
        ("live", 5): {Verdict.NEW: 1, Verdict.OVER_BUDGET: 1},
        ("simulator", 11): {Verdict.STORED: 1, Verdict.NEW: 1},
        ("simulator", 10): {Verdict.STORED: 1, Verdict.OVER_BUDGET: 1},
    }


def test_a_row_is_new_or_changed_where_its_request_has_no_attempt():
    """And it is said which columns have changed since the newest one."""
    old, new = make_row("a"), make_row("a", prompt="the kite falls")
    task = make_task(row="a", digest=old.digest, request=old.request, state=TaskState.STORED)
    found = make_plan([new, make_row("b")], [], [task], INPUTS)
    assert [(line.row, line.verdict, line.note) for line in found.lines] == [
        ("a", Verdict.CHANGED, "changed: prompt"),
        ("b", Verdict.NEW, ""),
    ]
    assert (found.cost_usd, found.unpriced) == (4, 0)
    assert found.counts == {Verdict.CHANGED: 1, Verdict.NEW: 1}


def test_a_problem_is_a_line_that_costs_nothing():
    """By its id, or its line where it has none."""
    problems = [Problem(3, "a", "seed", "is no number"), Problem(4, "", "", "is empty")]
    found = make_plan([], problems, [], INPUTS).lines
    assert [(line.row, line.verdict, line.cost_usd) for line in found] == [
        ("a", Verdict.INVALID, 0),
        ("line 4", Verdict.INVALID, 0),
    ]
    assert [line.note for line in found] == [str(problem) for problem in problems]


def test_what_does_not_fit_into_the_budget_is_left_out_in_table_order():
    """A later, cheaper row that fits is taken; a row without a price is not, where there is a budget."""
    rows = [*make_rows(2), make_row("dear", outputs=4), make_row("last"), make_row("v6", "highway/pixverse-v6-i2v")]
    terms = PlanInputs(INPUTS.prices, budget=Budget(total_usd=10), spent={"live": Spent(total_usd=3)})
    found = make_plan(rows, [], [], terms)
    assert [line.verdict for line in found.lines] == [
        Verdict.NEW,
        Verdict.NEW,
        Verdict.OVER_BUDGET,
        Verdict.NEW,
        Verdict.OVER_BUDGET,
    ]
    assert found.cost_usd == 6
    assert found.lines[2].note == "costs about 8.000 USD, and 3.000 USD are left of the budget"
    assert found.lines[4].note.startswith("no known price, and a budget is set; add a line to the price book: Price(")
    assert make_plan(rows, [], [], INPUTS).unpriced == 1


def test_what_the_store_says_counts_only_for_rows_that_would_be_paid_for():
    """It costs nothing and takes nothing of the budget; what it has nothing of is withheld where others may have it."""
    rows = [make_row(name) for name in ("found", "unclear", "new", "stored")]
    found = {
        "found": NotPaid(Verdict.IN_STORE, "paid for"),
        "unclear": NotPaid(Verdict.WITHHELD, "damaged"),
        "stored": NotPaid(Verdict.WITHHELD, "not asked for"),
    }
    tasks = [make_task(row="stored", digest=rows[3].digest, state=TaskState.STORED)]
    prices = [Price(model="runware/pixverse-v4.5", usd=2.0)]
    budget = Budget(total_usd=2.0)
    for withheld, new in (("", (Verdict.NEW, 2.0, "")), ("another ledger", (Verdict.WITHHELD, 0.0, "another ledger"))):
        inputs = PlanInputs(prices, budget, not_paid=found, withheld=withheld)
        lines = make_plan(rows, [], tasks, inputs).lines
        assert [(line.verdict, line.cost_usd, line.note) for line in lines] == [
            (Verdict.IN_STORE, 0.0, "paid for"),
            (Verdict.WITHHELD, 0.0, "damaged"),
            new,
            (Verdict.STORED, 0.0, ""),
        ]


def test_a_row_that_costs_many_times_the_others_is_marked_or_left_out():
    """Four outputs by a slip: the plan says so; with a limit per row it is not submitted, nor is one of no price."""
    rows = [*make_rows(5), make_row("slip", outputs=4, resolution="1080p"), make_row("odd", PIXWITH)]
    prices = (Price(model=RUNWARE, resolution="1080p", usd=5), *INPUTS.prices)
    plan = make_plan(rows, [], [], PlanInputs(prices))
    assert [(line.row, line.note) for line in plan.dearest] == [
        ("slip", "costs about 20.000 USD, 10 times the usual row")
    ]
    limited = make_plan(rows, [], [], PlanInputs(prices, max_usd_per_row=2))
    assert limited.counts == {Verdict.NEW: 5, Verdict.OVER_BUDGET: 2}
    notes = {line.row: line.note for line in limited.lines}
    assert notes["slip"].startswith("costs about 20.000 USD, and max_usd_per_row is 2")
    assert notes["odd"].startswith("no known price, and max_usd_per_row is set")


def test_rows_are_counted_and_not_their_problems():
    """Two problems of a row are one line that names both."""
    problems = [
        Problem(3, "a", "seed", "too low"),
        Problem(4, "", "id", "is empty"),
        Problem(3, "a", "outputs", "too many"),
    ]
    plan = make_plan([], problems, [], INPUTS)
    assert plan.counts == {Verdict.INVALID: 2}
    assert [(line.row, line.note) for line in plan.lines] == [
        ("a", "line 3, row 'a', column 'seed': too low; outputs: too many"),
        ("line 4", "line 4, row '', column 'id': is empty"),
    ]


def test_an_unknown_price_is_never_nothing():
    """In words; the number is left out where no price is known."""
    none = make_plan(make_rows(2, PIXWITH), [], [], PlanInputs())
    assert (none.known_cost_usd, none.cost_text) == (None, "an unknown amount: 2 rows whose price is not public")
    some = make_plan([make_row(), make_row("odd", PIXWITH)], [], [], INPUTS)
    assert (some.known_cost_usd, some.cost_text) == (2, "about 2.000 USD plus 1 row whose price is not public")
    assert make_plan([], [], [], INPUTS).cost_text == "about 0.000 USD"
