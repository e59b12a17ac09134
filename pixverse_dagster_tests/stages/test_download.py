"""Fetching is bounded, repeatable, gives nothing away, and never reaches into a private network."""

import gzip
import hashlib
import io
import os
import socket
import threading
import tracemalloc
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pixverse_dagster.core.errors import ReadFailed, ResultExpired
from pixverse_dagster.core.values import Digest
from pixverse_dagster.transport.addresses import is_public, public_addresses
from pixverse_dagster.transport.deadline import Resolve
from pixverse_dagster.transport.download import Downloader, DownloadRules, NotFetched
from pixverse_dagster_tests.harness.raw_http import Server, say

DATA = os.urandom(700_001)
QUERY = "?X-Sim-Signature=s3cr3t"
OPEN = DownloadRules(allow_private_network=True, max_attempts=3, timeout_seconds=2, backoff_seconds=0.02)


class Handler(BaseHTTPRequestHandler):
    """Answers each path by the name of what shall go wrong."""

    protocol_version = "HTTP/1.1"
    server: "Host"  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Silent."""

    def do_GET(self) -> None:
        self.server.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        name, _, value = self.path.partition("?")[0].removeprefix("/").partition("/")
        getattr(self, f"_{name.replace('-', '_')}")(value)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for header, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _whole(self, _: str) -> None:
        self.answer(200, DATA, Set_Cookie="session=s3cr3t; Path=/")

    def _status(self, status: str) -> None:
        self.answer(int(status), b"<Error><Code>AccessDenied</Code></Error>")

    def _truncated(self, _: str) -> None:
        self.answer(200, DATA[:1000], Content_Length=str(len(DATA)), Connection="close")
        self.close_connection = True

    def _dropped(self, _: str) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _empty(self, _: str) -> None:
        self.answer(200)

    def _heals(self, after: str) -> None:
        bad = sum(path == self.path for path, _ in self.server.seen) <= int(after)
        self._truncated("") if bad else self._whole("")

    def _chunked(self, _: str) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(DATA), 100_000):
            piece = DATA[at : at + 100_000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _until_close(self, _: str) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(DATA)
        self.close_connection = True

    def _endless(self, _: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(10**12))
        self.end_headers()
        try:
            while True:
                self.wfile.write(DATA)
                self.server.sent += len(DATA)
        except OSError:
            self.close_connection = True

    def _large(self, size: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", size)
        self.end_headers()
        block = bytes(1_000_000)
        for _ in range(int(size) // len(block)):
            self.wfile.write(block)

    def _zipped(self, _: str) -> None:
        self.answer(200, gzip.compress(DATA), Content_Encoding="gzip")

    def _bomb(self, _: str) -> None:
        self.answer(200, gzip.compress(bytes(100_000_000)), Content_Encoding="gzip")

    def _redirects(self, left: str) -> None:
        self.answer(302, Location=f"/redirects/{int(left) - 1}" if int(left) > 1 else "/whole" + QUERY)

    def _to(self, place: str) -> None:
        self.answer(302, Location=self.server.places[place])


class Host(ThreadingHTTPServer):
    """A result host of somebody else's."""

    daemon_threads = True

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, 0), Handler)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.sent = 0
        self.places: dict[str, str] = {}

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}{QUERY}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what several tests are about."""


@contextmanager
def hosting(address: str = "127.0.0.1") -> Generator[Host]:
    with Host(address) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def host() -> Iterator[Host]:
    with hosting() as server:
        yield server


Fetch = Callable[..., Digest]


@contextmanager
def downloading(rules: DownloadRules = OPEN, resolve: Resolve = public_addresses) -> Generator[Downloader]:
    downloader = Downloader(rules, resolve=resolve)
    try:
        yield downloader
    finally:
        downloader.close()


@pytest.fixture
def downloader() -> Iterator[Downloader]:
    with downloading() as downloader:
        yield downloader


@pytest.mark.parametrize("path", ["whole", "chunked", "until-close", "redirects/3", "zipped"])
def test_a_download_has_the_digest_and_size_of_the_bytes(host: Host, downloader: Downloader, path: str):
    """Whatever way the bytes come, the file, its digest and its size are those of the content."""
    file = io.BytesIO(b"left over from an earlier attempt" * 100_000)
    got = downloader.fetch(host.url(path), file)
    assert got == Digest(hashlib.sha256(DATA).hexdigest(), len(DATA))
    assert file.getvalue() == DATA


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_link_that_no_longer_answers_is_expired_and_not_asked_again(host: Host, downloader: Downloader, status: int):
    """An expired link is an error of its own, because a poll may hand out another."""
    with pytest.raises(ResultExpired, match=f"HTTP {status}"):
        downloader.fetch(host.url(f"status/{status}"), io.BytesIO())
    assert len(host.seen) == 1


@pytest.mark.parametrize("path", ["status/500", "status/503", "status/429", "truncated", "dropped", "empty"])
def test_a_read_that_fails_is_repeated_and_then_a_failed_read(host: Host, downloader: Downloader, path: str):
    """A broken answer is asked for again, as often as the rules say; it never counts as expired or as a clip."""
    with pytest.raises(ReadFailed) as error:
        downloader.fetch(host.url(path), io.BytesIO())
    assert not isinstance(error.value, ResultExpired)
    assert len(host.seen) == 3
    assert "s3cr3t" not in str(error.value)
    assert host.url(path).removesuffix(QUERY) in str(error.value)


def test_a_read_that_heals_leaves_no_trace_of_the_broken_one(host: Host, downloader: Downloader):
    """The bytes of a broken answer are not in the file of the whole one."""
    file = io.BytesIO()
    assert downloader.fetch(host.url("heals/2"), file).size_bytes == len(DATA)
    assert file.getvalue() == DATA


def test_a_host_that_does_not_answer_is_a_failed_read(downloader: Downloader):
    """A refused connection and a name without address are failed reads, and say so without the query string."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        for url in (
            f"http://127.0.0.1:{unused.getsockname()[1]}/1.mp4{QUERY}",
            f"http://no-such-host.invalid/1{QUERY}",
        ):
            with pytest.raises(ReadFailed) as error:
                downloader.fetch(url, io.BytesIO())
            assert "s3cr3t" not in str(error.value)


