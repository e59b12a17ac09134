"""Acme: a provider that nobody has yet, in one file, as somebody would add it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import httpx
from pydantic import Field

from pixverse_dagster.core.errors import OutcomeUnknown
from pixverse_dagster.core.outcomes import Accepted, Missing, PollFact, Running, Succeeded
from pixverse_dagster.core.price import Price
from pixverse_dagster.core.request import CLIP, At, ImageRules, Request
from pixverse_dagster.providers.answers import mapping, read_json, unread_poll
from pixverse_dagster.providers.base import Provider, TaskRef
from pixverse_dagster.providers.fields import Resolution, one_of


class AcmeV9(Request):
    """PixVerse v9, from text."""

    MODEL: ClassVar[str] = "acme/pixverse-v9"
    ENDPOINT: ClassVar[str] = "v9"
    PRICES: ClassVar[tuple[Price, ...]] = (Price(model="acme/pixverse-v9", usd=0.25),)
    IMAGE_RULES: ClassVar[ImageRules] = ImageRules(
        formats=frozenset({"png"}),
        min_side=1,
        max_side=None,
        max_aspect=None,
        max_bytes=1,
        inline=False,
        source="Acme takes no images",
    )

    prompt: Annotated[str, Field(min_length=1, max_length=100), At("text", CLIP)]
    resolution: Annotated[Resolution, At("size", CLIP)] = "360p"
    duration_seconds: Annotated[int, one_of(1), At("seconds", CLIP)] = 1
    sparkle: Annotated[bool, At("sparkle", CLIP)] = False


class Acme(Provider):
    """Acme's API: a POST for each task, a GET for its end."""

    NAME = "acme"
    BASE_URL = "https://api.acme.example"
    MODELS = (AcmeV9,)

    def submit(self, request: Request, content: bytes) -> httpx.Request:
        """One POST per task."""
        del request
        return self._post_json("/tasks", content, {"X-Key": self._api_key})

    def read_submit(self, response: httpx.Response, reference: str) -> Accepted:
        """An id means accepted."""
        del reference
        task_id = mapping(read_json(response)).get("id")
        if not response.is_success or not task_id:
            raise OutcomeUnknown(f"Acme answered HTTP {response.status_code} without an id")
        return Accepted(str(task_id))

    def poll(self, tasks: Sequence[TaskRef]) -> httpx.Request:
        """One GET per task."""
        return httpx.Request("GET", f"{self.base_url}/tasks/{tasks[0].task_id}", headers={"X-Key": self._api_key})

    def read_poll(self, response: httpx.Response, tasks: Sequence[TaskRef]) -> dict[str, PollFact]:
        """A URL means done."""
        if response.status_code == 404:
            return {tasks[0].task_id: Missing()}
        if not response.is_success:
            raise unread_poll("Acme", response)
        url = mapping(read_json(response)).get("url")
        return {tasks[0].task_id: Succeeded((str(url),)) if url else Running()}
