"""HighwayAPI: `POST /v3/async/{model}`, `GET /v3/async/task-result`.

Sources: the three model pages and the "get task result" page of docs.highwayapi.ai (JieKou AI). The service has no
idempotency key, no list of tasks and no cancel: if the answer to a submit is lost, only a person can resolve it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from http import HTTPStatus
from itertools import islice
from typing import Any

import httpx

from pixverse_dagster.core.lifecycle import FailureKind
from pixverse_dagster.core.outcomes import Accepted, AccountFacts, Failed, Missing, PollFact, Running, Succeeded
from pixverse_dagster.core.price import Price
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.text import shorten
from pixverse_dagster.providers.answers import (
    NOT_CHARGED,
    About,
    code_word,
    error_of,
    excerpt,
    identifier,
    integer,
    is_declined,
    is_other_task,
    is_web_url,
    items,
    mapping,
    names_other_thing,
    other_task,
    outcome_unknown,
    positive,
    read_json,
    read_refusal,
    refused_key,
    says_task_is_absent,
    unknown_word,
    unread_account,
    unread_poll,
)
from pixverse_dagster.providers.base import Provider, TaskRef
from pixverse_dagster.providers.highway.c1 import HighwayC1ReferenceToVideo
from pixverse_dagster.providers.highway.prices import list_prices, products
from pixverse_dagster.providers.highway.questions import QUESTIONS
from pixverse_dagster.providers.highway.v4_5 import HighwayV45ImageToVideo
from pixverse_dagster.providers.highway.v6 import HighwayV6ImageToVideo

_MAX_OUTPUTS = 4
_RUNNING = {"QUEUED", "PROCESSING", "RUNNING", "PENDING"}
_DONE = {"SUCCEED", "SUCCEEDED", "SUCCESS"}
_FAILED = {"FAILED", "CANCELED", "CANCELLED"}
_BUSY = frozenset({"RATE_LIMIT_EXCEEDED", "TOKEN_LIMIT_EXCEEDED", "SERVICE_NOT_AVAILABLE"})
_CALL_REASONS = _BUSY | {"FAILED_TO_AUTH", "INVALID_API_KEY", "NOT_ENOUGH_BALANCE", "ACCESS_DENY"}
_ABOUT = {
    About.PACE: re.compile(r"RATE_?LIMIT|TOKEN_?LIMIT|TOO_?MANY|SERVICE_?(NOT_?|UN)AVAILABLE"),
    About.BALANCE: re.compile(r"BALANCE|CREDIT|QUOTA|ARREARS|PAYMENT_REQUIRED"),
    About.KEY: re.compile(r"API_?KEY|AUTH|ACCESS_?DEN(Y|IED)"),
    About.REQUEST: re.compile(
        r"INVALID|MISSING|UNSUPPORTED|NOT_?(FOUND|SUPPORTED|ALLOWED)|TOO_?(LONG|LARGE|SHORT|SMALL)"
        r"|POLICY|MODERAT|NSFW|SENSITIVE|PROHIBIT|CONTENT"
    ),
}
"""What a reason is about, by its words; the first that fits."""
_ABSENT_REASON = re.compile(r"(?i)(TASK_?(ID_?)?)?(NOT_?(FOUND|EXISTS?))")
_ABOUT_CALL = {401, 402, 403, 408, 429}
_MAX_STATUS = 600
_MODERATION = re.compile(r"(?i)polic|moderat|nsfw|sensitiv|safety|prohibit|violat")


class Highway(Provider):
    """HighwayAPI's asynchronous endpoints."""

    NAME = "highway"
    BASE_URL = "https://api.highwayapi.ai"
    OTHER_HOSTS = frozenset({"api.jiekou.ai"})
    QUESTIONS = QUESTIONS
    MODELS = (HighwayV45ImageToVideo, HighwayV6ImageToVideo, HighwayC1ReferenceToVideo)

    def submit(self, request: Request, content: bytes) -> httpx.Request:
        """One POST per task. The service has no field for an id of ours."""
        return self._post_json(f"/v3/async/{request.ENDPOINT}", content, self._headers())

    def read_submit(self, response: httpx.Response, reference: str) -> Accepted:
        """A `task_id` means accepted, an explicit 4xx or 503 means refused; anything else is unknown.

        Only the `reason`, a code, says what a refusal is about: the text may say "balance" of anything.
        """
        del reference
        body = mapping(read_json(response))
        task_id = identifier(body.get("task_id") or mapping(body.get("data")).get("task_id"))
        if response.is_success and task_id:
            return Accepted(task_id)
        reason, text = _reason(body), _message(body) or excerpt(response)
        if response.is_success:
            raise outcome_unknown(f"HighwayAPI answered HTTP {response.status_code} without a task_id: {text}")
        about = _about(reason)
        if not (is_declined(response) or reason in _BUSY):
            raise outcome_unknown(f"HighwayAPI answered HTTP {response.status_code}: {reason} {text}")
        message = f"{NOT_CHARGED} HighwayAPI answered HTTP {response.status_code} {reason}: {text}."
        if about is About.BALANCE:
            # HighwayAPI's FAQ: a 403 about the balance can in fact be a rate limit.
            message += " The text may also hide a rate limit."
        raise read_refusal(message, response, about)

    def poll(self, tasks: Sequence[TaskRef]) -> httpx.Request:
        """One GET per task."""
        url = f"{self.base_url}/v3/async/task-result"
        return httpx.Request("GET", url, headers=self._headers(), params={"task_id": tasks[0].task_id})

    def read_poll(self, response: httpx.Response, tasks: Sequence[TaskRef]) -> dict[str, PollFact]:
        """`task.status` and the presence of a video URL decide, not `progress_percent`: it was 0 for ended tasks."""
        body, asked = mapping(read_json(response)), tasks[0].task_id
        document = body if "task" in body else mapping(body.get("data"))
        if _is_absent(response.status_code, body):
            return {asked: Missing()}
        task = mapping(document.get("task"))
        if not response.is_success or not task or _is_of_call(body):
            raise unread_poll("HighwayAPI", response)
        if is_other_task(task.get("task_id"), asked):
            raise other_task("HighwayAPI", task.get("task_id"), asked)
        return {asked: _read_task(document, asked)}

    def ask_account(self) -> httpx.Request:
        """A poll of a task that does not exist: no other free call of the service is documented."""
        return self.poll([TaskRef(str(uuid.uuid4()))])

    def read_account(self, response: httpx.Response) -> AccountFacts:
        """Any answer of the service's own but one about the key means that the key is taken. It tells no balance."""
        body = mapping(read_json(response))
        reason = _reason(body)
        if response.status_code == HTTPStatus.UNAUTHORIZED or (body and _about(reason) is About.KEY):
            raise refused_key("HighwayAPI", f"HTTP {response.status_code} {reason} {_message(body)}".strip())
        if not body or response.is_server_error:
            raise unread_account("HighwayAPI", response)
        return AccountFacts()

    def ask_prices(self) -> httpx.Request:
        """One POST for all products whose ids are known."""
        body = {"product_ids": list(products())}
        url = f"{self.base_url}/v1/product/batch-price"
        return httpx.Request("POST", url, headers=self._headers(), json=body)

    def read_prices(self, response: httpx.Response) -> tuple[Price, ...]:
        """The price of a call in US dollars. What is in another currency, or cannot be a clip's, is left out."""
        return list_prices(mapping(read_json(response))) if response.is_success else ()

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._api_key}"}