@pytest.mark.parametrize("path", ["endless", "bomb"])
def test_nothing_larger_than_allowed_is_read_to_its_end(host: Host, path: str):
    """A body that is too large, or that unpacks to one, is given up early and never lands in the file."""
    file = io.BytesIO()
    rules = DownloadRules(allow_private_network=True, max_attempts=1)
    with downloading(rules) as downloader, pytest.raises(ReadFailed, match="larger than 2000000 bytes"):
        downloader.fetch(host.url(path), file, max_bytes=2_000_000)
    assert len(file.getvalue()) <= 2_000_000
    assert host.sent < 50_000_000


def test_a_body_that_never_ends_in_time_is_given_up(host: Host):
    """A total time bounds a download whose every single read is quick enough."""
    rules = DownloadRules(allow_private_network=True, max_attempts=1, total_timeout_seconds=0.3)
    with downloading(rules) as downloader, pytest.raises(ReadFailed, match="did not end in time"):
        downloader.fetch(host.url("endless"), io.BytesIO())


def test_what_a_link_permits_is_not_repeated_in_the_hosts_words(downloader: Downloader):
    """A signature that only the host knew, until its link was asked: from then on it is shown nowhere."""
    server = Server(say(403, b"<html><title>bad signature 4f1c9d2e77aa0b</title></html>"))
    try:
        with pytest.raises(ReadFailed, match="bad signature") as error:
            downloader.fetch(f"http://127.0.0.1:{server.port}/1.mp4?X-Sim-Signature=4f1c9d2e77aa0b", io.BytesIO())
    finally:
        server.close()
    assert "4f1c9d2e77aa0b" not in str(error.value)


def test_a_large_clip_is_not_held_in_memory(host: Host, downloader: Downloader, tmp_path: Path):
    """200 MB stream to a file within 20 MB of memory."""
    tracemalloc.start()
    try:
        with (tmp_path / "clip").open("w+b") as file:
            got = downloader.fetch(host.url("large/200000000"), file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert got.size_bytes == (tmp_path / "clip").stat().st_size == 200_000_000
    assert peak < 20_000_000


# --- redirects


def test_more_redirects_than_allowed_are_not_followed(host: Host, downloader: Downloader):
    """A chain of redirects ends at the limit, whatever stands at its end."""
    with pytest.raises(ReadFailed, match="redirects more than 3 times"):
        downloader.fetch(host.url("redirects/4"), io.BytesIO())


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/1", "gopher://127.0.0.1/1", "data:text/plain,x"]
)
def test_only_web_addresses_are_fetched_also_after_a_redirect(
    host: Host, downloader: Downloader, url: str, tmp_path: Path
):
    """No other scheme is followed, named directly or by a redirect, and the file stays empty."""
    host.places["there"] = url
    file = io.BytesIO()
    for start in (url, host.url("to/there")):
        with pytest.raises(NotFetched):
            downloader.fetch(start, file)
    assert file.getvalue() == b""


