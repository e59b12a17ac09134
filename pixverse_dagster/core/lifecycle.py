"""The states of a task and the moves between them."""

from __future__ import annotations

from enum import StrEnum


class TaskState(StrEnum):
    """Where a task is. `claimed → submitted → succeeded → stored`; the others are ends."""

    CLAIMED = "claimed"
    SUBMITTED = "submitted"
    SUCCEEDED = "succeeded"
    STORED = "stored"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"
    ABANDONED = "abandoned"


PENDING = (TaskState.CLAIMED, TaskState.SUBMITTED, TaskState.SUCCEEDED)


class FailureKind(StrEnum):
    """Why an accepted task produced no clip."""

    MODERATED = "moderated"
    PROVIDER_ERROR = "provider_error"
    EXPIRED = "expired"
    LOST = "lost"
