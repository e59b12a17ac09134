"""Keeps what is sent to providers and answered, for correcting what is only assumed about them.

Everything that is a permission is cut: keys in headers, bodies and echoes, signatures, and the paths of links to files.
Of files themselves only the size and the digest are kept.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import httpx

from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.secrets import redact_known
from pixverse_dagster.core.text import shorten
from pixverse_dagster.transport.logs import get_logger

_log = get_logger()
MAX_BODY_BYTES = 128 * 1024
"""Of a body that is larger, the size and the digest are kept."""
MAX_FILES = 5000
"""A folder takes so many records of one process."""
_CUT = "…"
_PLAIN_HEADERS = re.compile(r"(?i)content-(type|length|encoding)|date|retry-after|server|x-ratelimit-.*|accept")
_SECRET_NAME = re.compile(
    r"(?i)api.?keys?$|^key$|secret|token|signature|credential|policy|password|authori[sz]ation|cookie|e.?mail|webhook"
    r"|user.?name|^x-amz-"
)
_NO_SECRET = re.compile(r"(?i)(max|total|prompt|completion)_?tokens")
_URL = re.compile(r"(?i)(?:https?|wss?|s3|gs|abfs)://[^\s\"'<>\\]+")
_EXPIRY = re.compile(r"(?i)(x-amz-|x-goog-|x-sim-)?(expires?|expiry|date)|q-sign-time|ttl|se|st")
_TIMES = re.compile(r"[0-9TZ:;%A-]{1,40}")
_INLINE = re.compile(r"^data:[\w/+.-]*[;,]|^[A-Za-z0-9+/=]{200,}$")
_DEEPEST = 12


class Recorder:
    """Writes a JSON file for each exchange into a folder, with permissions cut. Never overwrites; never in the way.

    Thread-safe. What cannot be written is said once in the log, and the call goes on as without a recorder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written = 0
        self._failed = False
        self._lock = threading.Lock()

    def keep(
        self,
        call: str,
        request: httpx.Request,
        answer: httpx.Response | None,
        headers: Mapping[str, str] | None = None,
        problem: str = "",
    ) -> None:
        """Record an exchange: `headers` are those that the answer came with; `problem` says why there is none."""
        document = {
            "call": call,
            "request": {
                "method": request.method,
                "url": cut_url(str(request.url), keep_path=True),
                "headers": _headers(request.headers),
                "body": _body(_content(request), request.headers.get("Content-Type", "")),
            },
            "answer": None
            if answer is None
            else {
                "status": answer.status_code,
                "headers": _headers(headers or answer.headers),
                "body": _body(answer.content, "json"),
            },
        }
        if problem:
            document["problem"] = redact_text(problem)
        self._write(call, request.url.host, document)

    def keep_file(self, url: str, size_bytes: int, sha256: str) -> None:
        """Record that a file was downloaded: none of its bytes."""
        host = urlsplit(url).hostname or ""
        self._write("download", host, {"call": "download", "url": cut_url(url), "bytes": size_bytes, "sha256": sha256})

    def _write(self, call: str, host: str, document: Mapping[str, Any]) -> None:
        with self._lock:
            if self.written >= MAX_FILES or self._failed:
                return
            self.written += 1
        now = datetime.now(UTC)
        safe = re.sub(r"[^A-Za-z0-9.-]", "-", host)[:60]
        name = f"{now:%Y%m%dT%H%M%S%f}-{call}-{safe}-{uuid.uuid4().hex[:8]}.json"
        text = json.dumps({"at": now.isoformat(), "clock": time.time(), **document}, indent=2, ensure_ascii=False)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Once more over the whole, for what a name gave no reason to cut.
            with (self.folder / name).open("x", encoding="utf-8") as file:
                file.write(redact_known(text) + "\n")
        except (OSError, ValueError) as error:
            self._failed = True
            _log.warning("nothing more is recorded in %s (%s): the calls themselves go on", self.folder, error)


def cut_url(url: str, *, keep_path: bool = False) -> str:
    """A URL without its permissions: the names of its query, and of the values those that say when it ends.

    Without `keep_path` also without its path, but for the ending: whoever knows it may read the file.
    """
    try:
        parts = urlsplit(redact_known(url))
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return "(unreadable URL)"
    path = parts.path
    if not keep_path and path.strip("/"):
        ending = re.search(r"\.[A-Za-z0-9]{1,5}$", path)
        path = f"/{_CUT}{ending.group() if ending else ''}"
    shown = [
        f"{name}={value if _EXPIRY.fullmatch(name) and _TIMES.fullmatch(value) else _CUT}"
        for name, value in query
        if re.fullmatch(r"[\w.-]{1,60}", name)
    ]
    return f"{parts.scheme}://{host}{port}{path}" + (f"?{'&'.join(shown)}" if shown else "")


def cut_value(value: Any, depth: int = 0) -> Any:
    """A JSON value without its permissions."""
    if depth > _DEEPEST:
        return _CUT
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return {redact_known(name): _named(name, item, depth) for name, item in pairs}
    if isinstance(value, list):
        return [cut_value(item, depth + 1) for item in cast("list[Any]", value)]
    return _cut_text(value) if isinstance(value, str) else value


def _named(name: str, value: Any, depth: int) -> Any:
    if _SECRET_NAME.search(name) and not _NO_SECRET.fullmatch(name):
        return value if value is None or isinstance(value, bool) else _CUT
    return cut_value(value, depth + 1)


def _cut_text(text: str) -> str:
    if _INLINE.match(text):
        return f"{_CUT} ({len(text)} characters)"
    pieces, at = list[str](), 0
    for match in _URL.finditer(text):
        pieces += [redact_text(text[at : match.start()]), cut_url(match.group())]
        at = match.end()
    return "".join([*pieces, redact_text(text[at:])])


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: redact_text(value) if _PLAIN_HEADERS.fullmatch(name) else _CUT for name, value in sorted(headers.items())
    }


def _content(request: httpx.Request) -> bytes:
    try:
        return request.content
    except httpx.RequestNotRead:
        return b""


def _body(content: bytes, kind: str) -> Any:
    if not content:
        return None
    if len(content) <= MAX_BODY_BYTES and "multipart" not in kind:
        try:
            return cut_value(json.loads(content))
        except (ValueError, RecursionError):
            if b"\0" not in content:
                return _cut_text(shorten(content.decode("utf-8", "replace"), 4096))
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
