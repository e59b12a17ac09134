"""When a row may be paid for once more."""

from dataclasses import replace

import pytest

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.policy.retry import Retries, RetryPolicy, may_attempt
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
        (["claimed", "provider_error"], {"provider_error": 1}, False),
        (["succeeded", "provider_error"], {"provider_error": 1}, False),
        (["unknown", "provider_error"], {"provider_error": 1}, False),
        (["forgotten", "provider_error"], {"provider_error": 1}, False),
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
        make_task(claim=n, attempt=n, state=TaskState.FAILED, kind=FailureKind(end), failed_position=n)
        if end in kinds
        else make_task(claim=n, attempt=n, state=TaskState(end))
        for n, end in enumerate(ends, start=1)
    ]
    assert may_attempt(attempts, Retries(RetryPolicy(**policy), dict.fromkeys(FailureKind, 0))) is allowed


@pytest.mark.parametrize("kind", FailureKind)
@pytest.mark.parametrize(
    ("failed", "since", "allowed"), [(8, 7, True), (7, 7, False), (6, 7, False), (None, 7, False), (8, None, False)]
)
def test_a_policy_answers_only_what_failed_after_it_was_first_seen(
    kind: FailureKind,
    failed: int | None,
    since: int | None,
    allowed: bool,  # noqa: FBT001 - a column of the table
):
    """Turning it on buys nothing that failed before, of any kind; a person's word needs no policy."""
    policy = RetryPolicy(moderated=1, provider_error=1, expired=1, lost=1)
    retries = Retries(policy, {} if since is None else {kind: since})
    task = make_task(state=TaskState.FAILED, kind=kind, failed_position=failed)
    assert may_attempt([task], retries) is allowed
    assert may_attempt([replace(task, released=True)], retries)
