"""Sends the provider calls: timeouts, concurrency, rate, and whether a call may be repeated."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from enum import Enum

import httpx
from pydantic import Field

from pixverse_dagster.core.errors import NoAnswer, NotSent, OutcomeUnknown, PixverseError, RateLimited, ReadFailed
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.text import shorten
from pixverse_dagster.core.values import FrozenModel
from pixverse_dagster.transport.addresses import NoAddress, PrivateAddress, check_spelled, public_addresses
from pixverse_dagster.transport.deadline import DEADLINE, DeadlineTransport
from pixverse_dagster.transport.logs import get_logger
from pixverse_dagster.transport.recording import Recorder

_STOPPED = "stopped before the request was sent. Nothing was spent"
get_logger()  # before the first call, which the HTTP library may log with its URL
MAX_ANSWER_BYTES = 8 * 1024 * 1024
_UPLOAD_BYTES_PER_SECOND = 50_000
# Raised before any byte of the request can have left this machine.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


class Call(Enum):
    """What a request is for. A submit costs money; a poll and an upload are free and can be repeated."""

    SUBMIT = "submit"
    POLL = "poll"
    UPLOAD = "upload"


class Limits(FrozenModel):
    """Limits on the calls to one provider account: rate, concurrency, timeouts and repetition."""

    max_concurrency: int = Field(
        default=3, ge=1, le=64, description="Submits at the same time, and as many polls, per process."
    )
    submits_per_minute: float | None = Field(default=None, gt=0, description="Submits per minute at most, per process.")
    connect_timeout_seconds: float = Field(default=10, gt=0)
    submit_timeout_seconds: float = Field(
        default=60,
        gt=0,
        le=3000,
        description="After this, the outcome of a submit is unknown; it is never sent again blindly.",
    )
    poll_timeout_seconds: float = Field(default=30, gt=0)
    max_attempts: int = Field(
        default=5, ge=1, description="How often a submit is sent at most, if it is rate-limited or never left."
    )
    backoff_seconds: float = Field(default=1, ge=0, description="First wait before sending again; doubles.")
    max_wait_seconds: float = Field(
        default=60,
        ge=0,
        description="The longest such wait. If a provider asks for more, all processes stop submitting for that time.",
    )


def wait_before_repeat(call: Call, error: PixverseError, attempt: int, limits: Limits) -> float | None:
    """How long to wait before sending again, or None: do not send again.

    A submit is repeated only if it certainly was not sent (NotSent) or was refused because of the rate (RateLimited).
    It is not repeated after OutcomeUnknown: it may have been billed. A failed poll is not repeated; the next poll is
    soon enough. An upload is repeated after every error that may pass. The wait is 1, 2, 4, 8 … seconds by default, or
    what `Retry-After` asks for. If that is longer than `max_wait_seconds`, the call is not repeated here, and the
    caller has to wait.
    """
    if call is Call.POLL or attempt >= limits.max_attempts:
        return None
    wait = min(limits.backoff_seconds * 2 ** (attempt - 1), limits.max_wait_seconds)
    if isinstance(error, RateLimited):
        wait = max(wait, error.retry_after_seconds or 0)
        return wait if wait <= limits.max_wait_seconds else None
    passing = (NotSent, ReadFailed) if call is Call.UPLOAD else NotSent
    return wait if isinstance(error, passing) else None


class HttpSender:
    """Sends the calls of one account, within its limits. Thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.recorder: Recorder | None = None
        """Keeps every exchange, if there is one."""
        # Apart from each other: a submit that hangs holds up no poll, and no poll a submit.
        self._submit_slots = threading.BoundedSemaphore(limits.max_concurrency)
        self._poll_slots = threading.BoundedSemaphore(limits.max_concurrency)
        self._pace = threading.Lock()
        self._next_submit = 0.0
        self._held_until = 0.0
        self._stopped = threading.Event()
        self._calls = 0
        self._closing = False
        self._counting = threading.Lock()
        timeout = httpx.Timeout(limits.submit_timeout_seconds, connect=limits.connect_timeout_seconds)
        # A submit gets a connection of its own: on a kept-alive one that the server has just closed, it is not known
        # whether the request arrived.
        self._submits = httpx.Client(
            timeout=timeout, transport=DeadlineTransport(httpx.Limits(max_keepalive_connections=0))
        )
        # What is free must not hold up what is paid for, nor the other way round.
        self._uploads = httpx.Client(timeout=timeout, transport=DeadlineTransport(httpx.Limits()))
        # Where the provider wants to have an image: on its word, nothing goes into the network that we are in.
        self._public_uploads = httpx.Client(
            timeout=timeout, transport=DeadlineTransport(httpx.Limits(), public_addresses, check_spelled)
        )
        timeout = httpx.Timeout(limits.poll_timeout_seconds, connect=limits.connect_timeout_seconds)
        self._polls = httpx.Client(
            timeout=timeout, transport=DeadlineTransport(httpx.Limits(max_connections=limits.max_concurrency))
        )

    def stop(self) -> None:
        """Send no further submit: those that wait raise NotSent. Calls already sent are completed."""
        self._stopped.set()

    def close(self) -> None:
        """Stop, and close the connections: at once, or as soon as the calls that are under way have ended."""
        self.stop()
        with self._counting:
            self._closing = True
            idle = not self._calls
        if idle:
            self._close()

    def _close(self) -> None:
        for client in (self._submits, self._polls, self._uploads, self._public_uploads):
            client.close()

    @contextmanager
    def _under_way(self) -> Generator[None]:
        """A call, within which its connection stays open: the number of a closed one is soon another connection's."""
        with self._counting:
            if self._closing:
                raise NotSent(_STOPPED)
            self._calls += 1
        try:
            yield
        finally:
            with self._counting:
                self._calls -= 1
                last = self._closing and not self._calls
            if last:
                self._close()

    @contextmanager
    def permit(self) -> Generator[None]:
        """Wait for the turn to send one submit: the pace, what the provider asked for, and a free connection.

        What is sent within the context is sent at once. Raises NotSent if the sender was stopped.
        """
        while True:
            self._throttle()
            with self._submit_slots:
                if time.monotonic() < self._held_until:
                    continue  # the provider asked to slow down while this call waited
                if self._stopped.is_set():
                    raise NotSent(_STOPPED)
                yield
                return

    def submit(self, request: httpx.Request) -> httpx.Response:
        """Send a submit, once; only with a permit. Raises NotSent (not billed) or OutcomeUnknown (perhaps billed)."""
        return self._roundtrip(Call.SUBMIT, request)

    def may_repeat(self, error: PixverseError, attempt: int) -> bool:
        """Whether a submit may be sent again after the error of its attempt number `attempt`, counted from 1.

        If so, the next permit comes after the wait that the error calls for, for all threads.
        """
        wait = wait_before_repeat(Call.SUBMIT, error, attempt, self.limits)
        if wait is None:
            return False
        self._hold_submits(wait)
        return True

    def poll(self, request: httpx.Request, deadline: float = math.inf) -> httpx.Response:
        """Send a poll, once. Free. It ends at the deadline at the latest. Raises NotSent or ReadFailed."""
        wait = min(deadline - time.monotonic(), threading.TIMEOUT_MAX)
        if not self._poll_slots.acquire(timeout=max(wait, 0)):
            raise NotSent("no connection was free in time. Nothing was sent, nothing was spent")
        try:
            return self._roundtrip(Call.POLL, request, deadline)
        finally:
            self._poll_slots.release()

    def upload(self, request: httpx.Request, own_host: str) -> httpx.Response:
        """Send a step of an upload, once: to the provider's own host, or to one at a public address that it names.

        Free. Raises NotSent or ReadFailed.
        """
        if self._stopped.is_set():
            raise NotSent(_STOPPED)
        return self._roundtrip(Call.UPLOAD, request, is_own=request.url.host == own_host)

    def wait_to_upload_again(self, error: PixverseError, attempt: int) -> bool:
        """Wait as long as the error of this attempt at an upload calls for; False if it is not tried again."""
        wait = wait_before_repeat(Call.UPLOAD, error, attempt, self.limits)
        return wait is not None and not self._stopped.wait(wait)

    def _throttle(self) -> None:
        with self._pace:
            now = time.monotonic()
            start = max(now, self._next_submit)
            gap = 60 / self.limits.submits_per_minute if self.limits.submits_per_minute else 0.0
            self._next_submit = start + gap
        if self._stopped.wait(start - now):
            raise NotSent(_STOPPED)

    def _hold_submits(self, seconds: float) -> None:
        # All threads wait, not only the one that was refused: the limit is the account's.
        wait = seconds * random.uniform(1, 1.25)  # noqa: S311 - spreads load, guards nothing
        with self._pace:
            self._held_until = max(self._held_until, time.monotonic() + wait)
            self._next_submit = max(self._next_submit, self._held_until)

    def _roundtrip(
        self, call: Call, request: httpx.Request, until: float = math.inf, *, is_own: bool = True
    ) -> httpx.Response:
        uploads = self._uploads if is_own else self._public_uploads
        client, limit = {
            Call.SUBMIT: (self._submits, self.limits.submit_timeout_seconds),
            Call.POLL: (self._polls, self.limits.poll_timeout_seconds),
            Call.UPLOAD: (uploads, self.limits.submit_timeout_seconds + _upload_seconds(request)),
        }[call]
        deadline = min(time.monotonic() + limit + self.limits.connect_timeout_seconds, until)
        request.extensions = {"timeout": client.timeout.as_dict(), DEADLINE: deadline}
        try:
            with self._under_way():
                return self._recorded(call, request, client.send(request, stream=True))
        except _NOT_SENT as error:
            failed: PixverseError = NotSent(
                f"Nothing spent, for the {call.value} never left: {request.url.host} could not be reached "
                f"({_describe(error)})"
            )
        except PrivateAddress as error:
            failed = NotSent(
                f"Nothing spent, for the {call.value} never left: {request.url.host}, which the provider names, leads "
                f"to the private address {error.address}"
            )
        except NoAddress as error:
            failed = NotSent(f"Nothing spent, for the {call.value} never left: {error}")
        except (httpx.HTTPError, httpx.StreamError, ReadFailed) as error:
            words = _describe(error)
            silent = isinstance(error, httpx.TimeoutException)
            kind = NoAnswer if silent else ReadFailed
            failed = kind(f"the poll of {request.url.host} got no answer ({words}); polled again later")
            if call is Call.UPLOAD:
                failed = kind(f"Nothing spent: the upload to {request.url.host} got no answer ({words})")
            if call is Call.SUBMIT:
                failed = OutcomeUnknown(
                    f"It may have been charged, and is not sent again: the submit to {request.url.host} left and no "
                    f"answer came ({words})"
                )
        if self.recorder:
            self.recorder.keep(call.value, request, None, problem=str(failed))
        # Raised here, so that it has nothing of the library's error about it, which holds the request and its key.
        raise failed

    def _recorded(self, call: Call, request: httpx.Request, raw: httpx.Response) -> httpx.Response:
        answer = _read_bounded(raw)
        if self.recorder:
            self.recorder.keep(call.value, request, answer, raw.headers)
        return answer


def _upload_seconds(request: httpx.Request) -> float:
    """How long the body of a request may take on a slow line."""
    return int(request.headers.get("Content-Length", 0)) / _UPLOAD_BYTES_PER_SECOND


def _read_bounded(response: httpx.Response) -> httpx.Response:
    chunks: list[bytes] = []
    size = 0
    try:
        for chunk in response.iter_bytes():
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise ReadFailed(f"answer larger than {MAX_ANSWER_BYTES} bytes")
            chunks.append(chunk)
    finally:
        response.close()
    kept = {name: response.headers[name] for name in ("Retry-After",) if name in response.headers}
    return httpx.Response(response.status_code, headers=kept, content=b"".join(chunks))


def _describe(error: Exception) -> str:
    # Cut, because a library may quote the line that it could not read, however long it is.
    text = shorten(redact_text(str(error)), 300)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
