"""Whose a task is, as a table: what the key, the name, the world and an answer show, and what they do not."""

from collections.abc import Mapping

import pytest

from pixverse_dagster.core.lifecycle import FailureKind
from pixverse_dagster.core.outcomes import Failed, Missing, PollFact, Running, Succeeded
from pixverse_dagster.policy.identity import Holder, Standing, judge_standing

A, B = "key-a", "key-b"
LIVE = Holder("runware/live", "live", A)
PRESENT = Holder("runware/live", "live", B)
DONE = Succeeded(("https://cdn.example.org/1.mp4",))
NAMED = Failed(FailureKind.PROVIDER_ERROR, "out of memory", names_task=True)
UNNAMED = Failed(FailureKind.PROVIDER_ERROR, "out of memory")
LOST = Failed(FailureKind.LOST, "the provider has not known the task for 300 min")
APART: Mapping[str, str] = {A: A, B: B}
ONE = {A: A, B: A}
OWN, UNPROVEN, FOREIGN = Standing


@pytest.mark.parametrize(
    ("task", "present", "identities", "answer", "standing"),
    [
        # The key decides.
        (LIVE, LIVE, {}, None, OWN),
        (LIVE, LIVE, {}, Missing(), OWN),
        (LIVE, Holder("runware/studio", "live", A), {}, None, OWN),
        (LIVE, PRESENT, ONE, None, OWN),
        (LIVE, PRESENT, ONE, Missing(), OWN),
        (LIVE, PRESENT, {A: B, B: ""}, None, OWN),
        (LIVE, Holder("runware/studio", "live", B), ONE, None, OWN),
        # Another key of the same name: only a terminal answer about the task shows that the account is the same.
        (LIVE, PRESENT, {}, None, UNPROVEN),
        (LIVE, PRESENT, APART, None, UNPROVEN),
        (LIVE, PRESENT, APART, Missing(), UNPROVEN),
        (LIVE, PRESENT, APART, Running(), UNPROVEN),
        (LIVE, PRESENT, APART, Running("1 of 2", so_far=DONE), UNPROVEN),
        (LIVE, PRESENT, APART, LOST, UNPROVEN),
        (LIVE, PRESENT, APART, UNNAMED, UNPROVEN),
        (LIVE, PRESENT, APART, NAMED, OWN),
        (LIVE, PRESENT, APART, DONE, OWN),
        # A key that is not known is like another one, and never equal to one that is not known either.
        (LIVE._replace(key=""), PRESENT, {}, None, UNPROVEN),
        (LIVE._replace(key=""), PRESENT._replace(key=""), {}, None, UNPROVEN),
        (LIVE._replace(key=""), PRESENT, {}, DONE, OWN),
        # Another name is another account, whatever is answered there.
        (LIVE, Holder("runware/studio", "live", B), APART, None, FOREIGN),
        (LIVE, Holder("runware/studio", "live", B), APART, DONE, FOREIGN),
        # Another world is another account, even under the same key.
        (LIVE, Holder("runware/simulator", "simulator", A), {}, None, FOREIGN),
        (LIVE, Holder("runware/live", "simulator", A), ONE, DONE, FOREIGN),
        (Holder("runware/simulator", "simulator", A), LIVE, {}, DONE, FOREIGN),
    ],
)
def test_whose_a_task_is(
    task: Holder, present: Holder, identities: Mapping[str, str], answer: PollFact | None, standing: Standing
):
    assert judge_standing(task, present, identities, answer) is standing
