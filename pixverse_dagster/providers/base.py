"""The interface of a provider: it builds HTTP requests and reads HTTP responses, but neither sends nor waits."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx

from pixverse_dagster.core.errors import ReadFailed, Unauthorized
from pixverse_dagster.core.outcomes import Accepted, AccountFacts, PollFact
from pixverse_dagster.core.price import Price
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.secrets import remember_secret, remember_url
from pixverse_dagster.core.staging import Staged, StagedBytes
from pixverse_dagster.providers.questions import OpenQuestion

THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})
_HOST = re.compile(r"[\w.-]+|[0-9a-fA-F:.]+(%\w+)?")


@dataclass(frozen=True)
class TaskRef:
    """What a poll needs to know of a task: its id at the provider and its number of outputs."""

    task_id: str
    outputs: int = 1


class Provider(ABC):
    """The protocol of one provider, with the API key of one account. Builds requests, reads answers, sends nothing."""

    NAME: ClassVar[str]
    """The part before the slash in the names of its models."""
    BASE_URL: ClassVar[str]
    OTHER_HOSTS: ClassVar[frozenset[str]] = frozenset()
    """Further hosts of the same service, with the same accounts."""
    MODELS: ClassVar[tuple[type[Request], ...]]
    POLL_BATCH: ClassVar[int] = 1
    """How many tasks one poll request may ask about."""
    REPLAYABLE: ClassVar[bool] = False
    """Whether the caller chooses the task's id.

    If so, a submit of unknown outcome can be resolved: ask for the id, and if it is not known, send the submit again.
    """

    TAKES_UPLOADS: ClassVar[bool] = False
    """Whether `stage` brings an image to the provider, so that a request may name it."""
    UPLOAD_MAX_SIDE: ClassVar[int | None] = None
    """The longest side, in pixels, that the provider keeps of an upload as it is; None if it keeps every size."""
    TELLS_BALANCE: ClassVar[bool] = False
    """Whether `read_account` reads what is left at the account."""
    QUESTIONS: ClassVar[tuple[OpenQuestion, ...]] = ()
    """What is only assumed about the provider, and what would settle it."""

    def __init__(self, api_key: str, base_url: str | None = None) -> None:
        if not (api_key.isascii() and api_key.isprintable()):
            # The HTTP library would refuse the header later, and its error might quote the key.
            raise Unauthorized(
                f"the API key for {self.NAME} has a character that no header can carry. Nothing was sent"
            )
        remember_secret(api_key)
        remember_url(base_url or "")
        self._api_key = api_key
        self.base_url = (base_url or self.BASE_URL).rstrip("/")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"

    def fingerprint(self, salt: str) -> str:
        """A salted digest of the API key, which does not reveal it: tells keys of an account apart.

        The same key at a host that is neither the provider's own nor on this machine is another one: nobody knows whose
        accounts are there.
        """
        host = httpx.URL(self.base_url).host
        known = {httpx.URL(self.BASE_URL).host, *self.OTHER_HOSTS, *THIS_MACHINE}
        words = f"{salt} {self._api_key}" if host in known else f"{salt} {self._api_key} {host}"
        return hashlib.sha256(words.encode()).hexdigest()[:16]

    def envelope(self, request: Request, body: dict[str, Any], reference: str) -> Any:
        """The JSON document of the paid call. `reference` is our own id of the task, for providers that accept one."""
        del request, reference
        return body

    @abstractmethod
    def submit(self, request: Request, content: bytes) -> httpx.Request:
        """Build the paid call; `content` is its envelope as JSON, byte for byte as it is sent."""

    @abstractmethod
    def read_submit(self, response: httpx.Response, reference: str) -> Accepted:
        """Read the answer to a submit. Raises Refused (not charged) or OutcomeUnknown (perhaps charged)."""

    def _post_json(self, path: str, content: bytes, headers: dict[str, str]) -> httpx.Request:
        headers = {**headers, "Content-Type": "application/json"}
        return httpx.Request("POST", self.base_url + path, headers=headers, content=content)

    @abstractmethod
    def poll(self, tasks: Sequence[TaskRef]) -> httpx.Request:
        """Build the free call that asks about at most POLL_BATCH tasks."""

    @abstractmethod
    def read_poll(self, response: httpx.Response, tasks: Sequence[TaskRef]) -> dict[str, PollFact]:
        """Read the answer to a poll: one fact per task, by task id.

        A task about which the answer is not clear is Running. Raises ReadFailed if it says nothing about any task.
        """

    def stage(self, image: StagedBytes) -> Generator[httpx.Request, httpx.Response, Staged]:
        """Bring an image to the provider: yields the calls, takes their answers, returns what a request may name.

        The calls are free and may be repeated. Only where the provider TAKES_UPLOADS. Raises Refused where it does not
        take the image or the key, and ReadFailed where an answer says nothing.
        """
        raise NotImplementedError(f"{self.NAME} takes no uploads ({image.name})")

    def ask_account(self) -> httpx.Request | None:
        """Build the free call that shows whether the key is taken, and what is left where that is told.

        None if no such call is known.
        """
        return None

    def read_account(self, response: httpx.Response) -> AccountFacts:
        """Read the answer. Raises Unauthorized if the key is refused, and ReadFailed if the answer does not tell."""
        raise ReadFailed(f"{self.NAME} was not asked (HTTP {response.status_code})")

    def ask_prices(self) -> httpx.Request | None:
        """Build the free call that asks for the account's prices; None if no such call is known."""
        return None

    def read_prices(self, response: httpx.Response) -> tuple[Price, ...]:
        """The prices in the answer, each of one shape. What cannot be read is left out."""
        del response
        return ()


def is_address(url: str) -> bool:
    """Whether a provider can be at this URL: it is http(s), and names a host."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError):
        return False
    return parsed.scheme in {"http", "https"} and bool(_HOST.fullmatch(parsed.host))
