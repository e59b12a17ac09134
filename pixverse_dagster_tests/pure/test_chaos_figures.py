"""The figures of a chaos run: whose waits count for what, and when a promise is broken."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from pixverse_dagster_tests.harness.chaos.figures import (
    Spread,
    Wait,
    broken,
    by_provider,
    by_round,
    spread,
    table,
    waits,
)
from pixverse_dagster_tests.harness.chaos.rounds import KINDS, PROVIDERS, Round, plan_rounds
from pixverse_dagster_tests.harness.soak.ticks import Tick, too_long

WELL = Round({"a", "b"}, began=100.0, healed=130.0)
SICK = Round({"c", "d"}, "runware", "hang", began=200.0, healed=230.0)


def looked(row: str, seconds: float, of: Round, killed: str = "") -> Wait:
    return Wait("highway", row, seconds, of, killed, seconds)


GOOD = [looked("a", 9.0, WELL), looked("c", 20.0, SICK)]


def charge(row: str, provider: str, accepted: float, rendered: float | None) -> dict[str, Any]:
    def iso(at: float) -> str:
        return datetime.fromtimestamp(at, UTC).isoformat()

    told = {"rendered_at": None if rendered is None else iso(rendered), "accepted_at": iso(accepted)}
    return {"row": row, "provider": provider, "task_id": f"task-{row}", **told}


def waited(*found: tuple[str, str, float, float, float]) -> dict[str, tuple[str, float]]:
    charges = [charge(row, provider, accepted, rendered) for row, provider, accepted, rendered, _ in found]
    stored = {f"task-{row}": at for row, _, _, _, at in found}
    return {one.row: (one.round.title, one.seconds) for one in waits(charges, stored, [WELL, SICK], [])}


def test_a_wait_is_from_rendered_to_stored_and_belongs_to_the_round_of_its_row():
    """Beside a sick provider, or while all are well."""
    found = waited(("a", "highway", 101, 103, 110), ("c", "highway", 201, 205, 225))
    assert found == {"a": ("all well", pytest.approx(7)), "c": ("runware hang", pytest.approx(20))}


def test_the_waits_of_a_provider_that_is_sick_itself_say_nothing_about_neighbours():
    """In its own round, also when it was submitted after that; in another round, from when it was sick."""
    assert waited(("c", "runware", 240, 242, 250)) == {}
    assert waited(("b", "runware", 195, 205, 250)) == {}
    assert waited(("b", "runware", 150, 155, 300)) == {"b": ("all well", pytest.approx(45))}, "at least so long"
    assert waited(("b", "runware", 120, 125, 140)) == {"b": ("all well", pytest.approx(15))}


def test_what_was_not_rendered_or_not_stored_has_no_wait():
    """Nor has a charge for a row of nobody's."""
    charges = [charge("a", "highway", 101, None), charge("b", "highway", 101, 102), charge("x", "highway", 101, 102)]
    assert list(waits(charges, {"task-a": 110.0, "task-x": 110.0}, [WELL, SICK], [])) == []


def test_the_median_and_the_worst_are_told_apart_by_a_sick_neighbour():
    """For each provider, and for each round over all that were well."""
    found = [Wait("highway", "a", 5, WELL), Wait("highway", "b", 7, WELL), Wait("highway", "c", 9, SICK)]
    assert by_provider(found) == {"highway": (Spread(2, 6, 7), Spread(1, 9, 9))}
    assert by_round(found, [WELL, SICK]) == [(WELL, Spread(2, 6, 7)), (SICK, Spread(1, 9, 9))]
    assert spread([]) == Spread(0, 0.0, 0.0)
    printed = table(found, [WELL, SICK])
    assert "| highway | 2 | 6.0 | 7.0 | 1 | 9.0 | 9.0 |" in printed
    assert "| runware hang | - | 1 | 9.0 | 9.0 |" in printed


def test_a_neighbour_may_cost_a_tick_and_no_more():
    """Twenty seconds, on the median and on the worst; without anything to compare with, nothing is proved."""
    assert list(broken(GOOD, [], [], 0)) == []
    late = [looked("a", 9.0, WELL), looked("b", 15.0, WELL), looked("c", 35.1, SICK)]
    assert [one.split(" s beside")[0] for one in broken(late, [], [], 0)] == [
        "highway: median 35.1",
        "highway: worst 35.1",
    ]
    assert "nothing was compared" in next(broken(late[:2], [], [], 0))


def test_what_waited_for_a_killed_part_is_told_and_not_compared():
    """A daemon that has to start again delays everything; that is no neighbour's doing."""
    late = looked("c", 90.0, SICK, "daemon")
    assert list(broken([*GOOD, late], [], [], 0)) == []
    printed = table([*GOOD, late], [WELL, SICK])
    assert "| highway | 1 | 9.0 | 9.0 | 1 | 20.0 | 20.0 |" in printed
    assert "| highway | 0 | - | - | 1 | 90.0 | 90.0 |" in printed


def test_when_the_next_look_comes_is_chance():
    """What a neighbour costs is counted from the first look after a clip was there; one that failed is none."""
    ticks = [Tick("demo_poll", at, 1.0) for at in (102.0, 117.0, 132.0)]
    ticks = [*ticks, Tick("demo_continue", 105.0, 1.0), Tick("demo_poll", 106.0, 0.1, failed=True)]
    stored = {"task-a": 125.0, "task-b": 112.0}
    charges = [charge("a", "highway", 101, 103), charge("b", "highway", 101, 103)]
    found = {one.row: one.looked_seconds for one in waits(charges, stored, [WELL], ticks)}
    assert found == {"a": pytest.approx(8), "b": pytest.approx(9)}, "stored without a look: since it was rendered"


def test_a_kill_concerns_the_clips_that_wait_then_and_those_that_come_soon_after():
    """Whichever round they are of."""
    killing = replace(WELL, killed="code server", killed_at=110.0)
    charges = [charge("a", "highway", 101, 103), charge("c", "highway", 140, 150), charge("d", "highway", 160, 170)]
    stored = {"task-a": 120.0, "task-c": 180.0, "task-d": 180.0}
    found = {one.row: one.killed for one in waits(charges, stored, [killing, SICK], [])}
    assert found == {"a": "code server", "c": "code server", "d": ""}


def test_a_long_tick_a_row_without_an_end_and_a_second_charge_break_a_promise():
    """A tick that was killed has no length, or that of what came after."""
    ticks = [Tick("demo_poll", 0, 20.0), Tick("demo_poll", 30, 20.1), Tick("demo_continue", 60, None)]
    long = "a tick of demo_poll took 20.1 s"
    assert too_long(ticks) == [long]
    assert too_long(ticks, [29.0, 51.0]) == [long]
    assert too_long(ticks, [40.0]) == []
    assert list(broken(GOOD, [long], ["a"], 1)) == [long, "1 rows have no end: a", "1 duplicate charges"]


def test_the_plan_has_every_kind_and_in_full_with_every_provider():
    """And at both ends, and in between, rounds in which nobody is sick."""
    short, full = plan_rounds(full=False), plan_rounds(full=True)
    assert [one.kind for one in short if one.kind] == list(KINDS)
    assert {one.provider for one in short if one.kind} == set(PROVIDERS)
    assert {(one.provider, one.kind) for one in full if one.kind} == {(p, k) for p in PROVIDERS for k in KINDS}
    for plans in (short, full):
        assert not plans[0].kind
        assert not plans[-1].kind
        assert {"worker", "code server", "daemon"} <= {one.victim for one in plans}
