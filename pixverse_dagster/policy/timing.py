"""How often to poll, collect and retry, and how long to wait before giving up."""

from __future__ import annotations

from pydantic import Field, model_validator

from pixverse_dagster.core.values import FrozenModel

_FACTOR = 1.5
_MAX_WAIT_SECONDS = 900.0
_ASIDE_FACTOR = 4


class Pace(FrozenModel):
    """Times in seconds. The defaults suit the real providers; tests and the demo make them short."""

    first_poll_seconds: float = Field(default=5, gt=0)
    max_poll_seconds: float = Field(default=15, gt=0)
    claim_lease_seconds: float = Field(
        default=180, gt=0, description="After this, the process that made a claim without an answer counts as dead."
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
    collect_request_seconds: float = Field(default=600, gt=0, description="How long a requested run may queue.")
    collect_lease_seconds: float = Field(
        default=120, gt=0, description="How long a collect run has its rows to itself; renewed while it makes progress."
    )
    collect_retry_seconds: float = Field(default=60, gt=0, description="First wait after a failed collect; doubles.")
    collect_after_seconds: float = Field(default=20, ge=0, description="How long a batch waits to become full.")
    collect_batch: int = Field(default=500, ge=1, le=5000, description="Most rows in one collect run.")

    @model_validator(mode="after")
    def _replay_is_possible(self) -> Pace:
        if self.replay_window_seconds and self.replay_window_seconds <= self.claim_lease_seconds:
            raise ValueError("replay_window_seconds must exceed claim_lease_seconds, or no stale claim could ever heal")
        return self

    def first_poll_wait(self, estimate_seconds: float | None) -> float:
        """The wait before the first poll: the provider's own estimate, at most two minutes, or `first_poll_seconds`."""
        return min(estimate_seconds, 120.0) if estimate_seconds else self.first_poll_seconds

    def poll_wait(self, polls: int) -> float:
        """The wait after poll number `polls`, counted from 0: 5, 7.5, 11.25, 15, 15 … by default."""
        return min(self.first_poll_seconds * _FACTOR ** min(polls, 50), self.max_poll_seconds)

    def aside_wait(self, age_seconds: float) -> float:
        """The wait before a task is asked about again that is of another key: a minute, and more the older it is."""
        return min(max(self.max_poll_seconds, age_seconds / _ASIDE_FACTOR**2) * _ASIDE_FACTOR, _MAX_WAIT_SECONDS)

    def collect_wait(self, collects: int) -> float:
        """The wait after failed collect number `collects`, counted from 0: 60, 120, 240, 480, 900, 900 … by default."""
        return min(self.collect_retry_seconds * 2.0 ** min(collects, 20), _MAX_WAIT_SECONDS)

    def hold_wait(self, refusals: int) -> float:
        """The pause after refusal number `refusals` in a row, counted from 0: 60, 120, 240, 480, 900 … by default."""
        return min(self.hold_seconds * 2.0 ** min(refusals, 20), _MAX_WAIT_SECONDS)
