"""Runware: one endpoint, `POST /v1`, with a JSON array of tasks.

Sources: Runware's PixVerse V4.5 model page, its platform pages and its official SDKs. The caller chooses the task's
UUID, and a UUID that exists already is refused without a charge (`conflictTaskUUID`). So if the answer to a submit is
lost, it can be resolved: poll for the UUID, then send the same submit again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import httpx

from pixverse_dagster.core.errors import OutcomeUnknown, OutOfCredit, RateLimited, ReadFailed, Refused, Unauthorized
from pixverse_dagster.core.lifecycle import FailureKind
from pixverse_dagster.core.outcomes import Accepted, Failed, Missing, PollFact, Running, Succeeded
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.request import Request
from pixverse_dagster.providers.answers import (
    code_word,
    excerpt,
    integer,
    is_web_url,
    items,
    mapping,
    positive,
    read_json,
    refuse_by_status,
    retry_after_seconds,
    unknown_word,
    unread_poll,
)
from pixverse_dagster.providers.base import Provider, TaskRef
from pixverse_dagster.providers.runware.v4_5 import RunwareV45

_SAFETY_CODES = frozenset(
    [
        "contentPolicyViolation",
        "providerContentPolicyViolation",
        "sensitiveContentDetected",
        "unsafeContentDetected",
        "nsfwContentDetected",
        "promptBlocked",
        "imageBlocked",
        "moderationFailed",
    ]
)
_REFUSALS = re.compile(
    r"^(invalid|missing|conflict|duplicate|unsupported|value|array|max|unknown|incompatible|validation)"
)
_AUTH = re.compile(r"ApiKey|^(unauthorized|forbidden|permissionDenied|authentication|tokenExpired|accountSuspended)")
_QUOTA = re.compile(r"Credits|Quota|Balance|^paymentRequired$")
_GONE = re.compile(r"NotFound$|Expired$|^taskFailedOrNotFound$")


class Runware(Provider):
    """Runware's task API. One poll asks about up to 50 tasks."""

    NAME = "runware"
    BASE_URL = "https://api.runware.ai"
    MODELS = (RunwareV45,)
    POLL_BATCH = 50
    REPLAYABLE = True

    def envelope(self, request: Request, body: dict[str, Any], reference: str) -> Any:
        """One task per POST, so that a refusal concerns one row only. `reference` is the task's UUID."""
        del request
        return [{**body, "taskUUID": reference}]

    def submit(self, request: Request, content: bytes) -> httpx.Request:
        """One POST to the one address that there is."""
        del request
        return self._post_json("/v1", content, self._headers())

    def read_submit(self, response: httpx.Response, reference: str) -> Accepted:
        """An acknowledgement means accepted, and so does the refusal of a UUID that exists already."""
        body = mapping(read_json(response))
        accepted = any(mapping(row).get("taskUUID") == reference for row in items(body.get("data")))
        # An error without a UUID is about this task only if the answer does not acknowledge the task.
        uuids = (reference,) if accepted else (reference, None)
        error = next((e for e in _errors(body) if e.get("taskUUID") in uuids), dict[str, Any]())
        code = code_word(error.get("code"))
        if (response.is_success and accepted and not error) or code == "conflictTaskUUID":
            return Accepted(reference)
        text = _text(error) or excerpt(response)
        message = f"Runware declined ({code or f'HTTP {response.status_code}'}): {text}. Not charged."
        if "RateLimit" in code or response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise RateLimited(message, retry_after_seconds(response))
        if _AUTH.search(code) or response.status_code in {401, 403}:
            raise Unauthorized(message)
        if _QUOTA.search(code) or response.status_code == HTTPStatus.PAYMENT_REQUIRED:
            raise OutOfCredit(message)
        if code in _SAFETY_CODES or (_REFUSALS.search(code) and not response.is_server_error):
            raise Refused(message)
        if response.is_success:
            raise OutcomeUnknown(f"Runware answered HTTP 200 without acknowledging the task: {text}")
        raise refuse_by_status("Runware", response, text)

    def poll(self, tasks: Sequence[TaskRef]) -> httpx.Request:
        """One POST for up to POLL_BATCH tasks."""
        asked = [{"taskType": "getResponse", "taskUUID": task.task_id} for task in tasks]
        return httpx.Request("POST", f"{self.base_url}/v1", headers=self._headers(), json=asked)

    def read_poll(self, response: httpx.Response, tasks: Sequence[TaskRef]) -> dict[str, PollFact]:
        """Rows and errors belong to tasks by `taskUUID`. A task with none is Missing, though it may be running."""
        if response.is_server_error or response.status_code in {401, 402, 403, 429}:
            # These are about the account or the call, even if an error in the body names a task.
            raise unread_poll("Runware", response)
        body = mapping(read_json(response))
        rows = [mapping(row) for row in items(body.get("data"))]
        errors = _errors(body)
        ours = [task.task_id for task in tasks]
        named = any(row.get("taskUUID") in ours for row in [*rows, *errors])
        if not isinstance(body.get("data"), list) and not named:
            raise unread_poll("Runware", response)
        if response.is_error and not named:
            raise unread_poll("Runware", response)
        stray = [error for error in errors if error.get("taskUUID") not in ours]
        if stray and not named:
            raise ReadFailed(f"Runware answered the poll with: {_text(stray[0])}")
        return {task.task_id: _read_task(task, rows, errors) for task in tasks}

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._api_key}"}


