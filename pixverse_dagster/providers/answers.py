"""Reading a provider's answers leniently, and what an HTTP status means for the money."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, cast

import httpx

from pixverse_dagster.core.errors import OutcomeUnknown, RateLimited, ReadFailed, Refused
from pixverse_dagster.core.outcomes import Running
from pixverse_dagster.core.redaction import redact_text

_MAX_ID_CHARACTERS = 255
_BILLION = 1e9


def read_json(response: httpx.Response) -> Any:
    """The body as JSON, or None where it is not JSON."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is a JSON object, else an empty one: providers' answers are read leniently."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """The value if it is a JSON list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def code_word(value: Any) -> str:
    """An error code or reason, as text that is safe and short enough to repeat."""
    return redact_text(str(value or ""))[:80]


def identifier(value: Any) -> str | None:
    """A task id that the ledger can keep and a later request can carry; None from anything else."""
    fits = isinstance(value, str) and 0 < len(value) <= _MAX_ID_CHARACTERS and value.isprintable()
    return cast("str", value) if fits else None


def integer(value: Any) -> int | None:
    """An int from 3, "3" or 3.0; None from anything else."""
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        return None
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def positive(value: Any) -> float | None:
    """A number above zero, also from text; None from anything else, because a price of 0 means that it is not known.

    A billion is no price and no time either.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 < number < _BILLION else None


def is_web_url(value: Any) -> bool:
    """Whether this is an http(s) URL with a host, as a result must be."""
    if not isinstance(value, str):
        return False
    try:
        url = httpx.URL(value)
        return url.scheme in {"http", "https"} and bool(url.host)
    except (httpx.InvalidURL, TypeError, ValueError):
        return False


def retry_after_seconds(response: httpx.Response) -> float | None:
    """`Retry-After` in seconds; the date form and nonsense count as absent."""
    value = positive(response.headers.get("Retry-After"))
    return min(value, 3600.0) if value else None


def excerpt(response: httpx.Response) -> str:
    """The start of a body for an error message, with secrets taken out."""
    return redact_text(response.content[:300].decode("utf-8", "replace")).strip() or "(empty body)"


def refuse_by_status(who: str, response: httpx.Response, text: str) -> Refused | OutcomeUnknown:
    """What a non-2xx answer to a submit means where the body says no more: only an explicit refusal is not charged."""
    status = response.status_code
    message = f"{who} answered HTTP {status}: {text}"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited(f"{message}. Not charged.", retry_after_seconds(response))
    if status == HTTPStatus.SERVICE_UNAVAILABLE and mapping(read_json(response)):
        return RateLimited(f"{message}. Not charged.", retry_after_seconds(response))
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.REQUEST_TIMEOUT:
        return Refused(f"{message}. Not charged.")
    return OutcomeUnknown(f"{message}. It may have been accepted and charged; it is not sent again.")


def unread_poll(who: str, response: httpx.Response) -> ReadFailed:
    """The error for a poll answer that says nothing about the task."""
    return ReadFailed(f"{who} answered the poll with HTTP {response.status_code}: {excerpt(response)}")


def unknown_word(status: Any) -> Running:
    """An unknown status keeps the task running: it is polled until its deadline."""
    return Running(note=f"unknown status {redact_text(str(status))[:60]!r}")