# --- private networks

STRICT = DownloadRules(max_attempts=1, timeout_seconds=2)


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1",
        "localhost",
        "LOCALHOST.",
        "0.0.0.0",  # noqa: S104 - to be refused
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "127.1",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "user:password@127.0.0.1",
    ],
)
def test_no_spelling_of_this_machine_is_reached(host: Host, name: str):
    """However an address of this machine is written, the request is refused before it leaves."""
    with downloading(STRICT) as downloader, pytest.raises(ReadFailed) as error:
        downloader.fetch(f"http://{name}:{host.server_port}/whole{QUERY}", io.BytesIO())
    assert host.seen == []
    assert "s3cr3t" not in str(error.value)
    assert "password" not in str(error.value)


def test_this_machine_is_not_reached_over_ipv6():
    """The loopback address of IPv6 is as private as that of IPv4."""
    with hosting("::1") as server, downloading(STRICT) as downloader:
        with pytest.raises(ReadFailed, match="private address ::1"):
            downloader.fetch(f"http://[::1]:{server.server_port}/whole", io.BytesIO())
        assert server.seen == []


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[fe80::1]",
        "[fd00::1]",
        "[ff02::1]",
        "[::]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::]",
    ],
)
def test_no_private_link_local_or_multicast_address_is_reached(address: str):
    """Metadata services and neighbours in the network are refused by their address, before any connection."""
    with downloading(STRICT) as downloader, pytest.raises(ReadFailed, match="private address"):
        downloader.fetch(f"http://{address}/latest/meta-data/", io.BytesIO())


def test_a_redirect_into_the_private_network_is_refused(host: Host):
    """What a public host may not be asked for directly, it may not be asked for by its redirect either."""
    # Only the first hop can be this machine in a test: it is allowed, as if it were public, and its target is not.
    host.places["inside"] = "http://169.254.169.254/latest/meta-data/"

    def resolve(name: str, port: int) -> Sequence[str]:
        return [name] if (name, port) == ("127.0.0.1", host.server_port) else public_addresses(name, port)

    with downloading(STRICT, resolve) as downloader, pytest.raises(ReadFailed, match=r"private address 169\.254\.169"):
        downloader.fetch(host.url("to/inside"), io.BytesIO())
    assert len(host.seen) == 1


def test_a_name_that_resolves_anew_is_asked_at_the_address_that_was_checked(host: Host):
    """A resolver that says something else whenever it is asked again is asked once, and the host gets no request."""
    answers: list[str] = []

    def resolve(_name: str, _port: int) -> Sequence[str]:
        answers.append("127.0.0.1" if answers else "127.0.0.9")  # where nobody listens
        return answers[-1:]

    with downloading(STRICT, resolve) as downloader, pytest.raises(ReadFailed):
        downloader.fetch(f"http://rebinding.invalid:{host.server_port}/whole", io.BytesIO())
    assert answers == ["127.0.0.9"]
    assert host.seen == []


def test_a_connection_that_leads_elsewhere_than_was_checked_gets_no_byte(host: Host):
    """Whatever is between the resolver and the socket: the kernel takes 0.0.0.0 for this machine."""
    with (
        downloading(STRICT, lambda _name, _port: ["0.0.0.0"]) as downloader,  # noqa: S104 - connected to, not bound
        pytest.raises(ReadFailed, match=r"leads to 127\.0\.0\.1; nothing was sent"),
    ):
        downloader.fetch(f"http://elsewhere.invalid:{host.server_port}/whole", io.BytesIO())
    assert host.seen == []


