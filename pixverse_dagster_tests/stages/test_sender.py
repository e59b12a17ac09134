"""The one sender: what may be sent again, what must not, and how slowly, judged by a real server's count."""

from __future__ import annotations

import gzip
import pickle
import re
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import httpx
import pytest

from pixverse_dagster.core.errors import (
    NotSent,
    OutcomeUnknown,
    OutOfCredit,
    PixverseError,
    RateLimited,
    ReadFailed,
    Refused,
    Unauthorized,
)
from pixverse_dagster.core.outcomes import Accepted, Running
from pixverse_dagster.providers import MODELS
from pixverse_dagster.providers.base import Provider, TaskRef
from pixverse_dagster.providers.highway.protocol import Highway
from pixverse_dagster.providers.pixwith import Pixwith
from pixverse_dagster.providers.runware.protocol import Runware
from pixverse_dagster.transport.client import ProviderClient
from pixverse_dagster.transport.sender import MAX_ANSWER_BYTES, HttpSender, Limits
from pixverse_dagster_tests.harness.factories import send_submit
from pixverse_dagster_tests.harness.raw_http import (
    BOMB,
    KEEP,
    Script,
    Server,
    cut,
    drop,
    flood,
    gibberish,
    in_turn,
    read_request,
    reset,
    say,
    silence,
    trickle,
)

KEY = "k3y-of-the-account"
REQUEST = MODELS["highway/pixverse-v6-i2v"].model_validate({"prompt": "a kite", "image": "https://a.example/k.png"})
UUID = "0f6f1f0e-9f7b-4f5e-8c0a-6d2b7c1e9a33"
OK = say(200, b'{"task_id": "t1"}')
OK_AND_KEEP = say(200, b'{"task_id": "t1"}', KEEP)
RUNNING = say(200, b'{"task": {"status": "TASK_STATUS_PROCESSING"}}')
RUNNING_AND_KEEP = say(200, b'{"task": {"status": "TASK_STATUS_PROCESSING"}}', KEEP)
SLOW_DOWN = say(429, b'{"reason": "RATE_LIMIT_EXCEEDED"}', "Retry-After: 0.2")
QUICK = Limits(
    backoff_seconds=0.02,
    connect_timeout_seconds=0.3,
    submit_timeout_seconds=0.3,
    poll_timeout_seconds=0.3,
    max_attempts=3,
)


Start = Callable[..., tuple[Server, ProviderClient]]


@pytest.fixture
def serve() -> Iterator[Start]:
    """A function that starts a server with a script, and an account that sends to it."""
    started: list[tuple[Server, ProviderClient]] = []

    def start(script: Script, limits: Limits = QUICK, kind: type[Provider] = Highway) -> tuple[Server, ProviderClient]:
        server = Server(script)
        account = ProviderClient(kind(KEY, f"http://127.0.0.1:{server.port}"), HttpSender(limits))
        started.append((server, account))
        return started[-1]

    yield start
    for server, account in started:
        account.close()
        server.close()


def submit(account: ProviderClient) -> Accepted:
    return send_submit(account, REQUEST, {"prompt": "a kite"}, UUID)


def poll(account: ProviderClient) -> Any:
    return account.poll([TaskRef(UUID)])


def without_key(error: BaseException) -> None:
    """The key is in nothing that an error says, nor in what it remembers of the one before."""
    seen: BaseException | None = error
    while seen is not None:
        assert KEY not in f"{seen} {seen!r} {seen.args}"
        seen = seen.__cause__ or seen.__context__
    assert KEY.encode() not in pickle.dumps(error)


# What may have been paid for


LOST: list[tuple[str, Script]] = [
    ("dropped", drop),
    ("reset", reset),
    ("cut off", cut),
    ("not HTTP", gibberish),
    ("silent", silence),
    ("endlessly slow", trickle),
    ("endless", flood),
    ("bomb", say(200, BOMB, "Content-Encoding: gzip")),
    ("bomb in a bomb", say(200, gzip.compress(BOMB), "Content-Encoding: gzip, gzip")),
    ("broken gzip", say(200, b"not gzip", "Content-Encoding: gzip")),
    ("too large", say(200, b" " * (MAX_ANSWER_BYTES + 1))),
    ("not JSON", say(200, b"<html>")),
    ("not the contract", say(200, b'{"ok": true}')),
    ("HTTP 500", say(500, b'{"reason": "INTERNAL"}')),
    ("HTTP 502", say(502, b"bad gateway")),
    ("HTTP 503 without JSON", say(503, b"no healthy upstream")),
    ("a redirect", say(307, b"", "Location: /elsewhere")),
]


@pytest.mark.parametrize("script", [case[1] for case in LOST], ids=[case[0] for case in LOST])
def test_a_submit_without_a_clear_answer_is_sent_exactly_once(serve: Start, script: Script):
    """However the answer is lost: the outcome is unknown, in bounded time and memory, and nothing is sent again."""
    server, account = serve(script)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(OutcomeUnknown) as unknown:
        submit(account)
    assert time.monotonic() - began < 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    assert len(server.requests) == 1
    assert re.search(r"may have been|without a task_id", str(unknown.value))
    without_key(unknown.value)


