"""Removes secrets from texts that are shown, logged or stored.

In two ways. By pattern: the query string or user part of a URL may be a credential, and so is what follows `Bearer` or
`API key:`. And literally: a process remembers the secrets that it was given, such as API keys and passwords, and
replaces them wherever they stand, also escaped or in base64, for a provider may repeat them in any words.

Only the ledger keeps whole URLs, and only while they are needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

from pixverse_dagster.core.secrets import redact_known, remember_url, trim

_URL = re.compile(r"(?:https?|s3|wss?):(?:\\{0,8}/){2}(?:[^\s\"'<>\\]|\\{1,8}(?:/|u00[0-9a-f]{2}))+", re.IGNORECASE)
"""Also as some servers write it in JSON: `https:\\/\\/host\\/path?a=1\\u0026b=2`."""
_IN_JSON = re.compile(r"\\+(?:/|u00([0-9a-fA-F]{2}))")
_DATA_URI = re.compile(r"^data:([\w/+.-]*)[;,](?!… \()", re.IGNORECASE)
_BASE64_RUN = re.compile(r"^[A-Za-z0-9+/=]{200,}$")
_KEYISH = re.compile(r"(?i)(bearer\s+|api[-_ ]?key[\"']?\s*[:=]\s*[\"']?)[^\s\"',}]+")
_RESULT_HOST = re.compile(r"media[\w.-]*\.pixverse(ai)?\.(ai|cn)|[iv]m\.runware\.ai|cdn\.pixwith\.ai", re.IGNORECASE)
"""Where results are: PixVerse's own links have no signature, so that whoever knows the path may read the clip."""
_WORDS = ("strerror", "filename", "filename2", "msg", "name", "message", "description")
"""Attributes from which errors of Python and of libraries make their text."""
_AFTER_URL = ".,;:!?)]}…"
"""What stands behind a URL in a sentence."""
_MAX_RESULTS = 2048
_results: dict[str, None] = {}


def redact_url(url: str) -> str:
    """The URL without user, password, query and fragment; `?…` marks that there was a query.

    It depends on the URL alone, so that a digest may be taken of it. To show a URL, take `show_url`.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(unreadable URL)"
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, host + port, parts.path, "", "")) + ("?…" if parts.query else "")


def show_url(url: str) -> str:
    """The URL as a person may see it: as `redact_url`, and of a result no more than `https://host/…`."""
    shown = redact_url(url)
    scheme, _, place = shown.removesuffix("?…").partition("://")
    host, slash, path = place.partition("/")
    is_result = place.rstrip(_AFTER_URL) in _results or _RESULT_HOST.fullmatch(host)
    return f"{scheme}://{host}/…" if is_result and slash and path else redact_known(shown)


def redact_text(text: str) -> str:
    """A message of a provider or library, without known secrets, query strings, bearer tokens and API keys."""
    text = _URL.sub(lambda match: show_url(_IN_JSON.sub(_plain_character, match.group())), redact_known(text))
    return _KEYISH.sub(r"\1…", text)


def _plain_character(match: re.Match[str]) -> str:
    return chr(int(match.group(1), 16)) if match.group(1) else "/"


def redact_value(value: Any) -> Any:
    """A JSON-like value in which strings that are URLs are redacted and inline images are shortened.

    Other strings, such as prompts, lose nothing but known secrets. Tuples become lists.
    """
    if isinstance(value, dict):
        pairs = cast("dict[Any, Any]", value).items()
        return {redact_known(key) if isinstance(key, str) else key: redact_value(item) for key, item in pairs}
    if isinstance(value, list | tuple):
        return [redact_value(item) for item in cast("list[Any]", value)]
    return _redact_string(value) if isinstance(value, str) else value


def _redact_string(value: str) -> str:
    if _URL.fullmatch(value.strip()):
        return show_url(value.strip())
    if match := _DATA_URI.match(value):
        return f"data:{match.group(1)};… ({len(value)} characters)"
    if _BASE64_RUN.match(value):
        return f"base64… ({len(value)} characters)"
    return redact_known(value)


def remember_result(url: str) -> None:
    """Never show again more of this result URL than its host: many have no signature, and are permissions as they are.

    Of PixVerse's own hosts and the providers' no result is shown, known or not.
    """
    remember_url(url)
    place = redact_url(url).removesuffix("?…").partition("://")[2]
    if place and place not in _results:
        _results[place] = None
        trim(_results, _MAX_RESULTS)


def redact_error(error: BaseException) -> bool:
    """Redact the messages of an error and of everything it was caused by, in place; whether that was possible."""
    clean = True
    for one in _chain(error):
        one.args = tuple(redact_text(arg) if isinstance(arg, str) else arg for arg in one.args)
        for name in _WORDS:
            if isinstance(value := getattr(one, name, None), str) and redact_text(value) != value:
                with suppress(AttributeError, TypeError):
                    setattr(one, name, redact_text(value))
        clean = clean and redact_text(str(one)) == str(one)
    return clean


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__]
            waiting += cast("Sequence[BaseException]", getattr(one, "exceptions", ()))  # of a group
