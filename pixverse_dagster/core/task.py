"""What the ledger records, as values: tasks, queued rows, holds of accounts, and the result of a transition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pixverse_dagster.core.lifecycle import ANSWERS_REQUEST, OPEN_SUBMIT, TRANSITIONS, Event, FailureKind, TaskState
from pixverse_dagster.core.manifest import Cost, Difference, InputImage, World
from pixverse_dagster.core.request import Request


class OfTask(Protocol):
    """What a document in a store says of the task that it is about: a manifest, or a tombstone."""

    @property
    def account(self) -> str: ...

    @property
    def task_id(self) -> str: ...

    @property
    def client_reference(self) -> str: ...


@dataclass(frozen=True)
class Task:
    """One attempt at a request, as the ledger records it. It is paid for at most once.

    Times are seconds since the epoch.
    """

    id: str
    pipeline: str
    row: str
    digest: str
    claim: int
    """The number of the claim among those of the same request, from 1."""
    take: int
    request: Request
    images: Mapping[str, InputImage]
    labels: Mapping[str, str]
    client_reference: str
    """Our own id of the submit, made before it is sent."""
    state: TaskState
    run_id: str
    claimed_at: float
    differences: tuple[Difference, ...] = ()
    account: str = ""
    world: World = "live"
    digest_version: int = 1
    address_digest: str = ""
    attempt: int | None = None
    """The number of the paid attempt, from 1; given with the acceptance, so a refused submit has none."""
    folder: str = ""
    """The folder of the clips in the store; given with the attempt."""
    released: bool = False
    """Whether a person allowed one more attempt after this one."""
    decision: str | None = None
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
    lease_until: float | None = None
    """Until when the process that sends the submit has the task to itself."""
    submitted_at: float | None = None
    finished_at: float | None = None
    stored_at: float | None = None
    next_poll_at: float | None = None
    manifest_sha256: str | None = None
    """The sha256, in hex, of the manifest in the store."""
    key: str = ""
    """The fingerprint of the API key that it was claimed with; empty where that is not known."""
    found_at: float | None = None
    """When it was taken into this ledger from what the store holds; None if this ledger saw it from its claim on."""
    paid_by: str | None = None
    """The ledger that paid for it, where that is another one."""
    unread_since: float | None = None
    """Since when no answer of its provider about it could be read; None once one was."""
    stalled_at: float | None = None
    """Since when a person is to look at it, though its state stays: it cannot be read, or its clips not be reached."""
    failed_position: int | None = None
    """The position of its latest failure in the ledger's history; None if the ledger did not see it fail,
    or if no retry policy answers it any more."""

    @property
    def is_presumed(self) -> bool:
        """Whether it only stands for a submit that a lost ledger may have made: nobody knows of a charge for it."""
        return self.state is TaskState.UNKNOWN and self.found_at is not None and self.task_id is None

    @property
    def resolves_itself(self) -> bool:
        """Whether the outcome of the submit is not known yet, and the poller will ask for it again."""
        return self.state in OPEN_SUBMIT and self.next_poll_at is not None

    def allows(self, event: Event) -> bool:
        """Whether the event leaves the task's state, and its kind of failure; guards are the ledger's to check."""
        transition = TRANSITIONS[event]
        return self.state in transition.leaves and (
            self.state is not TaskState.FAILED or self.kind is None or self.kind in transition.kinds
        )

    def owns(self, document: OfTask) -> bool:
        """Whether a document in a store is of this very task: the same account, task id and client reference."""
        said = (document.account, document.task_id, document.client_reference)
        return said == (self.account, self.task_id or "", self.client_reference)

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self.request.provider()


@dataclass(frozen=True)
class QueuedRow:
    """A row that waits to be submitted to a provider, since when (seconds since the epoch), and why.

    `refusals` is how often in a row the provider refused it for itself, with the same `answer`, `trouble` what it was
    last told of its account, and `backfill_id` the backfill that asked.
    """

    row: str
    digest: str
    provider: str
    run_id: str
    reason: str
    since: float
    refusals: int = 0
    backfill_id: str = ""
    answer: str = ""
    trouble: str = ""


@dataclass(frozen=True)
class Place:
    """A row's place in the queue, and when its turn comes at the earliest (seconds since the epoch)."""

    entry: QueuedRow
    next_submit_at: float


class HoldCause(StrEnum):
    """What the trouble with an account is: all its rows would meet it."""

    PACE = "pace"
    KEY = "key"
    BALANCE = "balance"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True)
class AccountHold:
    """A pause in the submits to an account, after which one row tries whether it is over.

    `until` is in seconds since the epoch; `refusals` is how often in a row there was trouble, 0 if all is well; `key`
    is the fingerprint of the API key that met it.
    """

    until: float = 0.0
    refusals: int = 0
    reason: str = ""
    cause: HoldCause = HoldCause.PACE
    key: str = ""

    def rests(self, now: float, key: str) -> bool:
        """Whether rows are left where they are by themselves: what is wrong with one key says nothing of another."""
        return now < self.until and (self.cause is not HoldCause.KEY or self.key == key)

    def forbids(self, now: float) -> bool:
        """Whether nothing at all is sent: the provider asked for that. Other trouble a person may have ended."""
        return now < self.until and self.cause is HoldCause.PACE


@dataclass(frozen=True)
class Applied:
    """The ledger made the transition; `task` is the task afterwards."""

    task: Task


@dataclass(frozen=True)
class MoveRefused:
    """The ledger changed nothing, because the event is not allowed for the task as it is now: `current`.

    It has no `task`, so that no caller takes it for a success by accident.
    """

    current: Task
    event: Event


@dataclass(frozen=True)
class KeptApart:
    """An acceptance that could not be recorded on its task, and that is kept all the same: it was paid for.

    `task` holds the provider's id, or says whose id it is, and waits for a person. `reason` says what happened.
    """

    task: Task
    reason: str


Move = Applied | MoveRefused
"""The result of a transition."""
Acceptance = Applied | KeptApart
"""The result of recording an acceptance, which is never refused."""


def latest(move: Move) -> Task:
    """The task as it is after a move that was made or refused: for callers that go by the task's state alone."""
    return move.task if isinstance(move, Applied) else move.current


def governing(attempts: Sequence[Task]) -> Task | None:
    """The task that answers for a request, of all its claims: the newest that may bring a clip, else the newest."""
    ordered = sorted(attempts, key=lambda task: (task.state in ANSWERS_REQUEST, task.claim))
    return ordered[-1] if ordered else None


def task_cost(task: Task) -> Cost:
    """What the task cost: the provider's figure, else the estimate made at its submit, else unknown.

    Nothing is known of the cost of a task that is presumed only; its estimate counts once it is adopted.
    """
    if task.cost_usd is not None:
        return Cost(usd=task.cost_usd, source="provider")
    if task.is_presumed:
        return Cost(usd=None, source="unknown")
    return Cost(usd=task.estimate_usd, source="unknown" if task.estimate_usd is None else "estimate")
