"""Removes secrets from texts that are shown, logged or stored.

The query string or user part of a URL may be a credential: presigned uploads, webhook tokens, result links.
Only the ledger keeps whole URLs, and only while they are needed.
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
    """A message of a provider or library, without query strings, bearer tokens and API keys."""
    text = _URL.sub(lambda match: redact_url(match.group()), text)
    return _KEYISH.sub(r"\1…", text)


def redact_value(value: Any) -> Any:
    """A JSON-like value in which strings that are URLs are redacted and inline images are shortened.

    Other strings, such as prompts, are unchanged. Tuples become lists.
    """
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
