"""A proxy before an S3 server, which makes it one with fewer rights or fewer abilities. The signature stays valid."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

import httpx

from pixverse_dagster_tests.harness.servers import S3Server

_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass(frozen=True)
class Manners:
    """How the server behaves. Everything outside `prefix` is refused, as by a policy on that prefix alone.

    `hides` answers 403 for what is not there, as S3 does without the right to list the whole bucket; `conditions` is
    what becomes of a PUT with If-None-Match: kept, ignored, or answered with 501.
    """

    prefix: str = ""
    hides: bool = False
    conditions: str = "kept"


@contextmanager
def s3_proxy(server: S3Server, manners: Manners) -> Generator[S3Server]:
    """The server as it is seen through the proxy."""
    with httpx.Client(trust_env=False, timeout=30) as client:
        handler = type("Handler", (_Handler,), {"server_behind": server, "manners": manners, "client": client})
        proxy = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        try:
            yield replace(server, endpoint_url=f"http://127.0.0.1:{proxy.server_port}")
        finally:
            proxy.shutdown()
            proxy.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_behind: S3Server
    manners: Manners
    client: httpx.Client

    def log_message(self, *_: object) -> None:  # type: ignore[override]
        """Nothing."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        listed = parse_qs(parts.query).get("prefix", [""])[0]
        conditional = self.command == "PUT" and "If-None-Match" in self.headers
        if not (key or listed).startswith(self.manners.prefix):
            self._say(403, "AccessDenied")
        elif conditional and self.manners.conditions == "501":
            self._say(501, "NotImplemented")
        elif conditional and self.manners.conditions == "ignored":
            self._overwrite(bucket, key, body)
        else:
            self._forward(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _answer  # noqa: N815 - names that the base class asks for

    def _forward(self, body: bytes) -> None:
        url = f"{self.server_behind.endpoint_url}{self.path}"
        headers = [(name, value) for name, value in self.headers.items() if name.lower() != "expect"]
        answer = self.client.request(self.command, url, headers=headers, content=body)
        if answer.status_code == 404 and self.manners.hides:
            self._say(403, "AccessDenied")
            return
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        length = answer.headers["content-length"] if self.command == "HEAD" else str(len(answer.content))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content)

    def _overwrite(self, bucket: str, key: str, body: bytes) -> None:
        client = self.server_behind.client()
        try:
            said = {name.lower(): value for name, value in self.headers.items()}
            metadata = {"sha256": said["x-amz-meta-sha256"]}
            client.put_object(Bucket=bucket, Key=key, Body=body, Metadata=metadata)
        finally:
            client.close()
        self._say(200, "")

    def _say(self, status: int, code: str) -> None:
        text = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode() if code else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)