POLL_LOST = [case for case in LOST if case[0] != "a redirect"]


@pytest.mark.parametrize("script", [case[1] for case in POLL_LOST], ids=[case[0] for case in POLL_LOST])
def test_a_poll_without_a_clear_answer_is_a_failed_read(serve: Start, script: Script):
    """It is left to the next poll, so that one tick does not spend its time on one sick provider."""
    server, account = serve(script)
    began = time.monotonic()
    with pytest.raises(ReadFailed) as failed:
        poll(account)
    assert time.monotonic() - began < 3
    assert len(server.requests) == 1
    without_key(failed.value)


# What was surely not paid for


BODY = b'{"task": {"status": "TASK_STATUS_PROCESSING"}}'
REFUSED: dict[str, tuple[Script, str]] = {
    "larger than allowed": (say(200, BODY + b" " * MAX_ANSWER_BYTES), "answer larger than"),
    "packed twice": (say(200, gzip.compress(gzip.compress(BODY)), "Content-Encoding: gzip, gzip"), "any size"),
    "packed by brotli": (say(200, BODY, "Content-Encoding: br"), "any size"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_answer_that_could_fill_the_memory_is_not_read_whatever_it_says(serve: Start, name: str):
    """It is refused for what it may be: these here are good answers."""
    script, words = REFUSED[name]
    _, account = serve(script, Limits(poll_timeout_seconds=20))
    with pytest.raises(ReadFailed, match=words):
        poll(account)


def test_a_refused_connection_is_tried_as_often_as_allowed():
    """No byte left, so it is tried again, `max_attempts` times in all, with growing waits between."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    built: list[float] = []

    class Counting(Highway):
        def submit(self, request: Any, content: bytes) -> httpx.Request:
            built.append(time.monotonic())
            return super().submit(request, content)

    account = ProviderClient(Counting(KEY, f"http://127.0.0.1:{port}"), HttpSender(QUICK))
    with pytest.raises(NotSent, match="never left") as not_sent:
        submit(account)
    assert len(built) == 3
    first, second = (later - earlier for earlier, later in pairwise(built))
    assert first >= 0.02
    assert second >= 0.04
    without_key(not_sent.value)
    with pytest.raises(NotSent):
        poll(account)
    account.close()


def test_a_provider_that_comes_back_is_reached_by_a_later_try():
    """A connection that was refused twice and then taken is one submit."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    servers: list[Server] = []

    class Reviving(Highway):
        built = 0

        def submit(self, request: Any, content: bytes) -> httpx.Request:
            self.built += 1
            if self.built == 3:
                servers.append(Server(OK))
                self.base_url = f"http://127.0.0.1:{servers[0].port}"
            return super().submit(request, content)

    account = ProviderClient(Reviving(KEY, f"http://127.0.0.1:{port}"), HttpSender(QUICK))
    assert submit(account) == Accepted("t1")
    assert len(servers[0].requests) == 1
    account.close()
    servers[0].close()


def test_a_rate_limit_is_waited_for_and_then_tried_again(serve: Start):
    """429 with Retry-After 0.2: the next request comes after that, and its answer counts."""
    server, account = serve(in_turn(SLOW_DOWN, SLOW_DOWN, OK))
    assert submit(account) == Accepted("t1")
    gaps = [later - earlier for earlier, later in pairwise(server.times)]
    assert len(gaps) == 2
    assert all(0.2 <= gap < 1 for gap in gaps), gaps
    assert len(set(server.requests)) == 1


def test_a_rate_limit_that_lasts_is_given_up_after_the_allowed_tries(serve: Start):
    """Exactly `max_attempts` requests arrive, and the error says how long to wait."""
    server, account = serve(SLOW_DOWN)
    with pytest.raises(RateLimited) as limited:
        submit(account)
    assert len(server.requests) == 3
    assert limited.value.retry_after_seconds == 0.2
    without_key(limited.value)


def test_a_wait_that_is_too_long_is_left_to_the_caller(serve: Start):
    """Retry-After of an hour: one request, at once an error."""
    server, account = serve(say(429, b"{}", "Retry-After: 3600"))
    with pytest.raises(RateLimited) as limited:
        submit(account)
    assert (len(server.requests), limited.value.retry_after_seconds) == (1, 3600)


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_rate_limit_holds_back_every_thread_of_the_account(serve: Start, concurrency: int):
    """The limit is the account's: no other submit goes out before the wait is over, also not one that was in line."""

    def limit(connection: socket.socket, number: int) -> None:
        threading.Event().wait(0.1)
        say(429, b"{}", "Retry-After: 0.4")(connection, number)

    server, account = serve(in_turn(limit, OK), QUICK.model_copy(update={"max_concurrency": concurrency}))
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(submit, account)
        while not server.requests:
            threading.Event().wait(0.005)
        threading.Event().wait(0.2 if concurrency > 1 else 0)
        others = [pool.submit(submit, account) for _ in range(4)]
        assert {future.result() for future in [first, *others]} == {Accepted("t1")}
    assert len(server.requests) == 6
    assert min(later - server.times[0] for later in server.times[1:]) >= 0.5


@pytest.mark.parametrize(
    ("status", "kind"), [(400, Refused), (401, Unauthorized), (402, OutOfCredit), (403, Refused), (404, Refused)]
)
def test_a_plain_refusal_is_sent_once(serve: Start, status: int, kind: type[Refused]):
    """Sending the same again would be refused the same."""
    server, account = serve(say(status, b'{"reason": "NO", "message": "no"}'))
    with pytest.raises(kind) as refused:
        submit(account)
    assert type(refused.value) is kind
    assert len(server.requests) == 1
    without_key(refused.value)


# Connections, concurrency, pace


def test_every_submit_has_a_connection_of_its_own(serve: Start):
    """On a kept-alive connection that the server just closed nobody could tell whether the request arrived."""
    peers: list[Any] = []

    def script(connection: socket.socket, number: int) -> None:
        peers.append(connection.getpeername())
        OK_AND_KEEP(connection, number)
        connection.settimeout(0.5)
        assert connection.recv(1) == b""  # the client closes, though the server would keep it open

    server, account = serve(script)
    for _ in range(3):
        assert submit(account) == Accepted("t1")
    assert len(set(peers)) == len(server.requests) == 3


def test_polls_reuse_their_connection(serve: Start):
    """A poll is free to repeat, and there are many."""
    connections: list[socket.socket] = []

    def script(connection: socket.socket, number: int) -> None:
        connections.append(connection)
        RUNNING_AND_KEEP(connection, number)
        while read_request(connection):
            RUNNING_AND_KEEP(connection, number)

    _, account = serve(script)
    for _ in range(5):
        assert poll(account) == {UUID: Running()}
    assert len(connections) == 1


@pytest.mark.parametrize("call", [submit, poll])
def test_no_more_calls_are_under_way_than_allowed(serve: Start, call: Callable[[ProviderClient], Any]):
    """Twenty threads at once, and the server never sees more than three; it does see three."""
    lock, under_way, most = threading.Lock(), 0, 0

    def script(connection: socket.socket, number: int) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        threading.Event().wait(0.05)
        with lock:
            under_way -= 1  # before the answer, which lets the next call go
        (OK if call is submit else RUNNING)(connection, number)

    limits = QUICK.model_copy(update={"max_concurrency": 3, "poll_timeout_seconds": 5, "submit_timeout_seconds": 5})
    server, account = serve(script, limits)
    with ThreadPoolExecutor(20) as pool:
        assert len([f.result() for f in [pool.submit(call, account) for _ in range(20)]]) == 20
    assert (len(server.requests), most) == (20, 3)


def test_submits_keep_their_pace(serve: Start):
    """600 a minute is one every 0.1 s, however many threads ask; polls are not held up."""
    server, account = serve(OK, QUICK.model_copy(update={"submits_per_minute": 600, "max_concurrency": 8}))
    with ThreadPoolExecutor(6) as pool:
        for sent in [pool.submit(submit, account) for _ in range(6)]:
            sent.result()
    times = sorted(server.times)
    assert all(later - times[0] >= 0.1 * n - 0.04 for n, later in enumerate(times)), times
    assert times[-1] - times[0] < 2


def test_closing_wakes_a_wait_and_nothing_is_sent(serve: Start):
    """A run that is cancelled does not sit out a minute's wait, and its row is known to be unpaid."""
    server, account = serve(OK, QUICK.model_copy(update={"submits_per_minute": 1}))
    assert submit(account) == Accepted("t1")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(submit, account)
        threading.Event().wait(0.1)
        began = time.monotonic()
        account.close()
        with pytest.raises(NotSent, match="Nothing was spent"):
            waiting.result()
    assert time.monotonic() - began < 1
    assert len(server.requests) == 1


# Secrets


def test_the_key_goes_to_the_provider_and_nowhere_else(serve: Start):
    """It is in the one header it belongs to, and in no repr of what carries it."""
    for kind, sent in (
        (Highway, f"Authorization: Bearer {KEY}"),
        (Runware, f"Authorization: Bearer {KEY}"),
        (Pixwith, f"Api-Key: {KEY}"),
    ):
        server, account = serve(drop, kind=kind)
        with pytest.raises(OutcomeUnknown) as unknown:
            submit(account)
        (request,) = server.requests
        assert (sent.encode() in request, request.count(KEY.encode())) == (True, 1)
        assert KEY not in f"{account!r} {account.provider!r} {account.sender!r} {account.sender.limits!r}"
        without_key(unknown.value)


def test_a_key_that_the_provider_repeats_is_not_repeated_to_a_person(serve: Start):
    """Error bodies quote headers now and then."""
    quoted = f'{{"reason": "NO", "message": "bad header Authorization: Bearer {KEY}"}}'.encode()
    for status in (400, 401, 500):
        _, account = serve(say(status, quoted))
        for call in (submit, poll):
            with pytest.raises(PixverseError) as refused:
                call(account)
            without_key(refused.value)
