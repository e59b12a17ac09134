"""Fetching is bounded, repeatable, gives nothing away, and never reaches into a private network."""

import gzip
import hashlib
import io
import os
import socket
import threading
import tracemalloc
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pixverse_dagster.core.errors import ReadFailed, ResultExpired
from pixverse_dagster.core.values import Digest
from pixverse_dagster.transport.download import Downloader, DownloadRules

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
def downloading(rules: DownloadRules = OPEN) -> Generator[Downloader]:
    downloader = Downloader(rules)
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
        with pytest.raises(ReadFailed):
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

    class FirstHopIsPublic(Downloader):
        def _check_address(self, url: str) -> None:
            if not url.startswith(host.url("").partition("?")[0]):
                super()._check_address(url)

        def _check_peer(self, response: object) -> None:
            """The first hop is on loopback."""

    downloader = FirstHopIsPublic(STRICT)
    with pytest.raises(ReadFailed, match=r"private address 169\.254\.169\.254"):
        downloader.fetch(host.url("to/inside"), io.BytesIO())
    downloader.close()
    assert len(host.seen) == 1


def test_a_name_that_turns_private_after_it_was_checked_gives_no_byte(host: Host):
    """Where the connection really went is checked again before anything is read: a name may resolve differently."""

    class NameWasPublic(Downloader):
        def _check_address(self, url: str) -> None:
            """As if the first resolution had been public."""

    file = io.BytesIO()
    downloader = NameWasPublic(STRICT)
    with pytest.raises(ReadFailed, match=r"private address 127\.0\.0\.1"):
        downloader.fetch(host.url("whole"), file)
    downloader.close()
    assert file.getvalue() == b""


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
