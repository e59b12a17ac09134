"""One row as several: at other models, and with other seeds."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.manifest import Difference
from pixverse_dagster.core.row import MAX_ID_BYTES, Problem
from pixverse_dagster.policy.plan import PlanInputs, Verdict, make_plan
from pixverse_dagster.providers import MODELS
from pixverse_dagster.stages.drafts import ReadDrafts, read_drafts
from pixverse_dagster.tables import ValueTable
from pixverse_dagster.tables.expand import seed_of
from pixverse_dagster.tables.keys import id_complaint
from pixverse_dagster.tables.rules import TableRules
from pixverse_dagster_tests.harness.drafts import C1, KITE, PIXWITH, RUNWARE, V6, V45, image

KITES = {"id": "kite", "model": V6, "prompt": "a kite", "image": KITE}
DROP = TableRules(on_unsupported="drop")
DUNES = {"id": "dunes", "model": RUNWARE, "prompt": "dunes"}


def expand(rows: list[dict[str, Any]], rules: TableRules = DROP, **changes: Any) -> ReadDrafts:
    return read_drafts(ValueTable(rows), replace(rules, **changes))


def ids(found: ReadDrafts) -> list[str]:
    return [draft.id for draft in found.drafts]


def seeds(found: ReadDrafts) -> list[int | None]:
    return [getattr(draft.request, "seed", None) for draft in found.drafts]


def test_a_row_is_compared_under_ids_that_say_the_model():
    """Its own keeps its id and comes first, in whatever order the models are named."""
    found = expand([KITES, DUNES], compare=[RUNWARE, V6, PIXWITH, RUNWARE])
    assert [(draft.id, draft.request.MODEL, draft.raw.line) for draft in found.drafts] == [
        ("kite", V6, 1), ("kite~runware-pixverse-v4.5", RUNWARE, 1), ("kite~pixwith-pixverse-v5", PIXWITH, 1),
        ("dunes", RUNWARE, 2), ("dunes~pixwith-pixverse-v5", PIXWITH, 2),
    ]  # fmt: skip
    assert [(problem.row, problem.column) for problem in found.problems] == [("dunes~highway-pixverse-v6-i2v", "image")]


def test_a_row_that_is_compared_is_the_request_that_it_was():
    """So that its clip, which may be paid for, stays its clip."""
    alone, compared = expand([KITES]).drafts[0], expand([KITES], compare=list(MODELS)).drafts[0]
    images = {KITE: image(KITE)}
    assert alone.complete(images).digest == compared.complete(images).digest


def test_what_is_compared_is_one_plan_with_its_sum():
    """Rows that cannot be made at a model have a line of their own, as all others have."""
    found = expand([DUNES, KITES], compare=[RUNWARE, PIXWITH, V45])
    rows = [draft.complete({KITE: image(KITE)}) for draft in found.drafts]
    plan = make_plan(rows, found.problems, [], PlanInputs())
    assert (plan.counts[Verdict.NEW], plan.counts[Verdict.INVALID]) == (6, 1)
    assert {line.row for line in plan.lines} == {
        "dunes", "dunes~pixwith-pixverse-v5", "dunes~highway-pixverse-v4.5-i2v", "kite", "kite~runware-pixverse-v4.5",
        "kite~pixwith-pixverse-v5", "kite~highway-pixverse-v4.5-i2v",
    }  # fmt: skip
    assert plan.cost_usd == pytest.approx(2 * 0.1495)


def test_seeds_are_fixed_by_row_and_number():
    """Reading again, in another order, or at another model makes the same."""
    found = expand([KITES, DUNES], seeds=3)
    assert ids(found) == ["kite", "kite~2", "kite~3", "dunes", "dunes~2", "dunes~3"]
    assert seeds(found) == [seed_of(row, number) for row in ("kite", "dunes") for number in (1, 2, 3)]
    assert len(set(seeds(found))) == 6
    assert seeds(expand([DUNES, KITES], seeds=2)) == [*seeds(found)[3:5], *seeds(found)[:2]]
    assert seeds(expand([KITES], compare=[RUNWARE], seeds=2)) == 2 * seeds(found)[:2]
    assert (seed_of("kite", 1), seed_of("kite", 2)) == (1212465896, 441008986)


@pytest.mark.parametrize(("cells", "defaults"), [({"seed": 7}, {}), ({}, {"seed": 7})])
def test_a_seed_of_the_rows_own_is_its_first(cells: dict[str, Any], defaults: dict[str, Any]):
    """The row stays the request that it was."""
    found = expand([{**DUNES, **cells}], defaults=defaults, seeds=2)
    assert seeds(found) == [7, seed_of("dunes", 2)]


def test_a_model_without_seeds_makes_one_row_unless_they_may_be_left_out():
    """The row itself is what it was; of the others it is said that they have no seed."""
    rows = [{**DUNES, "model": PIXWITH}]
    refused, dropped = expand(rows, on_unsupported="refuse", seeds=2), expand(rows, seeds=2)
    assert (ids(refused), [(p.row, p.column) for p in refused.problems]) == (["dunes"], [("dunes~2", "seed")])
    assert [draft.differences for draft in dropped.drafts] == [
        (),
        (Difference(field="seed", asked=str(seed_of("dunes", 2))),),
    ]


@pytest.mark.parametrize(
    "row",
    [{"id": "", "prompt": "x"}, {"id": "kite", "prompt": "x", "model": "sora"}, {"id": "a...b", "seed": "x"}],
)
def test_a_row_that_is_wrong_already_is_named_once_for_each_id(row: dict[str, Any]):
    """A line of totals, or a model that is none, is not multiplied; other mistakes are those of each of its rows."""
    found = expand([{"model": RUNWARE, **row}], compare=[V45, PIXWITH], seeds=2)
    places = [(problem.row, problem.column, problem.message) for problem in found.problems]
    assert len(places) == len(set(places))
    assert not found.drafts


def test_an_id_that_the_table_has_itself_is_a_double_of_these_alone():
    """The row that is compared is there, and so are its others."""
    taken = {**DUNES, "id": "kite~2"}
    found = expand([KITES, taken], seeds=3)
    assert ids(found) == ["kite", "kite~3", "kite~2~2", "kite~2~3"]
    assert sorted(problem.place for problem in found.problems) == [(1, "kite~2"), (2, "kite~2")]


@pytest.mark.parametrize("row_id", ["kite", "sc01/sh010", "Käse ~ 1", "1", "a b", "🪁"])
def test_the_ids_are_partition_keys(row_id: str):
    """Every model's name and number can follow every id."""
    for other in ids(expand([{**DUNES, "id": row_id, "image": KITE}], compare=list(MODELS), seeds=3)):
        assert id_complaint(other) == ""


