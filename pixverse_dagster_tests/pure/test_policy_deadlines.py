"""When waiting for a provider becomes an end."""

from dataclasses import replace

import pytest

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.outcomes import Failed, Missing, PollFact, Running, Succeeded
from pixverse_dagster.policy.deadlines import judge_answer
from pixverse_dagster.policy.timing import Pace
from pixverse_dagster_tests.harness.factories import NOW, make_task

DONE = Succeeded(("https://results.example.org/1.mp4",))
FAILED = Failed(FailureKind.MODERATED, "not allowed")
PARTLY = Running("1 of 2", so_far=DONE)
PACE = Pace(missing_seconds=100, partial_seconds=50, task_deadline_seconds=1000)


@pytest.mark.parametrize(
    ("fact", "age", "verdict"),
    [
        (DONE, 5000, DONE),
        (FAILED, 0, FAILED),
        (FAILED, 5000, FAILED),
        (Running("eta 3 s"), 1000, Running("eta 3 s")),
        (Running("eta 3 s"), 1001, FailureKind.LOST),
        (PARTLY, 50, PARTLY),
        (PARTLY, 51, DONE),
        (Running("", so_far=FAILED), 51, FAILED),
        (Missing(), 100, Missing()),
        (Missing(), 101, FailureKind.LOST),
    ],
)
def test_waiting_becomes_an_end_only_past_its_limit(fact: PollFact, age: float, verdict: PollFact | FailureKind):
    """What the provider says counts at any age; silence, strangeness and absence only until their limits."""
    aged = make_task(state=TaskState.SUBMITTED, note="the provider does not show the task")
    for task in (aged, replace(aged, claimed_at=NOW - 30, submitted_at=NOW)):
        found = judge_answer(task, fact, NOW + age, PACE)
        assert (found.kind if isinstance(found, Failed) and found != FAILED else found) == verdict
    assert judge_answer(replace(aged, note="running"), Missing(), NOW + 5000, PACE) == Missing(), (
        "one answer is not enough"
    )
