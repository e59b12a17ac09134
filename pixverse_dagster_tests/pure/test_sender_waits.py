"""What is sent again, and after how long."""

from __future__ import annotations

import pytest

from pixverse_dagster.core.errors import (
    NotSent,
    OutcomeUnknown,
    OutOfCredit,
    PixverseError,
    RateLimited,
    ReadFailed,
    Refused,
    Unauthorized,
)
from pixverse_dagster.transport.sender import Call, Limits, wait_before_repeat

LIMITS = Limits()
TABLE: list[tuple[Call, PixverseError, list[float | None]]] = [
    # the waits after attempts 1, 2, 3, 4, 5 with the default limits: backoff 1 s, at most 60 s, 5 attempts
    (Call.SUBMIT, NotSent(), [1, 2, 4, 8, None]),
    (Call.SUBMIT, RateLimited(), [1, 2, 4, 8, None]),
    (Call.SUBMIT, RateLimited("", 3), [3, 3, 4, 8, None]),
    (Call.SUBMIT, RateLimited("", 0.5), [1, 2, 4, 8, None]),
    (Call.SUBMIT, RateLimited("", 60), [60, 60, 60, 60, None]),
    (Call.SUBMIT, RateLimited("", 61), [None] * 5),
    (Call.SUBMIT, OutcomeUnknown(), [None] * 5),
    (Call.SUBMIT, Refused(), [None] * 5),
    (Call.SUBMIT, Unauthorized(), [None] * 5),
    (Call.SUBMIT, OutOfCredit(), [None] * 5),
    (Call.SUBMIT, ReadFailed(), [None] * 5),
    (Call.POLL, NotSent(), [None] * 5),
    (Call.POLL, ReadFailed(), [None] * 5),
    (Call.POLL, RateLimited("", 1), [None] * 5),
]


@pytest.mark.parametrize(("call", "error", "waits"), TABLE, ids=[f"{c.value} {e!r}"[:50] for c, e, _ in TABLE])
def test_only_what_was_surely_not_charged_is_sent_again(call: Call, error: PixverseError, waits: list[float | None]):
    """Not sent, or refused for its pace: after 1, 2, 4, 8 s or what the provider asks for. Everything else stops."""
    assert [wait_before_repeat(call, error, attempt, LIMITS) for attempt in (1, 2, 3, 4, 5)] == waits


def test_waits_double_up_to_their_limit():
    """With a backoff of 3 s and at most 20 s: 3, 6, 12, 20, 20 …, and never an overflow."""
    limits = Limits(backoff_seconds=3, max_wait_seconds=20, max_attempts=2000)
    waits = [wait_before_repeat(Call.SUBMIT, NotSent(), attempt, limits) for attempt in (1, 2, 3, 4, 5, 1000)]
    assert waits == [3, 6, 12, 20, 20, 20]
