"""The deadline of an exchange, and the proxies it may go through, against real servers."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from pixverse_dagster.transport.deadline import DEADLINE, DeadlineTransport, is_direct
from pixverse_dagster_tests.harness.raw_http import Server, say, trickle

OK = say(200, b"ok")


def get(url: str, seconds: float = math.inf) -> httpx.Response:
    with httpx.Client(transport=DeadlineTransport(httpx.Limits())) as client:
        return client.get(url, extensions={DEADLINE: time.monotonic() + seconds})


@pytest.fixture
def host() -> Iterator[Server]:
    server = Server(OK)
    yield server
    server.close()


def test_an_exchange_without_a_deadline_is_as_httpx_has_it(host: Server):
    """Status, headers and body come through, and the peer's address, which a download checks."""
    with (
        httpx.Client(transport=DeadlineTransport(httpx.Limits())) as client,
        client.stream("GET", f"http://127.0.0.1:{host.port}/a?b=c") as response,
    ):
        assert response.extensions["network_stream"].get_extra_info("server_addr") == ("127.0.0.1", host.port)
        assert (response.status_code, response.read(), response.headers["Content-Length"]) == (200, b"ok", "2")
    assert host.requests[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")


def test_a_deadline_that_has_passed_sends_nothing(host: Server):
    """It is a connect timeout, which says that nothing left."""
    with pytest.raises(httpx.ConnectTimeout):
        get(f"http://127.0.0.1:{host.port}", seconds=0)
    assert host.requests == []


def test_a_body_is_read_until_the_deadline_and_no_longer():
    """However quick each read is."""
    server, began = Server(trickle), time.monotonic()
    try:
        with pytest.raises(httpx.ReadTimeout):
            get(f"http://127.0.0.1:{server.port}", seconds=0.3)
        assert 0.3 <= time.monotonic() - began < 2
    finally:
        server.close()


def test_a_server_that_reads_slowly_has_until_the_deadline():
    """A request whose sending never ends is given up as well, as one that may have arrived."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        began = time.monotonic()
        with httpx.Client(transport=DeadlineTransport(httpx.Limits())) as client, pytest.raises(httpx.WriteTimeout):
            client.post(
                f"http://127.0.0.1:{listening.getsockname()[1]}",
                content=bytes(50_000_000),
                extensions={DEADLINE: began + 0.3},
            )
        assert time.monotonic() - began < 2


def test_requests_go_by_the_proxies_of_the_environment(host: Server, monkeypatch: pytest.MonkeyPatch):
    """As httpx goes by them itself, with the proxy's password; a host that is excepted is reached directly."""
    monkeypatch.setenv("http_proxy", f"http://user:s3cret@127.0.0.1:{host.port}")
    monkeypatch.setenv("no_proxy", "127.0.0.1,.direct.invalid")
    assert get("http://somewhere.invalid/x").text == "ok"
    assert host.requests[0].startswith(b"GET http://somewhere.invalid/x HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic " in host.requests[0]
    assert get(f"http://127.0.0.1:{host.port}/y").text == "ok"
    assert host.requests[1].startswith(b"GET /y HTTP/1.1\r\n")
    with pytest.raises(httpx.ConnectError):
        get("http://a.direct.invalid/")
    monkeypatch.delenv("http_proxy")
    monkeypatch.setenv("all_proxy", f"127.0.0.1:{host.port}")
    assert get("http://somewhere.invalid/z").text == "ok"


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd", "deflate,gzip", "identity, gzip, br"])
def test_a_body_that_may_unpack_to_any_size_is_refused(encoding: str):
    """Before a byte of it is unpacked."""
    server = Server(say(200, b"x", f"Content-Encoding: {encoding}"))
    try:
        with pytest.raises(httpx.DecodingError, match="any size"):
            get(f"http://127.0.0.1:{server.port}")
    finally:
        server.close()


DIRECT = [
    "http://127.0.0.1:9/",
    "http://localhost:9/",
    "http://[::1]:9/",
    "https://10.1.2.3:9/",
    "http://x.direct.invalid/",
]


@pytest.mark.parametrize(
    "proxy", ["socks://user:s3cret@proxy.invalid:1", "socks5h://proxy.invalid:1", "odd://s3cret:1"]
)
def test_a_proxy_that_cannot_be_used_is_named_where_it_is_needed_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """This machine and what `no_proxy` names, by network too, are reached without it; nothing was sent elsewhere."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setenv("no_proxy", "10.0.0.0/8, .direct.invalid")
    assert all(is_direct(httpx.URL(url)) for url in DIRECT)
    assert not is_direct(httpx.URL("http://11.1.2.3/"))
    transport = DeadlineTransport(httpx.Limits())
    with pytest.raises(httpx.ConnectError) as direct:
        transport.handle_request(httpx.Request("GET", DIRECT[0]))
    assert "proxy" not in str(direct.value)
    with pytest.raises(httpx.ConnectError, match=r"^the proxy .* of ALL_PROXY cannot be used .* NO_PROXY$") as refused:
        transport.handle_request(httpx.Request("GET", "http://provider.invalid/"))
    assert "user:s3cret" not in str(refused.value)
    transport.close()
