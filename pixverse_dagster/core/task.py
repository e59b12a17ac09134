"""A task, and what stands around it: the row that waits for one, the account that asked to slow down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pixverse_dagster.core.lifecycle import OPEN_SUBMIT, Event, FailureKind, TaskState
from pixverse_dagster.core.manifest import Cost, InputImage
from pixverse_dagster.core.request import Request


@dataclass(frozen=True)
class Task:
    """One paid unit of work, as the ledger has it. Times are seconds since the epoch."""

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
    state: TaskState
    run_id: str
    claimed_at: float
    account: str = ""
    released: bool = False
    settled: str | None = None
    task_id: str | None = None
    kind: FailureKind | None = None
    reason: str | None = None
    note: str = ""
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
        """Whether the outcome of the submit is open and will be asked for again without anybody's doing."""
        return self.state in OPEN_SUBMIT and self.next_poll_at is not None

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self.request.provider()


@dataclass(frozen=True)
class QueuedRow:
    """A row that waits, and why. Times are seconds since the epoch."""

    row: str
    digest: str
    account: str
    run_id: str
    reason: str
    since: float


@dataclass(frozen=True)
class RateLimitHold:
    """An account that asked to slow down: until when it is left alone, and how often in a row it asked."""

    until: float = 0.0
    strikes: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Applied:
    """A move that the ledger made: the task as it is since then."""

    task: Task


@dataclass(frozen=True)
class MoveRefused:
    """A move that the ledger did not make: the task, as it is, was in a state that the event cannot leave."""

    task: Task
    event: Event


Move = Applied | MoveRefused
"""What became of a move. Whoever only needs the task as it now is reads `.task`."""


def task_cost(task: Task) -> Cost:
    """What the task cost: the provider's figure, else the estimate made when it was submitted, else unknown."""
    if task.cost_usd is not None:
        return Cost(usd=task.cost_usd, source="provider")
    return Cost(usd=task.estimate_usd, source="unknown" if task.estimate_usd is None else "estimate")
