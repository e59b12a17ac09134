"""Lenient readers of providers' answers, and what an HTTP status says about the charge."""

from __future__ import annotations

import json
import re
from enum import Enum
from http import HTTPStatus
from typing import Any, cast

import httpx

from pixverse_dagster.core.errors import OutcomeUnknown, OutOfCredit, RateLimited, ReadFailed, Refused, Unauthorized
from pixverse_dagster.core.outcomes import Running
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.text import shorten


class About(Enum):
    """What a code in a provider's refusal is about. All but the last concern every row of the account."""

    KEY = "key"
    BALANCE = "balance"
    PACE = "pace"
    REQUEST = "request"


_ABOUT_STATUS = {401: About.KEY, 402: About.BALANCE, 503: About.PACE}
_MAX_ID_CHARACTERS = 255
_MAX_NUMBER = 1e9
NOT_CHARGED = "Not charged."
"""What the message of a refusal begins with: before the provider's own words, however long these are."""
_READ_BYTES = 2048
"""How much of a body is looked at for an error message."""
_OTHER_THING = re.compile(
    r"(?i)\b(page|path|route|url|uri|endpoint|method|resource|model|user|account|key|member|team)s?\b|(?<!\w)/\w|task-result"
)
_TASK_ABSENT = re.compile(
    r"(?i)\b(task|job|record)s?\b.*(\bnot\W?(be\W)?(found|exist)|does\W?n.t\Wexist|no longer exist)"
    r"|(unknown|no such|(could not|couldn.t|cannot|can.t|unable to) find( (the|this|that|a))?) task"
    r"|任务.*不存在|找不到.*任务"
)


def read_json(response: httpx.Response) -> Any:
    """The body as JSON, or None if it is not JSON."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """The value if it is a JSON list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def error_of(body: dict[str, Any]) -> dict[str, Any]:
    """The error that an answer tells of: `{"error": {…}}` and `{"errors": [{…}]}` are read like one that is flat."""
    for value in (body.get("error"), body.get("errors")):
        if error := mapping(next(iter(items(value)), value)):
            return error
    return body


def says_task_is_absent(text: str) -> bool:
    """Whether a message says that a *task* is not there: not a path, a model or an account, and not in passing."""
    return bool(_TASK_ABSENT.search(text)) and not names_other_thing(text)


def names_other_thing(text: str) -> bool:
    """Whether a message speaks of a path, a model, a key or an account, which a "not found" may be about."""
    return bool(_OTHER_THING.search(text))


def is_other_task(named: Any, asked: str) -> bool:
    """Whether an answer names a task, and another one than was asked about: then it says nothing about this one."""
    name = identifier(named)
    return name is not None and name.strip().casefold() != asked.strip().casefold()


def other_task(who: str, named: Any, asked: str) -> ReadFailed:
    """The error for an answer about another task than the one that was asked about."""
    return ReadFailed(f"{who} answered about task {code_word(named)}, not {asked}: nothing is known of {asked} by that")


def code_word(value: Any) -> str:
    """An error code or reason as text, redacted and cut, so that a message may repeat it."""
    return redact_text(str(value or ""))[:80]


def identifier(value: Any) -> str | None:
    """The value as a task id: printable text that fits into the ledger, or a whole number. None from anything else."""
    if not isinstance(value, bool) and isinstance(value, int | float) and value > 0:
        value = str(value) if isinstance(value, int) else str(int(value)) if value.is_integer() else None
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
    """A number above 0 and below a billion, also from text; None from anything else.

    A price of 0 means that the price is not known, and no real price or time is a billion.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 < number < _MAX_NUMBER else None


def amount(value: Any) -> float | None:
    """What is left at an account, also from text: 0 or more, and below a billion; None from anything else."""
    try:
        number = float(value) if not isinstance(value, bool) else -1.0
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number < _MAX_NUMBER else None


def is_web_url(value: Any) -> bool:
    """Whether the value is an http(s) URL with a host, as a result must be."""
    if not isinstance(value, str):
        return False
    try:
        url = httpx.URL(value)
        return url.scheme in {"http", "https"} and bool(url.host)
    except (httpx.InvalidURL, TypeError, ValueError):
        return False


def retry_after_seconds(response: httpx.Response) -> float | None:
    """`Retry-After` in seconds, at most an hour. None if it is absent, a date or not a number."""
    value = positive(response.headers.get("Retry-After"))
    return min(value, 3600.0) if value else None


def excerpt(response: httpx.Response) -> str:
    """The start of a body for an error message, redacted."""
    # Cut afterwards: half of a key would not be recognised.
    return (
        shorten(redact_text(response.content[:_READ_BYTES].decode("utf-8", "replace")).strip(), 300) or "(empty body)"
    )


def is_declined(response: httpx.Response) -> bool:
    """Whether the status of a submit's answer alone says that it was refused, which is not charged.

    A 503 with a JSON body and any 4xx except 408 do. After any other status but success the outcome is unknown: the
    answer may come from a proxy, after the service accepted the task.
    """
    status = response.status_code
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return bool(mapping(read_json(response)))
    return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.REQUEST_TIMEOUT


def read_refusal(message: str, response: httpx.Response, about: About | None) -> Refused:
    """The error for a submit that was refused, by what the provider's own code says that it is `about`, if it has one.

    Without a code the status may tell: 401 is about the key, 402 about the balance, 429 and 503 about the pace. A 403
    does not: a firewall answers it for the words of one prompt.
    """
    status = response.status_code
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        about = About.PACE
    match about or _ABOUT_STATUS.get(status):
        case About.PACE:
            return RateLimited(message, retry_after_seconds(response))
        case About.KEY:
            return Unauthorized(message)
        case About.BALANCE:
            return OutOfCredit(message)
        case About.REQUEST:
            return Refused(message, True)  # noqa: FBT003 - an error takes positional arguments only
        case None:
            return Refused(message)


def outcome_unknown(words: str) -> OutcomeUnknown:
    """The error for an answer that does not say whether the task was accepted; `words` say what came."""
    return OutcomeUnknown(f"It may have been charged, and is not sent again: {words}")


def unread_account(who: str, response: httpx.Response) -> ReadFailed:
    """The error for an answer that does not say whether the key is taken. Nothing was charged."""
    return ReadFailed(f"Nothing was spent: {who} answered HTTP {response.status_code}: {excerpt(response)}")


def refused_key(who: str, words: str) -> Unauthorized:
    """The error for a key that a free call was refused with."""
    return Unauthorized(f"{NOT_CHARGED} {who} does not take the API key: {words}.")


def unread_poll(who: str, response: httpx.Response) -> ReadFailed:
    """The error for a poll answer that says nothing about the task."""
    return ReadFailed(f"{who} answered the poll with HTTP {response.status_code}: {excerpt(response)}")


def unread_upload(who: str, response: httpx.Response) -> ReadFailed:
    """The error for an answer to an upload that does not say that the image is there. Nothing was charged."""
    words = f"{who} answered HTTP {response.status_code}: {excerpt(response)}"
    return ReadFailed(f"Nothing was charged: the image is not uploaded yet, and is tried again: {words}")


def unknown_word(status: Any) -> Running:
    """The fact for a status that is not known here: the task counts as running, and is polled until its deadline."""
    return Running(note=f"unknown status {redact_text(str(status))[:60]!r}")
