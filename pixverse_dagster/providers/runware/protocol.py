"""Runware: one endpoint, `POST /v1`, with a JSON array of tasks.

Sources: Runware's PixVerse V4.5 model page, its platform pages and its official SDKs. The caller chooses the task's
UUID, and a UUID that exists already is refused without a charge (`conflictTaskUUID`). So if the answer to a submit is
lost, it can be resolved: poll for the UUID, then send the same submit again.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Generator, Sequence
from typing import Any

import httpx

from pixverse_dagster.core.errors import ReadFailed
from pixverse_dagster.core.lifecycle import FailureKind
from pixverse_dagster.core.outcomes import Accepted, AccountFacts, Failed, Missing, PollFact, Running, Succeeded
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.staging import Staged, StagedBytes
from pixverse_dagster.providers.answers import (
    NOT_CHARGED,
    About,
    amount,
    code_word,
    excerpt,
    integer,
    is_declined,
    is_web_url,
    items,
    mapping,
    outcome_unknown,
    positive,
    read_json,
    read_refusal,
    refused_key,
    unknown_word,
    unread_account,
    unread_poll,
    unread_upload,
)
from pixverse_dagster.providers.base import Provider, TaskRef
from pixverse_dagster.providers.runware.errors import (
    SAFETY,
    about_code,
    count_once,
    error_text,
    failure_of,
    family_word,
    is_gone,
    is_of_call,
    read_errors,
)
from pixverse_dagster.providers.runware.questions import QUESTIONS
from pixverse_dagster.providers.runware.v4_5 import RunwareV45

_KEPT_SECONDS = 29 * 24 * 3600.0


class Runware(Provider):
    """Runware's task API. One poll asks about up to 50 tasks."""

    NAME = "runware"
    BASE_URL = "https://api.runware.ai"
    MODELS = (RunwareV45,)
    TELLS_BALANCE = True
    QUESTIONS = QUESTIONS
    POLL_BATCH = 50
    REPLAYABLE = True
    TAKES_UPLOADS = True
    UPLOAD_MAX_SIDE = 2048

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
        error = next((e for e in read_errors(body) if e.get("taskUUID") in uuids), dict[str, Any]())
        code, word = code_word(error.get("code")), family_word(error)
        if (response.is_success and accepted and not error) or word == "conflicttaskuuid":
            return Accepted(reference)
        text = error_text(error) or excerpt(response)
        if response.is_success and accepted:
            raise outcome_unknown(f"Runware acknowledged the task and named an error ({code}): {text}")
        about = about_code(word)
        if about is About.REQUEST and response.is_server_error:
            about = None
        if about is None:
            if response.is_success:
                raise outcome_unknown(f"Runware answered HTTP 200 without acknowledging the task: {text}")
            if not is_declined(response):
                raise outcome_unknown(f"Runware answered HTTP {response.status_code}: {text}")
        message = f"{NOT_CHARGED} Runware declined ({code or f'HTTP {response.status_code}'}): {text}."
        raise read_refusal(message, response, about)

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
        rows, errors = [mapping(row) for row in items(body.get("data"))], read_errors(body)
        facts = {task.task_id: _read_task(task, rows, errors) for task in tasks}
        told = any(fact is not None for fact in facts.values())
        of_call = [error for error in errors if is_of_call(error) or str(error.get("taskUUID")) not in facts]
        of_call += [failure for row in rows if _is_broken(row) and is_of_call(failure := failure_of(row))]
        if of_call and not told:
            raise ReadFailed(f"Runware answered the poll with: {_said(of_call[0])}")
        if not told and (response.is_error or not isinstance(body.get("data"), list)):
            raise unread_poll("Runware", response)
        # A task is missing only from an answer to the whole call: a list of rows, with no error of the call beside it.
        if of_call or response.is_error:
            note = f"this answer does not tell of it: {_said(of_call[0]) if of_call else response.status_code}"
            return {name: fact or Running(note=note) for name, fact in facts.items()}
        return {name: fact or Missing() for name, fact in facts.items()}

    def stage(self, image: StagedBytes) -> Generator[httpx.Request, httpx.Response, Staged]:
        """One `imageUpload` task. Runware keeps an image for 30 days after its last use, no side above 2048 px."""
        asked = str(uuid.uuid4())
        encoded = f"data:{image.content_type};base64,{base64.b64encode(image.data).decode()}"
        task = {"taskType": "imageUpload", "taskUUID": asked, "image": encoded}
        response = yield self._post_json("/v1", json.dumps([task]).encode(), self._headers())
        body = mapping(read_json(response))
        for row in map(mapping, items(body.get("data"))):
            if row.get("taskUUID") == asked and _is_uuid(row.get("imageUUID")):
                return Staged(str(row["imageUUID"]), _KEPT_SECONDS)
        if (errors := read_errors(body)) and is_declined(response):
            error = errors[0]
            message = f"{NOT_CHARGED} Runware does not take the image: {_said(error)}."
            raise read_refusal(message, response, about_code(family_word(error)))
        raise unread_upload("Runware", response)

    def ask_account(self) -> httpx.Request:
        """One `accountManagement` task."""
        task = {"taskType": "accountManagement", "taskUUID": str(uuid.uuid4()), "operation": "getDetails"}
        return self._post_json("/v1", json.dumps([task]).encode(), self._headers())

    def read_account(self, response: httpx.Response) -> AccountFacts:
        """`balance` is read, in US dollars, and nothing else: the answer also names members and keys of a team."""
        body = mapping(read_json(response))
        errors = read_errors(body)
        of_key = any(about_code(family_word(error)) is About.KEY for error in errors)
        if response.status_code in {401, 403} or of_key:
            raise refused_key("Runware", _said(errors[0]) if errors else f"HTTP {response.status_code}")
        rows = [mapping(row) for row in items(body.get("data"))]
        balance = next((found for row in rows if (found := amount(row.get("balance"))) is not None), None)
        if response.is_server_error or not (errors or rows):
            raise unread_account("Runware", response)
        return AccountFacts(balance, "usd" if balance is not None else "")

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._api_key}"}


