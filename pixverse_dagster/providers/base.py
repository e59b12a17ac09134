"""What a provider is: it builds HTTP requests and reads HTTP responses, and does neither sending nor waiting."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx

from pixverse_dagster.core.errors import Unauthorized
from pixverse_dagster.core.outcomes import Accepted, PollFact
from pixverse_dagster.core.request import Request


@dataclass(frozen=True)
class TaskRef:
    """A task as a poll needs to know it."""

    task_id: str
    outputs: int = 1


class Provider(ABC):
    """One provider's protocol, with the account it speaks for. Builds requests, reads answers; sends nothing."""

    NAME: ClassVar[str]
    BASE_URL: ClassVar[str]
    MODELS: ClassVar[tuple[type[Request], ...]]
    POLL_BATCH: ClassVar[int] = 1
    """How many tasks one poll request may ask about."""
    REPLAYABLE: ClassVar[bool] = False
    """Whether the caller chooses the task's id, so that an unknown submit can be settled by asking and replaying."""

    def __init__(self, api_key: str, base_url: str | None = None) -> None:
        if not (api_key.isascii() and api_key.isprintable()):
            # An HTTP library would refuse the header later, and might quote the key.
            raise Unauthorized(
                f"the API key for {self.NAME} has a character that no header can carry. Nothing was sent"
            )
        self._api_key = api_key
        self.base_url = (base_url or self.BASE_URL).rstrip("/")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"

    def account(self, salt: str) -> str:
        """What tells this account from others in a ledger: the provider, and a salted digest of the key."""
        return f"{self.NAME}:{hashlib.sha256(f'{salt} {self._api_key}'.encode()).hexdigest()[:16]}"

    @abstractmethod
    def submit(self, request: Request, body: dict[str, Any], reference: str) -> httpx.Request:
        """Build the paid call."""

    @abstractmethod
    def read_submit(self, response: httpx.Response, reference: str) -> Accepted:
        """Read the answer to a submit. Raises Refused (not charged) or OutcomeUnknown (perhaps charged)."""

    @abstractmethod
    def poll(self, tasks: Sequence[TaskRef]) -> httpx.Request:
        """Build the free call that asks about tasks, at most POLL_BATCH of them."""

    @abstractmethod
    def read_poll(self, response: httpx.Response, tasks: Sequence[TaskRef]) -> dict[str, PollFact]:
        """Read the answer to a poll: one fact per task.

        Raises ReadFailed; a task it says nothing clear about is Running.
        """