def _message(body: dict[str, Any]) -> str:
    error = error_of(body)
    details = mapping(error.get("metadata")).get("details")
    return shorten(redact_text(" ".join(str(part) for part in (error.get("message"), details) if part)), 300)


def _reason(body: dict[str, Any]) -> str:
    error = error_of(body)
    return code_word(error.get("reason") or ("" if error is body else error.get("code")))


def _about(reason: str) -> About | None:
    word = re.sub(r"[^A-Z]+", "_", reason.upper())
    return next((about for about, words in _ABOUT.items() if words.search(word)), None)


def _is_absent(status: int, body: dict[str, Any]) -> bool:
    """Whether the service says, as itself, that it has no such task. A page, or a 404 about a path, does not."""
    if not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR or status in _ABOUT_CALL:
        return False
    reason, text = _reason(body), _message(body)
    if reason in _CALL_REASONS:
        return False
    in_a_word = status == HTTPStatus.NOT_FOUND and _ABSENT_REASON.fullmatch(reason) and not names_other_thing(text)
    return says_task_is_absent(text) or bool(in_a_word)


def _is_of_call(body: dict[str, Any]) -> bool:
    """Whether an answer that also has a task is an error of the call: of key, balance, pace or service."""
    code = integer(error_of(body).get("code"))
    return _reason(body) in _CALL_REASONS or (code is not None and HTTPStatus.BAD_REQUEST <= code < _MAX_STATUS)


def _read_task(document: dict[str, Any], asked: str) -> PollFact:
    task = mapping(document.get("task"))
    word = str(task.get("status") or "").upper().removeprefix("TASK_STATUS_")
    found = (mapping(video).get("video_url") for video in items(document.get("videos")))
    urls = tuple(islice((str(url) for url in found if is_web_url(url)), _MAX_OUTPUTS))
    if word in _FAILED:
        reason = redact_text(str(task.get("reason") or task.get("error") or task.get("message") or "no reason given"))
        kind = FailureKind.MODERATED if _MODERATION.search(reason) else FailureKind.PROVIDER_ERROR
        return Failed(kind, shorten(reason, 300), names_task=identifier(task.get("task_id")) == asked)
    if urls and word not in _RUNNING:
        seed = integer(mapping(document.get("extra")).get("seed"))
        return Succeeded(urls, seeds=(seed,) * len(urls))
    if word in _DONE:
        return Running(note="finished, but no video URL yet")
    if word in _RUNNING:
        return Running(note=f"eta {eta:.0f} s" if (eta := positive(task.get("eta"))) else "")
    return unknown_word(task.get("status"))
