"""An httpx transport with a deadline for the whole exchange.

httpx has timeouts for single reads only. A server that sends a byte now and then, or `100 Continue` again and again,
could keep an exchange open for ever. Here a request has a deadline for connecting, sending, headers and body together.
"""

from __future__ import annotations

import ipaddress
import math
import re
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, cast

import httpcore
import httpx

from pixverse_dagster.core.redaction import redact_url
from pixverse_dagster.core.secrets import remember_url

DEADLINE = "deadline"
"""The request extension that holds the deadline, as a value of `time.monotonic()`. Without it, there is none."""
_SLICE_BYTES = 64 * 1024
_FAULTS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)
_deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)
_called: ContextVar[tuple[str, str]] = ContextVar("called", default=("", ""))
"""An address, and the name that it was found for, which its certificate has to have."""
Resolve = Callable[[str, int], Sequence[str]]
"""Gives the addresses of a host and port that may be connected to. What it raises ends the exchange."""


@cache
def tls_context() -> ssl.SSLContext:
    """The trusted certificates, read once per process: it takes 25 ms, and every sensor tick makes new clients."""
    return httpx.create_ssl_context()


class DeadlineTransport(httpx.BaseTransport):
    """Sends requests over connections that keep the request's deadline. Thread-safe.

    Uses the proxies that the environment names, as httpx does. With `resolve`, a connection goes to an address that it
    gave, and a proxy is given such an address in place of the name; with `proxy_resolves`, which raises for what no
    proxy may be asked for, it is given the name.

    Raises httpx.DecodingError for an answer whose compression could expand a small piece to any size, what `resolve`
    raises, and httpx's other errors as usual.
    """

    def __init__(
        self, limits: httpx.Limits, resolve: Resolve | None = None, proxy_resolves: Resolve | None = None
    ) -> None:
        options: dict[str, Any] = {
            "ssl_context": tls_context(),
            "max_connections": limits.max_connections,
            "max_keepalive_connections": limits.max_keepalive_connections,
            "keepalive_expiry": limits.keepalive_expiry,
        }
        # An address may have several names, and a connection was made for one of them.
        kept = {"max_keepalive_connections": 0} if resolve and not proxy_resolves else {}
        self._options = options | kept | {"network_backend": _Backend()}
        self._resolve, self._proxy_resolves = resolve, proxy_resolves
        self._direct = httpcore.ConnectionPool(**options, network_backend=_Backend(resolve))
        self._proxies = {
            scheme: url
            for scheme, url in urllib.request.getproxies().items()
            if scheme in {"http", "https", "all"} and url
        }
        self._proxied: dict[str, httpcore.ConnectionPool] = {}
        self._opening = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read the headers of its answer. The body is read as the caller iterates over it."""
        url, deadline = request.url, request.extensions.get(DEADLINE, math.inf)
        pool = self._pool(url)
        host = url.raw_host if pool is self._direct else self._host_for_proxy(pool, url)
        core_url = httpcore.URL(scheme=url.raw_scheme, host=host, port=url.port, target=url.raw_path)
        content = cast("Iterable[bytes]", request.stream)
        core_request = httpcore.Request(
            request.method, core_url, headers=request.headers.raw, content=content, extensions=request.extensions
        )
        with _until(deadline), _calling(host.decode("ascii").strip("[]"), url.raw_host.decode("ascii")):
            answer = pool.handle_request(core_request)
        stream, extensions = _Body(answer, deadline), dict[str, Any](cast("Any", answer).extensions)
        response = httpx.Response(answer.status, headers=answer.headers, stream=stream, extensions=extensions)
        if _may_unpack_to_any_size(response.headers):
            stream.close()
            raise httpx.DecodingError("the answer is compressed in a way that may unpack to any size", request=request)
        return response

    def close(self) -> None:
        """Close every connection."""
        for pool in (self._direct, *self._proxied.values()):
            pool.close()

    def _host_for_proxy(self, pool: httpcore.ConnectionPool, url: httpx.URL) -> bytes:
        """The host that a proxy is asked for. It would resolve a name by itself, so it is given an address."""
        host, port = url.raw_host.decode("ascii"), url.port or 443
        if self._resolve and self._proxy_resolves:
            self._proxy_resolves(host, port)
        elif self._resolve:
            # The proxy's network may have no IPv6.
            host = min(self._resolve(host, port), key=lambda address: ":" in address)
        needs_brackets = ":" in host and not isinstance(pool, httpcore.SOCKSProxy)
        return (f"[{host}]" if needs_brackets else host).encode("ascii")

    def _pool(self, url: httpx.URL) -> httpcore.ConnectionPool:
        """The connections that a URL takes. A proxy is opened when it is first needed."""
        scheme = url.scheme if url.scheme in self._proxies else "all"
        if scheme not in self._proxies or is_direct(url):
            return self._direct
        with self._opening:
            if scheme not in self._proxied:
                self._proxied[scheme] = _proxy_pool(scheme, self._proxies[scheme], self._options)
            return self._proxied[scheme]


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response, deadline: float) -> None:
        self._answer = answer
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        parts = iter(cast("Iterable[bytes]", self._answer.stream))
        while True:
            with _until(self._deadline):
                part = next(parts, None)
            if part is None:
                return
            yield part

    def close(self) -> None:
        self._answer.close()


class _Backend(httpcore.SyncBackend):
    """Connects to the addresses that `resolve` gives for a host, one after another; without it, to the host."""

    def __init__(self, resolve: Resolve | None = None) -> None:
        self._resolve = resolve

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, *rest: Any, **more: Any) -> _Stream:
        *others, last = self._resolve(host, port) if self._resolve else (host,)
        for address in others:
            try:
                return self._connect(address, port, timeout, *rest, **more)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(last, port, timeout, *rest, **more)

    def _connect(self, address: str, port: int, timeout: float | None, *rest: Any, **more: Any) -> _Stream:
        left = _time_left(timeout, httpcore.ConnectTimeout)
        stream = _Stream(super().connect_tcp(address, port, left, *rest, **more))
        if self._resolve and not _is_same(peer := str(stream.get_extra_info("server_addr")[0]), address):
            stream.close()
            raise httpcore.ConnectError(f"the connection to {address} leads to {peer}; nothing was sent")
        return stream


class _Stream(httpcore.NetworkStream):
    """A connection on which no operation lasts longer than the deadline of the current exchange."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _time_left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # In slices: httpcore would apply the time left at the start to every part that it sends.
        for at in range(0, len(buffer), _SLICE_BYTES):
            self._inner.write(buffer[at : at + _SLICE_BYTES], _time_left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> _Stream:
        left = _time_left(timeout, httpcore.ConnectTimeout)
        address, name = _called.get()
        return _Stream(
            self._inner.start_tls(ssl_context, name if server_hostname == address else server_hostname, left)
        )

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _is_same(address: str, other: str) -> bool:
    first, second = (ipaddress.ip_address(text.partition("%")[0]) for text in (address, other))
    return first == second


def _time_left(timeout: float | None, error: type[Exception]) -> float | None:
    """The timeout, cut at the deadline. Raises `error` if the deadline has passed."""
    left = _deadline.get() - time.monotonic()
    if left <= 0:
        raise error("it did not end in time")
    return timeout if left == math.inf else min(left, left if timeout is None else timeout)


@contextmanager
def _until(deadline: float) -> Generator[None]:
    """Apply the deadline to all operations in the block, and raise httpcore's errors as httpx's."""
    token = _deadline.set(deadline)
    try:
        yield
    except _FAULTS as error:
        # The two libraries use the same names.
        raise getattr(httpx, type(error).__name__)(str(error)) from error
    finally:
        _deadline.reset(token)


@contextmanager
def _calling(address: str, name: str) -> Generator[None]:
    """Check certificates of this address, in the block, by the name that it was found for."""
    token = _called.set((address, name))
    try:
        yield
    finally:
        _called.reset(token)


def is_direct(url: httpx.URL) -> bool:
    """Whether no proxy stands before a host: it is on this machine, or `no_proxy` names it, also by its network."""
    if urllib.request.proxy_bypass(url.netloc.decode("ascii")) or url.host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(url.host)
    except ValueError:
        return False
    named = urllib.request.getproxies().get("no", "").split(",")
    return address.is_loopback or any(address in network for text in named if (network := _network(text.strip())))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _proxy_pool(scheme: str, url: str, options: dict[str, Any]) -> httpcore.ConnectionPool:
    url = url if "://" in url else f"http://{url}"
    url = re.sub(r"^socks(5h)?://", "socks5://", url)
    remember_url(url)
    try:
        proxy = httpx.Proxy(url)
        kind = httpcore.SOCKSProxy if proxy.url.scheme.startswith("socks") else httpcore.HTTPProxy
        return kind(str(proxy.url), proxy_auth=proxy.raw_auth, **options)
    except (ValueError, RuntimeError, ImportError, httpx.InvalidURL) as error:
        # Not connected, so nothing was sent; the library's own words may hold the password.
        remedy = "install httpx[socks], or another proxy" if url.startswith("socks") else "correct it"
        raise httpx.ConnectError(
            f"the proxy {redact_url(url)} of {scheme.upper()}_PROXY cannot be used ({type(error).__name__}): {remedy}, "
            "or name the host in NO_PROXY"
        ) from None


def _may_unpack_to_any_size(headers: httpx.Headers) -> bool:
    # One layer of gzip or deflate expands the bytes of one read at most a thousand times or so.
    layers = [layer.lower() for layer in headers.get_list("Content-Encoding", split_commas=True)]
    layers = [layer for layer in layers if layer not in {"", "identity"}]
    return len(layers) > 1 or bool({"br", "zstd"}.intersection(layers))
