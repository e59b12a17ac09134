"""The images behind the links in a body: this server's own, or fetched as a provider fetches them."""

from __future__ import annotations

import asyncio
import http.client
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from pixverse_dagster.simulator.uploads import Uploads

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_FETCH_SECONDS: Final = 10.0
_CHUNK_BYTES: Final = 256 * 1024
_MOST_FETCHES: Final = 16
T = TypeVar("T")


class Unfetched(Exception):
    """The image behind the link was not fetched yet: it is fetched once everything else in the body is well."""


@dataclass(frozen=True)
class Samples:
    """The folder that `/samples/` serves, and the address by which URLs of this server are recognised."""

    folder: Path
    host: str
    port: int | None

    def owns(self, url: SplitResult) -> bool:
        """Whether the URL is of this server."""
        with suppress(ValueError):
            return url.netloc == self.host or (url.hostname in _LOOPBACK and url.port == self.port)
        return False

    def find(self, name: str) -> Path | None:
        """The file of that name, if it is directly in the folder; else None."""
        path = self.folder / name
        return path if "/" not in name and name not in ("", ".", "..") and path.is_file() else None


@dataclass(frozen=True)
class Links:
    """What the links of one body lead to.

    `account` is whose uploads it may name by their ids, and `known` says of links in which file their image is.
    """

    samples: Samples
    uploads: Uploads
    account: str
    known: Mapping[str, Path]
    fetched: dict[str, bytes | None] = field(default_factory=dict[str, bytes | None])
    wanted: dict[str, int] = field(default_factory=dict[str, int])
    """The links that are to be fetched, and how many bytes are too many."""

    def read(self, text: str, url: SplitResult, max_bytes: int) -> bytes | None:
        """The bytes behind a link; None if nothing can be fetched from there. Raises Unfetched."""
        if text in self.known:
            return self.known[text].read_bytes()
        if self.samples.owns(url):
            if url.path.startswith("/samples/"):
                path = self.samples.find(unquote(url.path.removeprefix("/samples/")))
                return path.read_bytes() if path else None
            if (kept := self.uploads.behind(url.path)) is not None:
                return kept.data
        if text not in self.fetched:
            self.wanted[text] = max_bytes
            raise Unfetched
        return self.fetched[text]

    def knows(self, uuid: str) -> bool:
        """Whether the account may name this image: one of another account it may not, nor one that is gone."""
        return self.uploads.may_use(uuid, self.account)

    def uploaded(self, uuid: str) -> bytes | None:
        """The bytes of an image that was uploaded here; None of one from elsewhere."""
        return self.uploads.named(uuid)


async def with_images(links: Links, check: Callable[[Links], T]) -> T:
    """What `check` gives. It is called again once the links were fetched that it asked for the first time.

    So nothing is fetched for a body that is refused for another reason.
    """
    found = check(links)
    if not links.wanted:
        return found
    read = await asyncio.gather(*(_fetch(url, max_bytes) for url, max_bytes in links.wanted.items()))
    links.fetched.update(zip(links.wanted, read, strict=True))
    return check(links)


_fetches = threading.BoundedSemaphore(_MOST_FETCHES)


async def _fetch(url: str, max_bytes: int) -> bytes | None:
    """What is behind the URL, one byte more than allowed at most; None if it cannot be fetched.

    In a thread that nobody waits for when the server stops: a host may hang.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes | None] = loop.create_future()

    def tell(data: bytes | None) -> None:
        if not answer.done():
            answer.set_result(data)

    def work() -> None:
        with _fetches:
            data = _read(url, max_bytes)
        with suppress(RuntimeError):  # the server has stopped meanwhile
            loop.call_soon_threadsafe(tell, data)

    threading.Thread(target=work, daemon=True).start()
    return await answer


def _read(url: str, max_bytes: int) -> bytes | None:
    # No proxy stands between this machine and itself.
    proxies: dict[str, str] | None = {} if urlsplit(url).hostname in _LOOPBACK else None
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(proxies),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    deadline = time.monotonic() + _FETCH_SECONDS
    data = bytearray()
    try:
        with opener.open(url, timeout=_FETCH_SECONDS) as response:
            while len(data) <= max_bytes and (chunk := response.read1(_CHUNK_BYTES)):
                data += chunk
                if time.monotonic() > deadline:
                    return None
            return None if _is_short(response, len(data), max_bytes) else bytes(data[: max_bytes + 1])
    except (OSError, ValueError, http.client.HTTPException):
        return None


def _is_short(response: Any, received: int, max_bytes: int) -> bool:
    """Whether the answer ended before the length that it said."""
    said = response.headers.get("Content-Length", "")
    return received <= max_bytes and said.isdigit() and received < int(said)
