"""The list of guards is of the code as it is; and of six of them, others at each change, no test misses the loss."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from pixverse_dagster_tests.guards.guard import PROMISES, Guard, GuardMoved, break_guard
from pixverse_dagster_tests.guards.listed import GUARDS
from pixverse_dagster_tests.guards.run import draw, find_commit, try_guards
from pixverse_dagster_tests.harness.fixtures import Tell, require

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
SAMPLE = 6
ANY = Guard(
    "any",
    "P12",
    "policy.budget",
    "fits",
    "return price_usd <= room_usd + _TOLERANCE_USD",
    "return price_usd <= room_usd + 2 * _TOLERANCE_USD",
    ("pure/test_policy_budget.py::test_room_is_the_smallest_that_any_limit_leaves",),
    "Nothing.",
)
"""It can be broken without anybody's loss, so that it survives."""


@pytest.mark.parametrize("guard", GUARDS, ids=[guard.name for guard in GUARDS])
def test_a_guard_is_where_the_list_has_it(guard: Guard):
    """Its code stands there, once; without it the module is still one, and its tests are there."""
    assert break_guard(ROOT, guard)
    assert guard.promise in PROMISES
    assert guard.wrong.endswith(".")
    assert guard.tests
    for test in guard.tests:
        file, *names = test.partition("[")[0].split("::")
        assert "::".join(names) in defined(file), test


@cache
def defined(file: str) -> frozenset[str]:
    """The tests of a file, as pytest names them; an empty one is all of them."""
    found = {""}
    for node in ast.parse((TESTS / file).read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
    return frozenset(found)


def test_every_promise_has_guards_and_every_guard_a_name_of_its_own():
    """A promise without a guard is one that nothing keeps."""
    assert {guard.promise for guard in GUARDS} == set(PROMISES)
    assert [name for name, count in Counter(guard.name for guard in GUARDS).items() if count > 1] == []
    broken = Counter((guard.module, guard.function, guard.snippet, guard.broken) for guard in GUARDS)
    assert [where for where, count in broken.items() if count > 1] == []


@pytest.mark.parametrize(
    "moved",
    [
        replace(ANY, module="policy.gone"),
        replace(ANY, function="does_fit"),
        replace(ANY, snippet="return price_usd < room_usd"),
        replace(ANY, snippet="room_usd"),
    ],
    ids=["module", "function", "code", "twice"],
)
def test_a_guard_that_moved_is_named(moved: Guard):
    """Whoever moves the code mends the entry: a list of what is not there proves nothing."""
    with pytest.raises(GuardMoved, match="guard 'any'"):
        break_guard(ROOT, moved)


def test_a_sample_is_the_same_for_a_commit_and_another_for_another():
    """All come up in time."""
    assert draw(GUARDS, SAMPLE, "a") == draw(GUARDS, SAMPLE, "a")
    assert len(set(draw(GUARDS, SAMPLE, "a"))) == SAMPLE
    assert {guard for seed in range(500) for guard in draw(GUARDS, SAMPLE, str(seed))} == set(GUARDS)


@pytest.mark.cover
def test_who_survives_and_who_was_not_tried_are_told_apart():
    """A slip that stops the tests before they begin shows nothing of a guard."""
    slip = replace(ANY, name="slip", broken="return price_usd <= nowhere\n\n\nfits(1, nowhere)")
    survivor, untried = try_guards([ANY, slip], 1, lambda _: None)
    assert (survivor.survived, untried.survived) == (True, False)
    assert not untried.ran.noticed
    assert str(survivor).startswith("SURVIVED any (P12)")
    assert str(untried).startswith("NOT TRIED slip")


@pytest.mark.timeout(600)
def test_no_guard_of_a_sample_is_missed_without_a_test_that_fails(tell: Tell):
    """Six, drawn by the commit; `python -m pixverse_dagster_tests.guards` tries them all."""
    for server in ("postgres", "rgw"):
        require(server)
    verdicts = try_guards(draw(GUARDS, SAMPLE, find_commit()), 1, lambda _: None)
    tell("guards", f"{len(verdicts)} of {len(GUARDS)} broken, {sum(one.ran.noticed for one in verdicts)} noticed")
    assert [str(one) for one in verdicts if not one.ran.noticed] == []


def test_the_command_lists_them_by_promise():
    """And says what would go wrong without each."""
    command = [sys.executable, "-m", "pixverse_dagster_tests.guards", "--list", "--only", "a permit for every"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("P12 a permit for every sending: More is sent")