def _is_uuid(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(uuid.UUID(value))
    except ValueError:
        return False


def _said(error: dict[str, Any]) -> str:
    code, text = code_word(error.get("code")), error_text(error)
    return text if code in text else f"{code}: {text}"


def _read_task(task: TaskRef, rows: list[dict[str, Any]], errors: list[dict[str, Any]]) -> PollFact | None:
    """What the answer says about one task; None if nothing."""
    mine = [row for row in rows if row.get("taskUUID") == task.task_id]
    listed = [error for error in errors if error.get("taskUUID") == task.task_id and not is_of_call(error)]
    if not mine and listed and all(is_gone(error) for error in listed):
        return Missing()
    done = {_result_key(row): row for row in mine if is_web_url(row.get("videoURL"))}
    broken = [row for row in mine if _is_broken(row) and _result_key(row) not in done]
    own = [row for row in broken if not is_of_call(failure_of(row))]
    failures = count_once(listed, own)
    if not failures and len(mine) == len(broken) - len(own):
        return None
    ended = _finish(task, list(done.values()), failures) if done or failures else None
    if ended and len(done) + len(failures) >= task.outputs:
        return ended
    words = [str(row.get("status")).lower() for row in mine]
    unknown = next((word for word in words if word not in {"processing", "pending", "success", "error", "none"}), None)
    if unknown and not ended:
        return unknown_word(unknown)
    return Running(note=f"{len(done)} of {task.outputs} outputs so far" if done else "", so_far=ended)


def _is_broken(row: dict[str, Any]) -> bool:
    return str(row.get("status")).lower() == "error"


def _result_key(row: dict[str, Any]) -> str:
    # `data` may have the same finished result more than once; by this key it is counted once.
    return str(next((row[k] for k in ("resultIndex", "videoUUID", "videoURL") if row.get(k) is not None), ""))


def _finish(task: TaskRef, done: list[dict[str, Any]], failures: list[dict[str, Any]]) -> Succeeded | Failed:
    if not done:
        moderated = any(family_word(error) in SAFETY for error in failures)
        kind = FailureKind.MODERATED if moderated else FailureKind.PROVIDER_ERROR
        return Failed(kind, error_text(failures[0]), names_task=True)
    done = sorted(done, key=lambda row: integer(row.get("resultIndex")) or 0)[: task.outputs]
    costs = [cost for row in done if (cost := positive(row.get("cost"))) is not None]
    note = f"{len(done)} of {task.outputs} outputs; failed: {error_text(failures[0])}" if failures else ""
    return Succeeded(
        urls=tuple(str(row["videoURL"]) for row in done),
        cost_usd=round(sum(costs), 6) if len(costs) == len(done) else None,
        seeds=tuple(integer(row.get("seed")) for row in done),
        note=note,
    )
