"""What a provider's answer to a submit or a poll means."""

from __future__ import annotations

from dataclasses import dataclass, field

from pixverse_dagster.core.lifecycle import FailureKind
from pixverse_dagster.core.redaction import remember_result


@dataclass(frozen=True)
class Accepted:
    """The provider accepted the task. `wait_seconds` is its estimate of the time it needs, if it gives one."""

    task_id: str
    wait_seconds: float | None = None


@dataclass(frozen=True)
class AccountFacts:
    """The provider takes the account's key. `balance` is what is left there, in `unit`; None where it does not tell."""

    balance: float | None = None
    unit: str = ""


@dataclass(frozen=True)
class Missing:
    """The provider does not know the task. This is normal just after a submit; later, the task may be lost."""


@dataclass(frozen=True)
class Succeeded:
    """The clips are ready. `cost_usd` is the provider's figure, or None if it gives none; an unknown cost is not 0."""

    urls: tuple[str, ...]
    cost_usd: float | None = None
    seeds: tuple[int | None, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        for url in self.urls:
            remember_result(url)


@dataclass(frozen=True)
class Failed:
    """The provider ended the task without a clip.

    `names_task` says that the answer names the task's id: an error about the call alone says nothing of whose the task
    is.
    """

    kind: FailureKind
    reason: str
    names_task: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Running:
    """The task is not finished, or its status is not known here (`note` quotes it): keep polling.

    `so_far` is the outcome if nothing more arrives, for a task of which only some outputs have ended.
    """

    note: str = ""
    so_far: Succeeded | Failed | None = None


PollFact = Running | Missing | Succeeded | Failed
