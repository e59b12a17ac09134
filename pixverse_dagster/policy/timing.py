"""How often to poll, collect and retry, and how long to wait before giving up."""

from __future__ import annotations

from pydantic import Field, model_validator

from pixverse_dagster.core.values import FrozenModel

_FACTOR = 1.5
MAX_WAIT_SECONDS = 900.0
"""Where waits grow, they grow to this."""
MAX_PLACE_SECONDS = 3600.0
"""The longest wait of a row in the queue for submits: it needs a person, and is looked at again."""
MAX_LEASE_SECONDS = 3600.0
"""No lease of a submit that is being sent is longer."""
SKEW_SECONDS = 60.0
"""By so much, the clocks of machines may differ."""
_ASIDE_FACTOR = 4
_UNREAD_WAIT_SECONDS = 60.0
STALLED_WAIT_SECONDS = MAX_WAIT_SECONDS
"""How often what does not come on is tried again."""


class Pace(FrozenModel):
    """Times in seconds. The defaults suit the real providers; tests and the demo make them short."""

    first_poll_seconds: float = Field(default=5, gt=0)
    max_poll_seconds: float = Field(default=15, gt=0)
    claim_lease_seconds: float = Field(
        default=180,
        gt=0,
        le=3600,
        description="After this, the process that made a claim without an answer counts as dead.",
    )
    replay_window_seconds: float = Field(
        default=600, ge=0, description="How long after its claim a submit with a caller-chosen id may be replayed."
    )
    record_seconds: float = Field(
        default=30, ge=0, description="How long to try to record a paid task in a ledger that cannot be written."
    )
    missing_seconds: float = Field(default=7200, gt=0, description="How long a task may be unknown to its provider.")
    partial_seconds: float = Field(default=900, gt=0, description="How long to wait for the rest of a task's outputs.")
    task_deadline_seconds: float = Field(default=86_400, gt=0, description="After this, an unfinished task is lost.")
    result_lifetime_seconds: float = Field(
        default=3600, gt=0, description="After this, an expired result stays expired."
    )
    hold_seconds: float = Field(
        default=60,
        gt=0,
        description="First pause after a provider asks to slow down; doubles, at most 15 min.",
    )
    offer_seconds: float = Field(
        default=90,
        gt=0,
        description="How long the rows of a requested run are its own before it is queued; renewed while it is.",
    )
    collect_lease_seconds: float = Field(
        default=120, gt=0, description="How long a collect run has its rows to itself; renewed while it makes progress."
    )
    collect_retry_seconds: float = Field(default=60, gt=0, description="First wait after a failed collect; doubles.")
    collect_after_seconds: float = Field(default=20, ge=0, description="How long a batch waits to become full.")
    collect_batch: int = Field(default=500, ge=1, le=5000, description="Most rows in one collect run.")

    progress_seconds: float = Field(
        default=60, gt=0, description="How often a run that takes long says in its log how its rows stand."
    )

    @model_validator(mode="after")
    def _replay_is_possible(self) -> Pace:
        if self.replay_window_seconds and self.replay_window_seconds <= self.claim_lease_seconds:
            raise ValueError("replay_window_seconds must exceed claim_lease_seconds, or no stale claim could ever heal")
        return self

    @property
    def longest_poll_wait(self) -> float:
        """No task waits longer for its next poll, but a claim perhaps for the end of its lease."""
        return max(MAX_WAIT_SECONDS, self.first_poll_seconds, self.max_poll_seconds, self.claim_lease_seconds)

    @property
    def longest_collect_wait(self) -> float:
        """No succeeded task waits longer to be collected, or belongs longer to one run that does not go on."""
        return max(MAX_WAIT_SECONDS, self.collect_retry_seconds, self.collect_lease_seconds, self.offer_seconds)

    @property
    def longest_place_wait(self) -> float:
        """No row in the queue for submits waits longer for its turn to be looked at."""
        return max(MAX_PLACE_SECONDS, self.hold_seconds, self.collect_lease_seconds, self.offer_seconds)

    @property
    def longest_hold(self) -> float:
        """No account is left alone for longer without one row that looks whether that is over."""
        return max(MAX_WAIT_SECONDS, self.hold_seconds)

    def first_poll_wait(self, estimate_seconds: float | None) -> float:
        """The wait before the first poll: the provider's own estimate, at most two minutes, or `first_poll_seconds`."""
        return min(estimate_seconds, 120.0) if estimate_seconds else self.first_poll_seconds

    def poll_wait(self, polls: int) -> float:
        """The wait after poll number `polls`, counted from 0: 5, 7.5, 11.25, 15, 15 … by default."""
        return min(self.first_poll_seconds * _FACTOR ** min(polls, 50), self.max_poll_seconds)

    def aside_wait(self, age_seconds: float) -> float:
        """The wait before a task is asked about again that is of another key: a minute, and more the older it is."""
        return min(max(self.max_poll_seconds, age_seconds / _ASIDE_FACTOR**2) * _ASIDE_FACTOR, MAX_WAIT_SECONDS)

    def unread_wait(self, unread_seconds: float, *, stalled: bool = False) -> float:
        """The wait before a task is asked about again of which no answer could be read for so long: twice the time.

        At most a minute; of one that a person is to look at, 15 min.
        """
        longest = STALLED_WAIT_SECONDS if stalled else max(_UNREAD_WAIT_SECONDS, self.max_poll_seconds)
        return min(max(self.first_poll_seconds, unread_seconds), longest)

    def collect_wait(self, collects: int) -> float:
        """The wait after failed collect number `collects`, counted from 0: 60, 120, 240, 480, 900, 900 … by default."""
        return min(self.collect_retry_seconds * 2.0 ** min(collects, 20), MAX_WAIT_SECONDS)

    def stalls(self, collects: int, age_seconds: float) -> bool:
        """Whether a person is to look at a clip that is not stored after failed collect number `collects`.

        That is when the tries are as far apart as they get, or when the result is past its documented lifetime.
        """
        return age_seconds > self.result_lifetime_seconds or self.collect_wait(collects) >= STALLED_WAIT_SECONDS

    def hold_wait(self, refusals: int) -> float:
        """The pause after refusal number `refusals` in a row, counted from 0: 60, 120, 240, 480, 900 … by default."""
        return min(self.hold_seconds * 2.0 ** min(refusals, 20), MAX_WAIT_SECONDS)


def is_over(until: float | None, now: float, longest_seconds: float) -> bool:
    """Whether a wait that lasts until then, and was never longer than this, has ended. Pure.

    Also if it ends later than it can: whoever wrote it had a wrong clock, and what it waits for would wait for hours.
    """
    return until is None or until <= now or until > now + longest_seconds + SKEW_SECONDS
