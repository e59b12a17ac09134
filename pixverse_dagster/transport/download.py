"""Downloads from URLs that providers and tables name: result clips, input images and tables.

Size, time and redirects are limited, and private addresses are refused, so that a URL cannot reach into the network.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import BinaryIO

import httpx
from pydantic import Field

from pixverse_dagster.core.errors import NoAnswer, ReadFailed, ResultExpired
from pixverse_dagster.core.redaction import redact_text, show_url
from pixverse_dagster.core.secrets import remember_url
from pixverse_dagster.core.text import shorten
from pixverse_dagster.core.values import Digest, FrozenModel
from pixverse_dagster.transport.addresses import NoAddress, PrivateAddress, check_spelled, public_addresses
from pixverse_dagster.transport.deadline import DEADLINE, DeadlineTransport, Resolve, is_direct
from pixverse_dagster.transport.logs import get_logger
from pixverse_dagster.transport.marks import only_if_changed
from pixverse_dagster.transport.recording import Recorder

get_logger()  # before the first download, whose link the HTTP library may log
_GONE = {404, 410}
"""The HTTP statuses of a link that has expired or was withdrawn."""
_REFUSED = {400, 401, 403}
"""The same, where it is the host that says so, and not a web page of somebody between it and us."""
_PASSING = {408, 425, 429, *range(500, 600)} - {511}
"""Statuses that the same request may not get again; 511 is of a network that wants somebody to log in."""
_NOT_MODIFIED = 304
_HEAD_BYTES = 4096
_CODE = re.compile(rb"<code>\s*([\w.-]{1,60})\s*</code>", re.IGNORECASE)
_TITLE = re.compile(rb"<title>\s*([^<]{1,200})", re.IGNORECASE)
_ENCODED = re.compile(r'[\s"<>\\^`{|}]')
_HOST = re.compile(r"[\w.-]+|[0-9a-fA-F:.]+(%\w+)?")
_CHUNK_BYTES = 256 * 1024
_SILENT = (httpx.TimeoutException, httpx.ConnectError)


class DownloadRules(FrozenModel):
    """Limits for downloads of result clips, input images and tables."""

    allow_private_network: bool = Field(
        default=False,
        description="Allow loopback, private and link-local addresses: for the simulator, never in production.",
    )
    proxy_resolves_names: bool = Field(
        default=False,
        description="A proxy that the environment names is given names, not the addresses that were checked: for one "
        "that lets only named hosts through. It has to keep private addresses out by itself.",
    )
    max_bytes: int = Field(default=2 * 1024**3, gt=0)
    max_redirects: int = Field(default=3, ge=0)
    timeout_seconds: float = Field(default=30, gt=0, description="Timeout of one read.")
    total_timeout_seconds: float = Field(default=900, gt=0, description="For one file, all attempts together.")
    max_concurrency: int = Field(default=4, ge=1, le=64, description="How many at a time from one host.")
    max_attempts: int = Field(default=4, ge=1)
    backoff_seconds: float = Field(default=1, ge=0, description="First wait before reading again; doubles.")


class TooLarge(ReadFailed):
    """The file is larger than allowed, so reading it again is of no use."""


class NotTheFile(ReadFailed):
    """The host, or whoever is between it and us, answered with something else: the same link is not asked again."""


class NotChanged(ReadFailed):
    """The file is still the one with the mark that was given: nothing was read, for nothing is to be read."""


class NotFetched(ReadFailed):
    """The URL is none, or leads to where nothing is fetched from: it was not asked, and never will be."""


@dataclass(frozen=True)
class _Asked:
    """Where a file goes, how large it may be, who is told its headers, and what the host is asked with."""

    target: BinaryIO
    max_bytes: int
    told: Callable[[Mapping[str, str]], object]
    headers: Mapping[str, str]


class Downloader:
    """Streams URLs to files. Thread-safe. Sends no credentials: result URLs contain their own.

    `resolve` finds the addresses that may be connected to, unless the rules allow all.
    """

    def __init__(
        self,
        rules: DownloadRules,
        wait: Callable[[float], object] | None = None,
        resolve: Resolve = public_addresses,
    ) -> None:
        self.rules = rules
        self.recorder: Recorder | None = None
        """Keeps which file came from where, if there is one."""
        self._closed = threading.Event()
        self._wait = wait or self._closed.wait
        self._client = httpx.Client(
            timeout=httpx.Timeout(rules.timeout_seconds, connect=10),
            headers={"Accept-Encoding": "identity"},
            # Who downloads from how many hosts at a time is the callers' to bound: a host that hangs takes no other's.
            transport=_transport(rules, resolve),
            # No cookie is stored, so that no host receives one that it or another host has set.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )

    def close(self) -> None:
        """Close the connections. Nobody waits for another attempt any longer."""
        self._closed.set()
        self._client.close()

    def fetch(
        self,
        url: str,
        target: BinaryIO,
        max_bytes: int | None = None,
        max_attempts: int | None = None,
        *,
        told: Callable[[Mapping[str, str]], object] | None = None,
        known: str = "",
    ) -> Digest:
        """Stream a URL into `target`, from its start, and return digest and size. Failed reads are repeated.

        `told` is called with the headers of what is read. Raises NotChanged if it is the file with the mark `known`.

        Idempotent and free. Raises ResultExpired if the URL has expired, NotTheFile for any other answer that is not
        the file, NoAnswer if there was none, TooLarge for more than `max_bytes`, NotFetched for what is never asked
        for, and ReadFailed for everything else; `target` may then hold a part of the file.
        """
        deadline = time.monotonic() + self.rules.total_timeout_seconds
        for attempt in itertools.count(1):
            wait_seconds = self.rules.backoff_seconds * 2 ** (attempt - 1)
            target.seek(0)
            target.truncate()
            try:
                asked = _Asked(target, max_bytes or self.rules.max_bytes, told or _ignore, only_if_changed(known))
                return self._fetch_once(url, asked, deadline)
            except (ResultExpired, TooLarge, NotFetched, NotTheFile, NotChanged):
                raise
            except ReadFailed:
                last = attempt >= (max_attempts or self.rules.max_attempts)
                if last or time.monotonic() + wait_seconds >= deadline:
                    raise
            # What is wrong for a moment is still wrong a few milliseconds later.
            self._wait(wait_seconds)
        raise AssertionError("unreachable")

    def _fetch_once(self, url: str, asked: _Asked, deadline: float) -> Digest:
        kind = ReadFailed
        try:
            for _ in range(self.rules.max_redirects + 1):
                remember_url(url)
                _check_scheme(url)
                timed = {DEADLINE: deadline}
                with self._client.stream("GET", url, headers=asked.headers, extensions=timed) as response:
                    if response.next_request is not None:
                        url = str(response.next_request.url)
                        continue
                    if asked.headers and response.status_code == _NOT_MODIFIED:
                        raise NotChanged(f"{_shown(url)} has not changed")
                    asked.told(response.headers)
                    saved = _save(response, asked.target, asked.max_bytes)
                    if self.recorder:
                        self.recorder.keep_file(url, saved.size_bytes, saved.sha256)
                    return saved
            failed = f"{_shown(url)} redirects more than {self.rules.max_redirects} times"
        except (httpx.InvalidURL, UnicodeError) as error:
            failed = f"{_shown(url)} is not a URL ({shorten(redact_text(str(error)), 300)})"
            kind = NotFetched
        except PrivateAddress as error:
            failed = (
                f"{_shown(url)} leads to the private address {error.address} and is not fetched; "
                "set allow_private_network only for a server of your own"
            )
            kind = NotFetched
        except NoAddress:
            failed = f"the host of {_shown(url)} has no address{self._remedy(url)}"
            kind = NoAnswer
        except httpx.ProxyError as error:
            failed = (
                f"the proxy did not fetch {_shown(url)} ({shorten(redact_text(str(error)), 300)}){self._remedy(url)}"
            )
        except httpx.HTTPError as error:
            text = f"{type(error).__name__}: {shorten(redact_text(str(error)), 300)}"
            failed = f"{_shown(url)} could not be read to its end ({text})"
            kind = NoAnswer if isinstance(error, _SILENT) else ReadFailed
        # Raised here, so that it has nothing of the library's error about it, which holds the request.
        raise kind(failed)

    def _remedy(self, url: str) -> str:
        """What helps where a proxy is in between that wants names, or that alone can resolve them."""
        if self.rules.allow_private_network or self.rules.proxy_resolves_names or is_direct(httpx.URL(url)):
            return ""
        return "; if the proxy has to be given names and not addresses, set proxy_resolves_names"


def _transport(rules: DownloadRules, resolve: Resolve) -> DeadlineTransport:
    limits = httpx.Limits(max_keepalive_connections=rules.max_concurrency)
    if rules.allow_private_network:
        return DeadlineTransport(limits)
    return DeadlineTransport(limits, resolve, check_spelled if rules.proxy_resolves_names else None)


def _check_scheme(url: str) -> None:
    parsed = httpx.URL(url)
    if parsed.scheme not in {"http", "https"} or not _HOST.fullmatch(parsed.host):
        raise NotFetched(f"{_shown(url)} is not an http(s) URL and is not fetched")


def _ignore(_: Mapping[str, str]) -> None:
    pass


def _shown(url: str) -> str:
    return shorten(show_url(url), 300)


def read_refusal(response: httpx.Response, where: str) -> ReadFailed:
    """What an answer without the file means for its link."""
    head = b""
    for chunk in response.iter_bytes(_HEAD_BYTES):
        head += chunk
        if len(head) >= _HEAD_BYTES:
            break
    status, page = response.status_code, is_page(head)
    said = _CODE.search(head) or _TITLE.search(head)
    words = shorten(redact_text(" ".join(said.group(1).decode(errors="replace").split())), 100) if said else ""
    what = f"{where} answered HTTP {status}{' with a web page' if page else ''}{f' ({words})' if words else ''}"
    if status in _GONE or (status in _REFUSED and not page):
        return ResultExpired(f"{what}: the link has expired or was withdrawn")
    return ReadFailed(what) if status in _PASSING else NotTheFile(what)


def requested_url(url: str) -> str:
    """A URL as it is asked for: with spaces, and what is not ASCII, encoded. Any other is returned as it is."""
    if url.isascii() and not _ENCODED.search(url):
        return url
    try:
        parsed = httpx.URL(url)
        return str(parsed.copy_with(host=parsed.raw_host.decode()))
    except (httpx.InvalidURL, UnicodeError):
        return url


def is_page(head: bytes) -> bool:
    """Whether bytes that begin so are a web page."""
    lower = head[:_HEAD_BYTES].lower()
    return b"<html" in lower or b"<!doctype html" in lower


def _save(response: httpx.Response, target: BinaryIO, max_bytes: int) -> Digest:
    where = _shown(str(response.request.url))
    if not response.is_success:
        raise read_refusal(response, where)
    digest, size = hashlib.sha256(), 0
    for chunk in response.iter_bytes(_CHUNK_BYTES):
        size += len(chunk)
        if size > max_bytes:
            raise TooLarge(f"{where} is larger than {max_bytes} bytes")
        digest.update(chunk)
        target.write(chunk)
    expected = response.headers.get("Content-Length")
    received = response.num_bytes_downloaded
    if expected and expected.isdigit() and int(expected) != received:
        raise ReadFailed(f"{where} ended after {received} of {expected} bytes")
    if not size:
        raise ReadFailed(f"{where} is empty")
    target.flush()
    return Digest(digest.hexdigest(), size)
