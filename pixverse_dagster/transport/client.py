"""The client of one provider account."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import httpx

from pixverse_dagster.core.errors import NoAnswer, PixverseError, Unauthorized
from pixverse_dagster.core.manifest import World
from pixverse_dagster.core.outcomes import Accepted, AccountFacts, PollFact
from pixverse_dagster.core.price import Price
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.staging import Staged, StagedBytes
from pixverse_dagster.policy.budget import NO_LIMIT, Budget
from pixverse_dagster.providers.base import THIS_MACHINE, Provider, TaskRef
from pixverse_dagster.transport.sender import HttpSender


@dataclass(frozen=True)
class Outgoing:
    """A submit as it is sent: `content` is the JSON document, byte for byte; `reference` is our own id of the task."""

    request: Request
    content: bytes
    reference: str


@dataclass(frozen=True)
class ProviderClient:
    """The client of one provider account: its protocol and its sender. Provider resources make it.

    `name` is the user's own name of the account. `max_open_tasks` is how many of its tasks may be open at once, over
    all processes, and `budget` what may be spent there, by all pipelines of the ledger. `known_world` is given where
    the address does not tell: a simulator on another machine, or a way to the real provider that begins on this one.
    `unusable` says why nothing can be sent with the account's key. Such a client refuses every call before it is made:
    what is said of the account stays true, and the other accounts go on.
    """

    provider: Provider
    sender: HttpSender
    max_open_tasks: int | None = None
    name: str = ""
    budget: Budget = NO_LIMIT
    known_world: World | None = None
    unusable: str = ""

    @property
    def world(self) -> World:
        """Whether calls go to a real provider, or to a simulator: one on this machine, unless it is given."""
        here = httpx.URL(self.provider.base_url).host in THIS_MACHINE
        return self.known_world or ("simulator" if here else "live")

    @property
    def account(self) -> str:
        """The account's name in a ledger, which outlives its keys: the user's own, else that of its world.

        An account of the simulator never has the name of a real one.
        """
        parts = [self.provider.NAME, self.name or self.world]
        return "/".join([*parts, "simulator"] if self.name and self.world == "simulator" else parts)

    @property
    def costs_money(self) -> bool:
        """Whether calls go to a real provider, and not to a simulator."""
        return self.world == "live"

    def submit(self, before_send: Callable[[], Outgoing]) -> Accepted:
        """Submit a task: the paid call. Idempotent only with the same reference at a provider that is REPLAYABLE.

        `before_send` is called with a permit to send at once, before the first and before every further sending, and
        gives what is sent; what it raises ends the call, with nothing further sent. It is sent again only if it was
        certainly not accepted. If this returns, the task is billed once. Raises NotSent or Refused (not billed), or
        OutcomeUnknown (perhaps billed).
        """
        if self.unusable:
            raise Unauthorized(self.unusable)
        attempt = 0
        while True:
            with self.sender.permit():
                outgoing, attempt = before_send(), attempt + 1
                try:
                    answer = self.sender.submit(self.provider.submit(outgoing.request, outgoing.content))
                    return self.provider.read_submit(answer, outgoing.reference)
                except PixverseError as error:
                    if not self.sender.may_repeat(error, attempt):
                        raise

    def stage(self, image: StagedBytes) -> Staged:
        """Bring an image to the provider, so that a request may name it. Free; repeated where that may help.

        Raises NotSent or ReadFailed if it is not there for now, and Refused if the provider does not take it, or the
        key.
        """
        if self.unusable:
            raise Unauthorized(self.unusable)
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._stage_once(image)
            except PixverseError as error:
                if not self.sender.wait_to_upload_again(error, attempt):
                    raise

    def _stage_once(self, image: StagedBytes) -> Staged:
        steps, own_host = self.provider.stage(image), httpx.URL(self.provider.base_url).host
        try:
            request = next(steps)
            while True:
                request = steps.send(self.sender.upload(request, own_host))
        except StopIteration as end:
            return cast("Staged", end.value)

    def poll(self, tasks: Sequence[TaskRef], deadline: float = math.inf) -> dict[str, PollFact]:
        """Ask about at most `POLL_BATCH` tasks: one fact per task, by task id.

        Free and idempotent. Ends at the deadline, of `time.monotonic()`, at the latest. Raises ReadFailed or NotSent.
        """
        if self.unusable:
            raise NoAnswer(self.unusable)
        return self.provider.read_poll(self.sender.poll(self.provider.poll(tasks), deadline), tasks)

    def read_account(self, deadline: float = math.inf) -> AccountFacts | None:
        """Whether the provider takes the key, and what is left at the account; None where no free call tells.

        Free, sent once, ends at the deadline, of `time.monotonic()`. Raises Unauthorized, ReadFailed or NotSent.
        """
        if self.unusable:
            raise Unauthorized(self.unusable)
        request = self.provider.ask_account()
        return self.provider.read_account(self.sender.poll(request, deadline)) if request else None

    def read_prices(self, deadline: float = math.inf) -> tuple[Price, ...]:
        """What the provider lists as its prices, as far as a free call tells. Raises ReadFailed or NotSent."""
        request = None if self.unusable else self.provider.ask_prices()
        return self.provider.read_prices(self.sender.poll(request, deadline)) if request else ()

    def close(self) -> None:
        """Close the account's connections."""
        self.sender.close()
