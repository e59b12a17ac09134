"""How long each wait is, and what a pace may not be."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pixverse_dagster.policy.timing import Pace


def test_waits_grow_to_their_limit_and_never_overflow():
    """Polls by half, collects and rests of an account twofold, also after a number of them that nobody reaches."""
    pace, rounds = Pace(), (0, 1, 2, 3, 4, 5, 100_000)
    assert [pace.poll_wait(n) for n in rounds] == [5, 7.5, 11.25, 15, 15, 15, 15]
    assert [pace.collect_wait(n) for n in rounds] == [60, 120, 240, 480, 900, 900, 900]
    assert [pace.hold_wait(n) for n in rounds] == [60, 120, 240, 480, 900, 900, 900]


@pytest.mark.parametrize(("estimate", "wait"), [(None, 5), (0, 5), (0.5, 0.5), (30, 30), (120, 120), (9000, 120)])
def test_the_first_poll_waits_for_the_providers_own_estimate(estimate: float | None, wait: float):
    """At most two minutes, whatever it says."""
    assert Pace().first_poll_wait(estimate) == wait


def test_a_replay_window_must_outlast_the_lease_of_a_claim():
    """Otherwise no stale claim could ever heal; without replays there is no window."""
    assert Pace(claim_lease_seconds=60, replay_window_seconds=61)
    assert Pace(claim_lease_seconds=60, replay_window_seconds=0)
    with pytest.raises(ValidationError, match="must exceed claim_lease_seconds"):
        Pace(claim_lease_seconds=60, replay_window_seconds=60)
