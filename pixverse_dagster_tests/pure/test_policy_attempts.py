"""When a row may be paid for once more."""

import pytest

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.policy.retry import RetryPolicy, may_attempt
from pixverse_dagster_tests.harness.factories import make_task


@pytest.mark.parametrize(
    ("ends", "policy", "allowed"),
    [
        ([], {}, True),
        (["refused", "refused"], {}, True),
        (["provider_error"], {}, False),
        (["provider_error"], {"provider_error": 1}, True),
        (["provider_error", "refused"], {"provider_error": 1}, True),
        (["submitted", "refused"], {"lost": 9}, False),
        (["stored", "lost"], {"lost": 9}, False),
        (["unknown", "refused", "refused"], {}, False),
        (["provider_error", "provider_error"], {"provider_error": 1}, False),
        (["provider_error", "refused"], {}, False),
        (["moderated"], {"provider_error": 3}, False),
        (["provider_error", "moderated"], {"provider_error": 1, "moderated": 1}, True),
        (["submitted"], {"lost": 9}, False),
        (["unknown"], {"lost": 9}, False),
        (["stored"], {"lost": 9}, False),
        (["abandoned"], {"lost": 9}, False),
    ],
)
def test_a_new_attempt_begins_only_where_nothing_was_paid_or_the_policy_says_so(
    ends: list[str],
    policy: dict[str, int],
    allowed: bool,  # noqa: FBT001 - a column of the table
):
    """The retry decision, over every way in which attempts can have ended."""
    kinds = {kind.value for kind in FailureKind}
    attempts = [
        make_task(claim=n, attempt=n, state=TaskState.FAILED, kind=FailureKind(end))
        if end in kinds
        else make_task(claim=n, attempt=n, state=TaskState(end))
        for n, end in enumerate(ends, start=1)
    ]
    assert may_attempt(attempts, RetryPolicy(**policy)) is allowed
