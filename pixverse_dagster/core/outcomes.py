"""What the answer of a provider means."""

from __future__ import annotations

from dataclasses import dataclass

from pixverse_dagster.core.lifecycle import FailureKind


@dataclass(frozen=True)
class Accepted:
    """The provider took the task. `wait_seconds` is its own estimate, where it gives one."""

    task_id: str
    wait_seconds: float | None = None


@dataclass(frozen=True)
class Missing:
    """The provider does not know the task. True for a moment after a submit; later it may be lost."""


@dataclass(frozen=True)
class Succeeded:
    """The clips are ready. `cost_usd` is the provider's own figure, None where it gives none (never 0 for unknown)."""

    urls: tuple[str, ...]
    cost_usd: float | None = None
    seeds: tuple[int | None, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Failed:
    """The provider ended the task without a clip."""

    kind: FailureKind
    reason: str


@dataclass(frozen=True)
class Running:
    """The provider is at it, or says something nobody knows yet (`note`): keep polling.

    `so_far` is what to make of the task if nothing more ever comes: some outputs ended, the rest are silent.
    """

    note: str = ""
    so_far: Succeeded | Failed | None = None


PollFact = Running | Missing | Succeeded | Failed