def _errors(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [mapping(error) for error in items(body.get("errors"))]


def _text(error: dict[str, Any]) -> str:
    parameter = error.get("parameter")
    where = f" (parameter {parameter})" if parameter else ""
    return redact_text(f"{error.get('message') or error.get('code') or ''}{where}")[:300]


def _read_task(task: TaskRef, rows: list[dict[str, Any]], errors: list[dict[str, Any]]) -> PollFact:
    mine = [row for row in rows if row.get("taskUUID") == task.task_id]
    failures = [error for error in errors if error.get("taskUUID") == task.task_id]
    failures += [mapping(row.get("error")) or row for row in mine if str(row.get("status")).lower() == "error"]
    done = {_result_key(row): row for row in mine if is_web_url(row.get("videoURL"))}
    if not mine and failures and all(_GONE.search(str(error.get("code") or "")) for error in failures):
        return Missing()
    if not mine and not failures:
        return Missing()
    ended = _finish(task, list(done.values()), failures) if done or failures else None
    if ended and len(done) + len(failures) >= task.outputs:
        return ended
    words = [str(row.get("status")).lower() for row in mine]
    unknown = next((word for word in words if word not in {"processing", "pending", "success", "error", "none"}), None)
    if unknown and not ended:
        return unknown_word(unknown)
    return Running(note=f"{len(done)} of {task.outputs} outputs so far" if done else "", so_far=ended)


def _result_key(row: dict[str, Any]) -> str:
    # `data` may have the same finished result more than once; by this key it is counted once.
    return str(next((row[k] for k in ("resultIndex", "videoUUID", "videoURL") if row.get(k) is not None), ""))


def _finish(task: TaskRef, done: list[dict[str, Any]], failures: list[dict[str, Any]]) -> Succeeded | Failed:
    if not done:
        codes = {str(error.get("code") or "") for error in failures}
        moderated = bool(codes & _SAFETY_CODES)
        kind = FailureKind.MODERATED if moderated else FailureKind.PROVIDER_ERROR
        return Failed(kind, _text(failures[0]), names_task=True)
    done = sorted(done, key=lambda row: integer(row.get("resultIndex")) or 0)[: task.outputs]
    costs = [cost for row in done if (cost := positive(row.get("cost"))) is not None]
    note = f"{len(done)} of {task.outputs} outputs; failed: {_text(failures[0])}" if failures else ""
    return Succeeded(
        urls=tuple(str(row["videoURL"]) for row in done),
        cost_usd=round(sum(costs), 6) if len(costs) == len(done) else None,
        seeds=tuple(integer(row.get("seed")) for row in done),
        note=note,
    )
