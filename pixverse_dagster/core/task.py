"""What the ledger records, as values: tasks, queued rows, rate limits, and the result of a transition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pixverse_dagster.core.lifecycle import OPEN_SUBMIT, Event, FailureKind, TaskState
from pixverse_dagster.core.manifest import Cost, InputImage
from pixverse_dagster.core.request import Request


@dataclass(frozen=True)
class Task:
    """One attempt at a request, as the ledger records it. It is paid for at most once.

    Times are seconds since the epoch.
    """

    id: str
    pipeline: str
    row: str
    digest: str
    attempt: int
    take: int
    request: Request
    images: Mapping[str, InputImage]
    labels: Mapping[str, str]
    client_reference: str
    """Our own id of the submit, made before it is sent."""
    state: TaskState
    run_id: str
    claimed_at: float
    account: str = ""
    released: bool = False
    """Whether a person allowed one more attempt after this one."""
    settled: str | None = None
    """What a person decided about the task, and when."""
    task_id: str | None = None
    kind: FailureKind | None = None
    reason: str | None = None
    note: str = ""
    """What the latest poll said besides the state."""
    urls: tuple[str, ...] = ()
    seeds: tuple[int | None, ...] = ()
    estimate_usd: float | None = None
    cost_usd: float | None = None
    polls: int = 0
    collects: int = 0
    submitted_at: float | None = None
    finished_at: float | None = None
    stored_at: float | None = None
    next_poll_at: float | None = None

    @property
    def resolves_itself(self) -> bool:
        """Whether the outcome of the submit is not known yet, and the poller will ask for it again."""
        return self.state in OPEN_SUBMIT and self.next_poll_at is not None

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self.request.provider()


@dataclass(frozen=True)
class QueuedRow:
    """A row that waits to be submitted, since when (seconds since the epoch), and why."""

    row: str
    digest: str
    account: str
    run_id: str
    reason: str
    since: float


@dataclass(frozen=True)
class RateLimitHold:
    """A pause in the submits to an account whose provider asked to slow down.

    `until` is in seconds since the epoch; `strikes` is how often in a row the provider asked.
    """

    until: float = 0.0
    strikes: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Applied:
    """The ledger made the transition; `task` is the task afterwards."""

    task: Task


@dataclass(frozen=True)
class MoveRefused:
    """The ledger did not make the transition, because the event is not allowed in the state of `task`."""

    task: Task
    event: Event


Move = Applied | MoveRefused
"""The result of a transition. In both cases `.task` is the task as it is now."""


def task_cost(task: Task) -> Cost:
    """What the task cost: the provider's figure, else the estimate made at its submit, else unknown."""
    if task.cost_usd is not None:
        return Cost(usd=task.cost_usd, source="provider")
    return Cost(usd=task.estimate_usd, source="unknown" if task.estimate_usd is None else "estimate")