def test_every_address_of_a_name_is_tried_until_one_answers(host: Host):
    """As any client does; a name is refused as a whole if one of its addresses is private."""
    with downloading(STRICT, lambda _name, _port: ["127.0.0.9", "127.0.0.1"]) as downloader:
        got = downloader.fetch(f"http://two.invalid:{host.server_port}/whole", io.BytesIO())
    assert got.size_bytes == len(DATA)
    assert host.seen[0][1]["host"] == f"two.invalid:{host.server_port}"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("64:ff9b::5db8:d822", True),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::7f00:1", False),
        ("::127.0.0.1", False),
        ("::93.184.216.34", False),
        ("64:ff9b:1::a00:1", False),
        ("fec0::1", False),
        ("fe80::1%lo", False),
        ("2002:a00:1::1", False),
        ("2001:db8::1", False),
        ("2001::1", False),
        ("ff0e::1", False),
        ("192.0.0.8", False),
        ("198.18.0.1", False),
        ("240.0.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - to be refused
    ],
)
def test_an_address_is_public_if_the_internet_at_large_has_it(address: str, public: bool):  # noqa: FBT001 - a case
    """Also behind the forms that IPv6 has for addresses of IPv4, and those that only a network of one's own has."""
    assert is_public(address) is public


# --- proxies


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A proxy that the environment names, and that answers everything with the file."""
    server = Server(say(200, DATA))
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("no_proxy", "")
    yield server
    server.close()


def test_a_proxy_is_given_the_address_that_was_checked_and_not_a_name_to_resolve_anew(proxy: Server):
    """It is the one who connects. The host is still told which of its sites is meant."""
    with downloading(STRICT, lambda _name, _port: ["2606:2800:220::1", "93.184.216.34"]) as downloader:
        downloader.fetch("http://films.invalid/1.mp4", io.BytesIO())
        with pytest.raises(ReadFailed):
            downloader.fetch("https://films.invalid/1.mp4", io.BytesIO())
    plain, tunnel = proxy.requests
    assert plain.startswith(b"GET http://93.184.216.34/1.mp4 HTTP/1.1\r\nHost: films.invalid\r\n")
    assert tunnel.startswith(b"CONNECT 93.184.216.34:443 HTTP/1.1\r\n")


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "http://0x0a000001/", "https://[fd00::1]/", "https://[::a00:1]/"])
@pytest.mark.parametrize("given_names", [True, False])
def test_a_proxy_is_not_asked_for_a_private_address(proxy: Server, url: str, given_names: bool):  # noqa: FBT001 - a case
    """Neither if it resolves the names: what is an address by itself needs no resolver."""
    rules = DownloadRules(max_attempts=1, proxy_resolves_names=given_names)
    with downloading(rules) as downloader, pytest.raises(ReadFailed, match="private address"):
        downloader.fetch(url, io.BytesIO())
    assert proxy.requests == []


def test_a_proxy_that_lets_only_names_through_is_given_names_if_the_rules_say_so(proxy: Server):
    """A name that nobody here can resolve is one of these; without the rule, the error says which rule it is."""
    with downloading(STRICT) as downloader, pytest.raises(ReadFailed, match="set proxy_resolves_names"):
        downloader.fetch("http://films.invalid/1.mp4", io.BytesIO())
    assert proxy.requests == []
    with downloading(DownloadRules(max_attempts=1, proxy_resolves_names=True)) as downloader:
        downloader.fetch("http://films.invalid/1.mp4", io.BytesIO())
    assert proxy.requests[0].startswith(b"GET http://films.invalid/1.mp4 HTTP/1.1\r\n")


# --- secrets


def test_a_download_sends_no_credentials_and_no_cookies(
    host: Host, downloader: Downloader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """A result URL carries its own permission: no key, no cookie of an earlier answer, no netrc goes with it."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password s3cr3t\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for _ in range(2):
        downloader.fetch(host.url("whole"), io.BytesIO())
    downloader.fetch(host.url("redirects/2"), io.BytesIO())
    names = {name for _, headers in host.seen for name in headers}
    assert names == {"host", "accept", "accept-encoding", "connection", "user-agent"}
    assert {headers["accept-encoding"] for _, headers in host.seen} == {"identity"}


@pytest.mark.parametrize(
    "url", ["", "no url", "http://", "http:///1", "https://exa mple/?s3cr3t", "http://[::1?s3cr3t"]
)
def test_what_is_no_url_is_a_failed_read_that_gives_nothing_away(downloader: Downloader, url: str):
    """A malformed URL is refused like any other that cannot be read."""
    with pytest.raises(ReadFailed) as error:
        downloader.fetch(url, io.BytesIO())
    assert "s3cr3t" not in str(error.value)