def test_an_id_that_gets_too_long_is_a_problem_of_its_own():
    """The row itself is made."""
    long = "k" * MAX_ID_BYTES
    found = expand([{**DUNES, "id": long}], compare=[PIXWITH])
    assert (ids(found), [problem.column for problem in found.problems]) == ([long], ["id"])


def test_a_model_that_is_none_cannot_be_compared_with():
    """Said of the option, before anything is read."""
    with pytest.raises(InvalidTable, match=r"did you mean 'runware/pixverse-v4.5'\?"):
        TableRules(compare=["runware/pixverse-4.5"]).check()


def test_problems_of_rows_on_one_line_are_lines_of_their_own():
    """One line of a table may be several rows; one row has one line, however many problems."""
    rows = [("kite", "seed"), ("kite", "image"), ("kite~2", "seed")]
    plan = make_plan([], [Problem(2, row, column, "is wrong") for row, column in rows], [], PlanInputs())
    assert [line.row for line in plan.lines] == ["kite", "kite~2"]


def test_every_pair_of_models_compares():
    """An image row goes everywhere."""
    for one, other in itertools.permutations(MODELS, 2):
        row = {**KITES, "model": one, "seed": 3} if one != C1 else {**KITES, "model": C1}
        assert len(expand([row], compare=[other]).drafts) == 2
