"""A provider that is sick: from one request to the next it hangs, floods, lies or is away, while the others are well.

Only the thread of the event loop uses it. What a sick provider holds or sends is bounded: so many requests are held at
a time and no more (each without its body), an answer has a last byte, and all of it ends when the client leaves, when
the provider is healed, and when the simulator stops.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast, get_args

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

from pixverse_dagster.simulator.faults import Sick, SickPart
from pixverse_dagster.simulator.responses import Dropped, Endpoint, hang_up, is_closing, server_error
from pixverse_dagster.simulator.state import SimulatorState

_MOST_HELD: Final = 256
"""Requests that hang or are answered slowly at a time; further ones are dropped."""
_BYTE_SECONDS: Final = 0.5
_FLOOD_BYTES: Final = 64 * 1024 * 1024
_FLOOD_PIECE: Final = b'{"data": [' + b" " * (256 * 1024)
_PAGE: Final = "<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Sign in to go on</h1></body></html>"
_IDS: Final = frozenset({"task_id", "taskUUID"})
_LIES: Final = frozenset[Sick]({"wrong_ids", "wrong_types"})
_LATE: Final = frozenset[Sick]({"hang", "slow"})
_ARRIVES_ANYWAY: Final = _LIES | {"slow"}
_NEVER_ARRIVES: Final = frozenset[Sick]({"away"})


@dataclass(frozen=True)
class Sickness:
    """What a provider has, and in which part: its API, its result files, or all of it."""

    kind: Sick
    part: SickPart = "all"
    healed: asyncio.Event = field(default_factory=asyncio.Event, compare=False)

    def named(self) -> dict[str, str]:
        """As it was asked for."""
        return {"kind": self.kind, "part": self.part}


class Sicknesses:
    """Which providers are sick, and how many requests they hold."""

    def __init__(self, state: SimulatorState, providers: Sequence[str]) -> None:
        self._state = state
        self._providers = tuple(providers)
        self._now: dict[str, Sickness] = {}
        self._held = 0

    def begin(self, asked: Any) -> None:
        """Make a provider sick: `{"provider": …, "kind": …, "part": …}`; what it had before is healed.

        Raises:
            ValueError: there is no such provider, kind or part.
        """
        given = cast("dict[str, Any]", asked) if isinstance(asked, dict) else {}
        provider = self._provider(given)
        kind, part = given.get("kind"), given.get("part", "all")
        if kind not in get_args(Sick) or part not in get_args(SickPart) or not {*given} <= {"provider", "kind", "part"}:
            known = f"kind ({', '.join(get_args(Sick))}) and part ({', '.join(get_args(SickPart))})"
            raise ValueError(f"expected are provider, {known}, not {given}")
        self._heal([provider])
        self._now[provider] = Sickness(cast("Sick", kind), part)

    def end(self, asked: Any) -> None:
        """Heal `{"provider": …}`, or all for `{}`. What is held is dropped.

        Raises:
            ValueError: there is no such provider.
        """
        given = cast("dict[str, Any]", asked) if isinstance(asked, dict) else {}
        self._heal([self._provider(given)] if given else self._providers)

    async def asked(self, request: Request) -> Response:
        """`POST` to `/_simulator/sick` or `/_simulator/heal`, or `GET /_simulator/sick`: who is sick, and with what."""
        if request.method == "POST":
            try:
                (self.begin if request.url.path.endswith("/sick") else self.end)(await request.json())
            except ValueError as error:
                return JSONResponse({"error": str(error)}, status_code=400)
        return JSONResponse({provider: sickness.named() for provider, sickness in self._now.items()})

    async def answer(self, provider: str, part: SickPart, endpoint: Endpoint, request: Request) -> Response:
        """The endpoint's answer, counted; or what the provider answers instead, if it is sick in this part."""
        found = self._now.get(provider)
        if found and found.part in ("all", part):
            self._state.count(provider, "sick", found.kind)
            return await self._answer(found, provider, endpoint, request)
        call, response = await endpoint(request)
        self._state.count(provider, call, "dropped" if isinstance(response, Dropped) else str(response.status_code))
        return response

    async def _answer(self, sickness: Sickness, provider: str, endpoint: Endpoint, request: Request) -> Response:
        """Half of the submits whose answer is lost are accepted and charged all the same.

        Those that are answered slowly or with a lie are all accepted; those to a provider that is away never are.
        """
        kind = sickness.kind
        arrives = self._state.faults.dice("sick/arrives").random() < 0.5  # noqa: PLR2004 - one in two
        real = None
        if kind in _ARRIVES_ANYWAY or (arrives and kind not in _NEVER_ARRIVES):
            _, real = await endpoint(request)
        if kind in _LIES:
            return _lie(kind, real, _another_id(self._state, provider, real))
        if kind in _LATE:
            return _Held(self, sickness, real if kind == "slow" else None)
        return {"away": Dropped, "error": server_error, "html": _page, "flood": lambda: _Flood(sickness)}[kind]()

    def hold(self) -> bool:
        """Whether one more request may be held; then `release` is called once."""
        if self._held >= _MOST_HELD:
            return False
        self._held += 1
        return True

    def release(self) -> None:
        """A held request has ended."""
        self._held -= 1

    def _provider(self, given: dict[str, Any]) -> str:
        if (provider := given.get("provider")) not in self._providers:
            raise ValueError(f"provider must be one of {', '.join(self._providers)}, not {provider!r}")
        return cast("str", provider)

    def _heal(self, providers: Sequence[str]) -> None:
        for provider in providers:
            if had := self._now.pop(provider, None):
                had.healed.set()


