"""Keeping secrets out of everything a person or a file will see.

A URL may carry its permission in its query string or user part: presigned uploads, webhook tokens, result links.
The ledger needs the whole URL for as long as it is used; nothing else ever does.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

_URL = re.compile(r"(?:https?|s3|wss?)://[^\s\"'<>\\]+", re.IGNORECASE)
_DATA_URI = re.compile(r"^data:([\w/+.-]*)[;,](?!… \()", re.IGNORECASE)
_BASE64_RUN = re.compile(r"^[A-Za-z0-9+/=]{200,}$")
_KEYISH = re.compile(r"(?i)(bearer\s+|api[-_ ]?key[\"']?\s*[:=]\s*[\"']?)[^\s\"',}]+")


def redact_url(url: str) -> str:
    """The URL without user, password, query and fragment; `?…` marks that there was a query."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(unreadable URL)"
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, host + port, parts.path, "", "")) + ("?…" if parts.query else "")


def redact_text(text: str) -> str:
    """A provider's or library's message without query strings, bearer tokens and keys."""
    text = _URL.sub(lambda match: redact_url(match.group()), text)
    return _KEYISH.sub(r"\1…", text)


def redact_value(value: Any) -> Any:
    """A JSON-like value with every whole-string URL stripped and inline images shortened; prompts stay as they are."""
    if isinstance(value, dict):
        return {key: redact_value(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [redact_value(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, str):
        if _URL.fullmatch(value.strip()):
            return redact_url(value.strip())
        if match := _DATA_URI.match(value):
            return f"data:{match.group(1)};… ({len(value)} characters)"
        if _BASE64_RUN.match(value):
            return f"base64… ({len(value)} characters)"
    return value
