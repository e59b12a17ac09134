"""What was spent, from the ledger's own sums, on SQLite and PostgreSQL: every task once, by whatever it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.manifest import World
from pixverse_dagster.core.outcomes import Accepted, Failed, Succeeded
from pixverse_dagster.core.row import Row, retake
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.reports.costs import CostLine, read_costs, sum_lines
from pixverse_dagster_tests.harness.factories import HIGHWAY, NAME, NOW, PIXWITH, RUN, RUNWARE, make_row, moved, put_row
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.manifests import task_of

DAY = 86_400
MIDNIGHT = NOW // DAY * DAY
ODD = ['winter\'s "best"', "ünïcode ❄", "a\\b", "=1+1", "x" * 300, "$.campaign", "", "{}", "null"]


def claim(ledger: Ledger, row: Row, usd: float | None = 0.5, world: World = "live", at: float = NOW) -> Task:
    terms = ClaimTerms(RUN, at, 60, usd, account=f"{row.request.provider()}/{world}", world=world)
    return ledger.claim(NAME, put_row(ledger, row), terms)[0]


def accept(ledger: Ledger, row: Row, usd: float | None = 0.5, world: World = "live", at: float = NOW) -> Task:
    task = claim(ledger, row, usd, world, at)
    return ledger.accept(task, Accepted(f"task of {task.id}"), at, at).task


def store(ledger: Ledger, task: Task, charged_usd: float | None = None) -> Task:
    return moved(
        ledger.store(moved(ledger.succeed(task, Succeeded(("https://r.example.org/1",), charged_usd), NOW)), NOW)
    )


def fail(ledger: Ledger, task: Task) -> Task:
    return moved(ledger.fail(task, Failed(FailureKind.PROVIDER_ERROR, "the provider failed"), NOW))


def costs(ledger: Ledger, by: str = "", **options: Any) -> dict[str, CostLine]:
    """The live lines, by name."""
    return {line.name: line for line in read_costs(ledger, NAME, by, **options) if line.world == "live"}


def in_every_state(ledger: Ledger) -> None:
    """A task in each state, of three providers."""
    # Of a shape of its own: a charge corrects the estimates of its shape.
    store(ledger, accept(ledger, make_row("stored, charged", campaign="winter", resolution="540p")), 0.57)
    store(ledger, accept(ledger, make_row("stored, estimated", HIGHWAY, campaign="winter"), 0.25))
    forgotten = store(ledger, accept(ledger, make_row("forgotten", campaign="winter"), 0.125))
    moved(ledger.forget(forgotten, "by hand"))
    ledger.forget_words(NAME, "forgotten")
    first = fail(ledger, accept(ledger, make_row("again", PIXWITH, campaign="summer"), 0.3))
    moved(ledger.release(first, "by hand"))
    accept(ledger, make_row("again", PIXWITH, campaign="summer"), 0.3)
    moved(ledger.refuse(claim(ledger, make_row("refused", campaign="summer"), 9.0), "no credit"))
    moved(ledger.mark_unknown(claim(ledger, make_row("unknown"), 1.5), "no answer", None))
    given_up = moved(ledger.mark_unknown(claim(ledger, make_row("abandoned"), 0.75), "no answer", None))
    moved(ledger.abandon(given_up, "given up", "by hand"))
    moved(ledger.succeed(accept(ledger, make_row("no price"), None), Succeeded(("https://r.example.org/1",)), NOW))
    claim(ledger, make_row("claimed"), 0.0625)


def test_every_task_counts_once_and_as_what_it_is(ledger: Ledger):
    """Refused: nothing. Unknown and not answered yet: at stake. Failed and given up: spent, and without a result."""
    in_every_state(ledger)
    (line,) = costs(ledger).values()
    assert (line.charged_usd, line.estimated_usd) == (0.57, 0.25 + 0.125 + 0.3 + 0.3 + 0.75)
    assert line.at_stake_usd == 1.5 + 0.0625
    assert line.without_result_usd == 0.3 + 0.75
    assert (line.tasks, line.unpriced, line.presumed, line.forgotten) == (9, 1, 0, 1)
    assert (line.at_stake_unpriced, line.without_result_unpriced) == (0, 0)
    assert line.spent_usd == pytest.approx(ledger.spent(NAME, RUN, NOW).total_usd, abs=1e-9)


def test_the_lines_add_up_to_the_whole_by_whatever_they_are_told(ledger: Ledger):
    """No task is in two lines, none in no line."""
    in_every_state(ledger)
    for by in ("label:campaign", "label:language", "label:nothing has it", "model", "day", "provider", "account"):
        assert sum_lines(read_costs(ledger, NAME, by)) == read_costs(ledger, NAME)


def test_what_nobody_knows_the_price_of_is_counted_where_it_belongs(ledger: Ledger):
    """At stake, or without a result: an unknown price is never nothing."""
    moved(ledger.mark_unknown(claim(ledger, make_row("unknown"), None), "no answer", None))
    fail(ledger, accept(ledger, make_row("failed"), None))
    (line,) = costs(ledger).values()
    assert (line.spent_usd, line.unpriced, line.at_stake_unpriced, line.without_result_unpriced) == (0.0, 2, 1, 1)


def test_a_label_has_a_line_for_each_value_and_one_for_those_without(ledger: Ledger):
    """With the words of a forgotten clip its labels went; its cost did not. What cost most comes first."""
    in_every_state(ledger)
    found = costs(ledger, "label:campaign")
    assert list(found) == ["", "winter", "summer"]
    assert found["winter"].spent_usd == 0.82
    assert found["summer"].spent_usd == 0.6
    assert (found["summer"].tasks, found["summer"].without_result_usd) == (2, 0.3)
    assert found[""].forgotten == 1


def test_a_label_may_be_called_and_have_any_words(ledger: Ledger):
    """The database compares them as they stand; nobody takes them for a path in a document."""
    for n, value in enumerate(ODD):
        row = make_row(f"r{n}")
        accept(ledger, Row(row.id, 1, 1, {key: value for key in ODD if key}, row.request, row.images, row.digest), 0.25)
    for key in filter(None, ODD):
        found = costs(ledger, f"label:{key}")
        assert {name: line.spent_usd for name, line in found.items()} == dict.fromkeys(ODD, 0.25)


def test_a_day_is_a_day_of_utc_and_begins_at_its_first_instant(ledger: Ledger):
    """That of the claim, as for a budget. `since` counts from its very instant on."""
    for n, at in enumerate([MIDNIGHT - 0.25, MIDNIGHT, MIDNIGHT + DAY - 0.25, MIDNIGHT + DAY]):
        accept(ledger, make_row(f"r{n}"), 0.25 * (n + 1), at=at)
    assert {day: line.spent_usd for day, line in costs(ledger, "day").items()} == {
        "2023-11-13": 0.25, "2023-11-14": 1.25, "2023-11-15": 1.0,
    }  # fmt: skip
    assert list(costs(ledger, "day")) == sorted(costs(ledger, "day"))
    assert costs(ledger, since=MIDNIGHT)[""].spent_usd == 2.25
    assert costs(ledger, since=MIDNIGHT + 0.25)[""].spent_usd == 1.75
    assert costs(ledger, since=MIDNIGHT + 2 * DAY) == {}


def test_what_a_simulator_charged_is_in_lines_of_its_own(ledger: Ledger):
    """Under the same label, the same model and the same day."""
    accept(ledger, make_row("live", campaign="winter"), 0.25)
    accept(ledger, make_row("played", campaign="winter"), 4.0, world="simulator")
    for by, name in (("label:campaign", "winter"), ("model", RUNWARE), ("day", "2023-11-14"), ("", "")):
        found = read_costs(ledger, NAME, by)
        assert [(one.world, one.name, one.spent_usd) for one in found] == [
            ("live", name, 0.25),
            ("simulator", name, 4.0),
        ]


def test_what_another_ledger_paid_is_counted_and_said(ledger: Ledger):
    """Both ledgers count it: whoever adds them up has to know. What nobody knows to be charged is no money at all."""
    of_other = {"account": "runware/live", "world": "live", "estimate_usd": 0.5, "found_at": NOW}
    stored = {"id": "1", "state": TaskState.STORED, "attempt": 1, "paid_by": "another", "cost_usd": 0.4}
    unclear = {"id": "2", "state": TaskState.UNKNOWN, "attempt": None, "task_id": None, "cost_usd": None}
    taken_in, presumed = (task_of(make_row(str(one["id"])), **of_other, **one) for one in (stored, unclear))
    for task in (taken_in, presumed):
        moved(ledger.restore(task))
    accept(ledger, make_row("own"), 0.25)
    (line,) = costs(ledger).values()
    assert (line.charged_usd, line.estimated_usd, line.at_stake_usd, line.by_others_usd) == (0.4, 0.25, 0.0, 0.4)
    assert (line.tasks, line.unpriced, line.presumed) == (3, 1, 1)


def test_an_earlier_take_and_an_earlier_request_stay_spent(ledger: Ledger):
    """A row that has another take or other words by now has cost both."""
    row = make_row()
    for one in (row, retake(row, 2), make_row(prompt="other words")):
        store(ledger, accept(ledger, one), 0.25)
    assert costs(ledger)[""].charged_usd == 0.75
    assert read_costs(ledger, None) == read_costs(ledger, NAME)
    assert read_costs(ledger, "another") == []


@pytest.mark.parametrize("by", ["label:", "campaign", "label", "row", "Model"])
def test_what_costs_cannot_be_told_by_is_refused_with_what_they_can(tmp_path: Path, by: str):
    """A slip is not an empty answer."""
    ledger = Ledger(open_engine(ledger_in(tmp_path)))
    with pytest.raises(PixverseError, match=r"label:KEY, model, day, provider, account"):
        read_costs(ledger, NAME, by)
