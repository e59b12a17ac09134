"""The client of one provider account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from pixverse_dagster.core.outcomes import Accepted, PollFact
from pixverse_dagster.core.request import Request
from pixverse_dagster.providers.base import Provider, TaskRef
from pixverse_dagster.transport.sender import Call, HttpSender

_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class ProviderClient:
    """The client of one provider account: its protocol and its sender. Provider resources make it.

    `max_open_tasks` is how many tasks of the account may be open at once, over all processes; None is no limit.
    """

    provider: Provider
    sender: HttpSender
    max_open_tasks: int | None = None

    @property
    def costs_money(self) -> bool:
        """Whether calls go to a real provider, and not to a simulator on this machine."""
        return httpx.URL(self.provider.base_url).host not in _THIS_MACHINE

    def submit(self, request: Request, body: dict[str, Any], reference: str) -> Accepted:
        """Submit a task: the paid call. Idempotent only with the same `reference` at a provider that is REPLAYABLE.

        If it returns, the task is billed once. Raises NotSent or Refused (not billed), or OutcomeUnknown (perhaps
        billed).
        """
        return self.sender.exchange(
            Call.SUBMIT,
            lambda: self.provider.submit(request, body, reference),
            lambda response: self.provider.read_submit(response, reference),
        )

    def poll(self, tasks: Sequence[TaskRef]) -> dict[str, PollFact]:
        """Ask about at most `POLL_BATCH` tasks: one fact per task, by task id.

        Free and idempotent. Raises ReadFailed or NotSent.
        """
        return self.sender.exchange(
            Call.POLL, lambda: self.provider.poll(tasks), lambda response: self.provider.read_poll(response, tasks)
        )

    def close(self) -> None:
        """Close the account's connections."""
        self.sender.close()
