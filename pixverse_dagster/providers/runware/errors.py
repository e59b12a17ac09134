"""Runware's error items: read from every envelope, and sorted by what they are about.

Runware calls its list of codes unstable, so codes are told apart by family, as its own SDKs do. An error of the *call*
(key, balance, pace, outage, a poll that was written wrongly) may carry a task's UUID, and says nothing about the task.
"""

from __future__ import annotations

import re
from typing import Any

from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.text import shorten
from pixverse_dagster.providers.answers import About, items, mapping

Item = dict[str, Any]

SAFETY = frozenset(
    [
        "contentpolicyviolation",
        "providercontentpolicyviolation",
        "sensitivecontentdetected",
        "unsafecontentdetected",
        "nsfwcontentdetected",
        "promptblocked",
        "imageblocked",
        "moderationfailed",
    ]
)
REFUSALS = re.compile(
    r"^(invalid|missing|conflict|duplicate|unsupported|value|array|max|unknown|incompatible|validation)"
)
AUTH = re.compile(r"apikey|^(unauthori[sz]ed|forbidden|permissiondenied|authentication|tokenexpired|accountsuspended)")
QUOTA = re.compile(r"credits|quota|balance|^paymentrequired$")
PACE = re.compile(r"ratelimit|toomanyrequests|^maxqueue|^queuefull")
_OUTAGE = re.compile(
    r"^(internalserver|internalerror|servererror|service|standarderror|badgateway|gateway|maintenance)"
)
_REPEATED = re.compile(r"^(conflict|duplicate)|^(?!task).*taskuuid$")
"""Refusals of a repeated submit or of a poll, which a poll may be shown as the last that happened to a UUID."""
_TIMEOUT = re.compile(r"^(?!provider|inference|timeoutprovider).*timeout")
_GONE = re.compile(r"^(task|taskuuid|response|result|job)?(failedor)?(notfound|expired)$")
_ABSENT = re.compile(r"(notfound|expired)$")
_CALL_STATUS = re.compile(r"\s*(401|402|403|404|408|429|5\d\d)\s*")
_MAX_FAILURES = 64
_READ_CHARACTERS = 2000
_CALL_WORDS = re.compile(
    r"(?i)api.?key|unauthor|authenticat|forbidden|credit|balance|quota|rate.?limit|too many|unavailable|try again"
)


def read_errors(body: Item) -> list[Item]:
    """The error items of an answer: a list, a single one, or no more than a text, under `errors` or `error`."""
    found: list[Item] = []
    for value in (body.get("errors"), body.get("error")):
        for item in items(value) or [value]:
            found += [{"message": item}] if isinstance(item, str) and item else [mapping(item)] if mapping(item) else []
    return found


def family_word(error: Item) -> str:
    """The code in one spelling: `rateLimitExceeded` and `RATE_LIMIT_EXCEEDED` are one. Empty if there is none."""
    return re.sub(r"[^a-z]", "", str(error.get("code") or "")[:_READ_CHARACTERS].lower())


def about_code(word: str) -> About | None:
    """What the code of a refused submit is about, by its family; None if it says nothing of that."""
    families = {About.PACE: PACE, About.KEY: AUTH, About.BALANCE: QUOTA, About.REQUEST: REFUSALS}
    if word in SAFETY:
        return About.REQUEST
    return next((about for about, family in families.items() if family.search(word)), None)


def is_gone(error: Item) -> bool:
    """Whether the error says that there is no such task; not that something else, such as a path, is not there."""
    return bool(_GONE.search(family_word(error)))


def is_of_call(error: Item) -> bool:
    """Whether the error is about the call, so that a task it names may be running or finished all the same."""
    word = family_word(error)
    if _CALL_STATUS.fullmatch(str(error.get("code"))[:20]):
        return True
    if not word:
        return bool(_CALL_WORDS.search(str(error.get("message"))[:_READ_CHARACTERS]))
    if any(family.search(word) for family in (AUTH, QUOTA, PACE, _OUTAGE, _TIMEOUT, _REPEATED)):
        return True
    if error.get("taskType") == "getResponse" and REFUSALS.search(word):
        return True  # the poll itself was refused
    return bool(_ABSENT.search(word)) and not is_gone(error)


def error_text(error: Item) -> str:
    """What the error says, for a person: redacted and short."""
    parameter = error.get("parameter")
    where = f" (parameter {parameter})" if parameter else ""
    return shorten(redact_text(f"{error.get('message') or error.get('code') or ''}{where}"), 300)


def count_once(listed: list[Item], rows: list[Item]) -> list[Item]:
    """The failures of a task, each once: the list of errors and the rows of results may both have the same one.

    A failed row and a listed error are the same if both have one `resultIndex`, or if one of them has none and their
    codes do not differ. What has an index is never counted twice.
    """
    unmatched = listed = _distinct(listed)
    more: list[Item] = []
    for row in _distinct(rows):
        same = next((error for error in unmatched if _is_same(row, error)), None)
        unmatched = [error for error in unmatched if error is not same]
        if same is None:
            more.append(failure_of(row))
    return listed + more


def failure_of(row: Item) -> Item:
    """What a failed row of results says: in an object of its own, or flat."""
    return mapping(row.get("error")) or row


def _distinct(failures: list[Item]) -> list[Item]:
    # As many are looked at as can matter: a task has few outputs.
    numbered = {_number(failure) or f"#{n}": failure for n, failure in enumerate(failures[:_MAX_FAILURES])}
    return list(numbered.values())


def _number(failure: Item) -> str:
    index = failure.get("resultIndex")
    return "" if index is None else str(index)


def _is_same(row: Item, error: Item) -> bool:
    if _number(row) and _number(error):
        return _number(row) == _number(error)
    mine, other = family_word(failure_of(row)), family_word(error)
    return not mine or not other or mine == other
