"""Whom to submit and what to collect now."""

import pytest

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.task import QueuedRow
from pixverse_dagster.policy.batching import choose_collect_batch, choose_submit_batch
from pixverse_dagster.policy.timing import Pace
from pixverse_dagster_tests.harness.factories import NOW, make_task


@pytest.mark.parametrize(
    ("waiting", "room", "since_seconds", "turn"),
    [
        ("aab", {"A": 5, "B": 5}, 0, [0, 1, 2]),
        ("aab", {"A": 1, "B": 5}, 0, []),
        ("aab", {"A": 1, "B": 5}, 20, [0, 2]),
        ("aab", {"A": 0, "B": 0}, 100, []),
        ("ab", {"A": 1}, 100, [0]),
        ("aa", {"A": float("inf")}, 0, [0, 1]),
    ],
)
def test_a_submit_run_is_asked_for_when_everybody_has_room_or_some_have_waited(
    waiting: str, room: dict[str, float], since_seconds: float, turn: list[int]
):
    """A run costs seconds: slots that become free one by one do not make a run each."""
    entries = [QueuedRow(str(n), "d", account.upper(), "", "", 0) for n, account in enumerate(waiting)]
    assert choose_submit_batch(entries, room, since_seconds, Pace()) == [str(n) for n in turn]


BATCHES = Pace(collect_batch=3, collect_after_seconds=20)


@pytest.mark.parametrize(
    ("ages", "pending", "chosen"),
    [
        ([], 0, 0),
        ([], 5, 0),
        ([1], 0, 1),  # nothing else is under way
        ([1, 19], 5, 0),  # company may come
        ([1, 20], 5, 2),  # the oldest has waited long enough
        ([1, 1, 1], 5, 3),  # a full batch
        ([9, 8, 7, 6], 5, 3),  # no more than a batch
    ],
)
def test_a_small_batch_waits_for_company_but_not_for_long(ages: list[float], pending: int, chosen: int):
    """A collect run begins with a full batch, with an old result, or when nothing more will come."""
    tasks = [make_task(id=str(n), state=TaskState.SUCCEEDED, finished_at=NOW - age) for n, age in enumerate(ages)]
    assert choose_collect_batch(tasks, pending, NOW, BATCHES) == tasks[:chosen]
