"""Responses that are not plain JSON: dropped connections, error pages, and clips, intact or faulty."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from pixverse_dagster.simulator.media import Clip
from pixverse_dagster.simulator.state import Order, SimulatorState, Task

TRANSPORT: Final = "simulator.transport"
_CHUNK_BYTES: Final = 256 * 1024
_SLOW_PIECES: Final = 20
_SLOW_SECONDS: Final = 2.4
Endpoint = Callable[[Request], Awaitable[tuple[str, Response]]]
"""Answers a request: gives the name of the call, under which it is counted, and the response."""
ApiRoute = tuple[str, str, Endpoint]
"""A path, its method and its endpoint."""


def base_url(request: Request) -> str:
    """The address that the client used, so that the URLs it is given lead back to this server."""
    return f"{request.url.scheme}://{request.headers['host']}"


def bearer_key(header: str | None) -> str | None:
    """The key in an `Authorization` header; None if it carries none."""
    return header.removeprefix("Bearer ") if header is not None and header.startswith("Bearer ") else None


def server_error() -> Response:
    """HTTP 500 without JSON, as from a proxy in front of a broken service."""
    return HTMLResponse("<html><body><h1>500 Internal Server Error</h1></body></html>", status_code=500)


class Dropped(Response):
    """Closes the connection without sending any byte of an answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - nothing is sent
        await hang_up(scope, receive)


def is_closing(scope: Scope) -> bool:
    """Whether the connection is closed, by either side."""
    transport: asyncio.Transport | None = scope.get(TRANSPORT)
    return transport is not None and transport.is_closing()


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Closes the transport after what was written. Returns once it is closed, so that the server sends nothing more.

    Raises:
        RuntimeError: the application does not run under `serve`, which gives it the transport.
    """
    transport: asyncio.Transport | None = scope.get(TRANSPORT)
    if transport is None:
        raise RuntimeError("a connection can only be dropped under pixverse_dagster.simulator.serve")
    transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass


def answer_submit(
    state: SimulatorState,
    orders: list[Order],
    *,
    refuse: Callable[[int], Response],
    receipt: Callable[[list[Task]], Response],
) -> Response:
    """Accepts valid orders and answers with `receipt`. If a fault is drawn, the two may not agree."""
    fault, accepted = state.submit_fault()
    tasks = [state.accept(order) for order in orders] if accepted else []
    if fault == "submit.rate_limited":
        answer = refuse(429)
        answer.headers["Retry-After"] = "1"
        return answer
    if fault == "submit.refused_503":
        return refuse(503)
    if fault == "submit.server_error":
        return server_error()
    return Dropped() if fault else receipt(tasks)


class ClipAnswer(Response):
    """A clip, as an object store answers a presigned URL, with one of the `media.` faults or none."""

    def __init__(self, clip: Clip, fault: str | None, on_complete: Callable[[], None]) -> None:
        super().__init__(media_type=clip.content_type)
        self.headers["Content-Length"] = str(clip.size_bytes)
        self.headers["ETag"] = f'"{clip.sha256[:32]}"'
        self._clip = clip
        self._fault = fault
        self._on_complete = on_complete

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body"})
            return
        for piece in self._pieces():
            if self._fault == "media.slow":
                await asyncio.sleep(_SLOW_SECONDS / _SLOW_PIECES)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            if is_closing(scope):
                break
        if self._fault == "media.truncated" or is_closing(scope):
            await hang_up(scope, receive)
            return
        await send({"type": "http.response.body", "body": self._clip.tail})
        if self._fault != "media.corrupt":
            self._on_complete()

    def _pieces(self) -> Iterator[Any]:
        """The clip without its tail, in pieces; only half the clip if the answer is to be cut short."""
        data = memoryview(self._clip.template.data)
        end = len(data)
        if self._fault == "media.truncated":
            end = self._clip.size_bytes // 2
        elif self._fault == "media.corrupt":
            data = memoryview(b"\0" * (end // 2) + data[end // 2 :])
        step = -(-end // _SLOW_PIECES) if self._fault == "media.slow" else _CHUNK_BYTES
        for at in range(0, end, step):
            yield data[at : min(at + step, end)]