def _page() -> Response:
    return HTMLResponse(_PAGE)


class _Held(Response):
    """No answer at all, or the right one byte by byte: until the client leaves or the provider is healed."""

    def __init__(self, held: Sicknesses, sickness: Sickness, slowly: Response | None) -> None:
        super().__init__()
        self._held = held
        self._sickness = sickness
        self._slowly = slowly

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._held.hold():
            try:
                if self._slowly is None:
                    await _left(receive, self._sickness.healed)
                else:
                    await self._trickle(self._slowly, scope, receive, send)
            finally:
                self._held.release()
        if not is_closing(scope):
            await hang_up(scope, receive)

    async def _trickle(self, answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytes(answer.body)
        await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers})
        # A file's bytes are not at hand, nor does it ever come to its end.
        for at in range(int(answer.headers.get("content-length", 0))):
            byte = body[at : at + 1] or b"\0"
            await send({"type": "http.response.body", "body": byte, "more_body": True})
            if is_closing(scope) or await _left(receive, self._sickness.healed, _BYTE_SECONDS):
                return


class _Flood(Response):
    """An answer that does not end, as fast as the client reads it; after its last byte the connection is closed."""

    def __init__(self, sickness: Sickness) -> None:
        super().__init__(media_type="application/json")
        self._sickness = sickness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        for _ in range(0, _FLOOD_BYTES, len(_FLOOD_PIECE)):
            # It waits for the client to read, so that no more than the connection's buffer is kept.
            await send({"type": "http.response.body", "body": _FLOOD_PIECE, "more_body": True})
            await asyncio.sleep(0)
            if is_closing(scope) or self._sickness.healed.is_set():
                break
        if not is_closing(scope):
            await hang_up(scope, receive)


async def _left(receive: Receive, healed: asyncio.Event, timeout_seconds: float | None = None) -> bool:
    """Wait until the client leaves or the provider is healed; False if the time is over before. The body is dropped."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    waits = [asyncio.ensure_future(gone()), asyncio.ensure_future(healed.wait())]
    try:
        done, _ = await asyncio.wait(waits, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return bool(done)


def _another_id(state: SimulatorState, provider: str, real: Response | None) -> str | None:
    """The id of another task than the answer is about, for which somebody has asked; None if there is none.

    A receipt with the id of a task that nobody knows of would be a lie that no client can see through.
    """
    told = bytes(real.body).decode() if isinstance(real, JSONResponse) else ""
    known = (task.order.task_id for task in state.tasks.values() if task.order.provider == provider and task.polls)
    return next((task_id for task_id in known if task_id not in told), None)


def _lie(kind: Sick, real: Response | None, another: str | None) -> Response:
    """The real answer about another task, or with every value of another type. A file is a document, or as it is."""
    if not isinstance(real, JSONResponse):
        return real if real and kind == "wrong_ids" else JSONResponse({"status": ["ok"]})
    body = json.loads(bytes(real.body))
    changed = _with_id(body, another) if kind == "wrong_ids" else _mistyped(body)
    return JSONResponse(changed, status_code=real.status_code)


def _with_id(value: Any, another: str | None) -> Any:
    match value:
        case dict():
            items = cast("dict[str, Any]", value).items()
            return {key: another if key in _IDS else _with_id(inner, another) for key, inner in items}
        case list():
            return [_with_id(inner, another) for inner in cast("list[Any]", value)]
        case _:
            return value


def _mistyped(value: Any) -> Any:
    match value:
        case dict():
            return {key: _mistyped(inner) for key, inner in cast("dict[str, Any]", value).items()}
        case list():
            return {str(at): _mistyped(inner) for at, inner in enumerate(cast("list[Any]", value))}
        case str():
            return {"value": value}
        case _:
            return [str(value)]
