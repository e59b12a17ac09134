"""Whether a request may be paid for again: only where nothing was paid, or where a policy or a person allows it. Pure.

Repeats that cannot cost anything are decided elsewhere: of a submit that never left in `transport.sender`, of one
without an answer, under its own id, in `stages.resolve`. A changed row or a higher take is another request, with a
digest of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import Field

from pixverse_dagster.core.lifecycle import ANSWERS_REQUEST, FailureKind, TaskState
from pixverse_dagster.core.values import FrozenModel

if TYPE_CHECKING:
    from pixverse_dagster.core.task import Task


class RetryPolicy(FrozenModel):
    """How many further attempts follow a task that the provider ended without a clip, by the kind of its failure.

    Every one may be charged like the first, so all are 0 unless you say otherwise. Refused submits, which cost
    nothing, need no policy: any later submission attempts them again. A policy answers what fails after it was turned
    on or changed; what failed before stays as it is until a person retries it.
    """

    moderated: int = Field(default=0, ge=0, le=10, description="The provider's moderation declined the result.")
    provider_error: int = Field(default=0, ge=0, le=10, description="The provider failed.")
    expired: int = Field(default=0, ge=0, le=10, description="The result was gone before it was stored.")
    lost: int = Field(default=0, ge=0, le=10, description="The provider forgot the task, or never finished it.")

    def further_attempts(self, kind: FailureKind) -> int:
        """How many attempts may follow failures of this kind."""
        return int(getattr(self, kind.value))


NO_RETRIES = RetryPolicy()


@dataclass(frozen=True)
class Retries:
    """A retry policy, and where the ledger's history was when the policy was first seen, by kind of failure.

    It answers later failures only: turning a policy on does not buy what failed before. A kind that is absent from
    `since` was not seen yet, and no failure is later than it.
    """

    policy: RetryPolicy = NO_RETRIES
    since: Mapping[FailureKind, int] = field(default_factory=dict[FailureKind, int])

    def follow(self, failed: Task, failures: int) -> bool:
        """Whether a further attempt follows this failure, which is number `failures` of its kind."""
        kind, position = failed.kind, failed.failed_position
        if kind is None or kind not in self.since or position is None or position <= self.since[kind]:
            return False
        return failures <= self.policy.further_attempts(kind)


NOT_RETRIED = Retries()


def may_attempt(claims: Sequence[Task], retries: Retries = NOT_RETRIED) -> bool:
    """Whether a new paid attempt at a request may begin, given every claim of it so far, oldest first.

    Yes if nothing was paid: there was no claim yet, or all were refused. After a failure, only as often as the policy
    says and if it is older than the failure, or if a person released the task. Never while any claim may still bring a
    clip or its outcome is unknown.
    """
    if any(task.state in ANSWERS_REQUEST for task in claims):
        return False
    paid = [task for task in claims if task.state is not TaskState.REFUSED]
    if not paid:
        return True
    last = paid[-1]
    if last.released:
        return True
    if last.state is not TaskState.FAILED or last.kind is None:
        return False
    return retries.follow(last, sum(task.state is TaskState.FAILED and task.kind is last.kind for task in paid))
