"""A server between the product and another one, that now and then answers with all that it was sent.

It stands for a provider, a store or a proxy that repeats a request in its error: line, headers and body, in one of the
forms in which servers write. What it does not repeat it hands on, with the same host, so that signatures stay valid.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from threading import Lock, Thread
from urllib.parse import urlsplit

import httpx

from pixverse_dagster_tests.harness.canaries import FORMS

_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "expect"}
_TEMPLATES: tuple[tuple[str, str], ...] = (
    (
        "application/json",
        '{{"code": 0, "message": "Incorrect API key provided: {0}", "errors": [{{"message": "{0}"}}]}}',
    ),
    ("text/html", "<html><head><title>{0}</title></head><body><pre>{0}</pre></body></html>"),
    ("application/xml", "<Error><Code>InvalidArgument</Code><Message>{0}</Message><Resource>{0}</Resource></Error>"),
    ("text/plain", "{0}"),
)


@dataclass
class Echo:
    """How often it repeats, and with which status by the request's line; what it was asked is counted."""

    behind: str
    """The server that it stands before."""
    rate: float = 0.0
    status: Callable[[str], int] = lambda _line: 500
    seed: int = 1
    url: str = ""
    counts: Counter[str] = field(default_factory=Counter[str])
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self._dice = Random(self.seed)  # noqa: S311 - reproducible on purpose, guards nothing

    def repeats(self) -> bool:
        """Whether this request is answered with what it was."""
        with self._lock:
            return self._dice.random() < self.rate

    def words(self, sent: str) -> tuple[str, bytes]:
        """The media type and body of an answer that repeats what was sent."""
        with self._lock:
            name = self._dice.choice([*FORMS, "base64", "base64url"])
            kind, template = self._dice.choice(_TEMPLATES)
            self.counts[f"{name} in {kind}"] += 1
        if name.startswith("base64"):
            coded = base64.b64encode(sent.encode()).decode()
            said = coded if name == "base64" else coded.replace("+", "-").replace("/", "_")
        else:
            said = FORMS[name](sent)
        return kind, template.format(said).encode()


def refusing(line: str) -> int:
    """The status for a provider: a call is refused as wrong, so that no outcome is in doubt; a file is away for now."""
    return 400 if line.startswith("POST") else 503


@contextmanager
def echoing(echo: Echo) -> Generator[Echo]:
    """Run it on a port of its own, which `url` names."""
    with httpx.Client(trust_env=False, timeout=60, follow_redirects=False) as client:
        handler = type("Handler", (_Handler,), {"echo": echo, "client": client})
        server = _Server(("127.0.0.1", 0), handler)
        echo.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield echo
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is what several tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    echo: Echo
    client: httpx.Client

    def log_message(self, *_: object) -> None:  # type: ignore[override]
        """Nothing."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.echo.repeats():
            said = "\n".join([self.requestline, *(f"{name}: {value}" for name, value in self.headers.items())])
            kind, data = self.echo.words(f"{said}\n\n{body[:20_000].decode(errors='replace')}")
            self._say(
                self.echo.status(self.requestline), {"Content-Type": kind, "X-Echo": said.replace("\n", " ")}, data
            )
            return
        try:
            self._hand_on(body)
        except (httpx.HTTPError, OSError):  # what the server breaks off, its client sees broken off
            self.close_connection = True

    def _hand_on(self, body: bytes) -> None:
        """The server's answer, piece by piece as it comes."""
        parts = urlsplit(self.path)
        url = f"{self.echo.behind}{parts.path}{'?' if parts.query else ''}{parts.query}"
        headers = [(name, value) for name, value in self.headers.items() if name.lower() != "expect"]
        with self.client.stream(self.command, url, headers=headers, content=body) as answer:
            length = answer.headers.get("content-length")
            self.send_response(answer.status_code)
            for name, value in answer.headers.multi_items():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            if length:
                self.send_header("Content-Length", length)
            else:
                self.close_connection = True
            self.send_header("Connection", "close" if self.close_connection else "keep-alive")
            self.end_headers()
            for piece in answer.iter_raw() if self.command != "HEAD" else ():
                self.wfile.write(piece)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = do_CONNECT = _answer  # noqa: N815 - names of the base class

    def _say(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
