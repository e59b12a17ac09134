"""Pixwith: `POST /api/task/create`, `POST /api/task/get`; images by `POST /api/task/pre_url` and a form.

Sources: Pixwith's Pixverse V5 page, its task/get page and its published skills. They do not say which HTTP status
goes with an error, whether a submit can be repeated safely, or why a task failed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal

import httpx
from pydantic import Field

from pixverse_dagster.core.errors import ReadFailed, Refused
from pixverse_dagster.core.lifecycle import FailureKind
from pixverse_dagster.core.outcomes import Accepted, AccountFacts, Failed, Missing, PollFact, Running, Succeeded
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.request import CLIP, At, ImageRules, Request
from pixverse_dagster.core.staging import Staged, StagedBytes
from pixverse_dagster.core.text import shorten
from pixverse_dagster.providers.answers import (
    NOT_CHARGED,
    About,
    amount,
    error_of,
    excerpt,
    identifier,
    integer,
    is_declined,
    is_other_task,
    is_web_url,
    items,
    mapping,
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
    unread_upload,
)
from pixverse_dagster.providers.base import Provider, TaskRef
from pixverse_dagster.providers.fields import ImageReference, Resolution, one_of
from pixverse_dagster.providers.pixwith_questions import QUESTIONS

_HEAD_BYTES = 4096
_KEPT_SECONDS = 24 * 3600.0
# The values of `code` in an answer, and of `data.status` in the answer to a poll.
_OK, _AUTH = 1, 2
_PROCESSING, _COMPLETED, _FAILED = 1, 2, 3

# Errors have no codes of their own. A text counts as one only as a whole: words in it may be about anything.
_KEY_TROUBLE = re.compile(r"(?i)api.?key|unauthor|authentic")
_LATER = r"([ .,;:!-]+(please )?(try|retry)( again)?( later| in .*)?)?"
_ABOUT = {
    About.KEY: r"((invalid|missing|wrong|unknown|expired|disabled|no) )?api[ -]?key( (is )?(invalid|missing|expired|"
    r"disabled|not found|required))?|unauthori[sz]ed|authentication (failed|required|error)",
    About.BALANCE: r"(credits?|balance)( is| are)? (not enough|insufficient|too low)|(insufficient|not enough|no)"
    r"( account)? (credits?|balance)( left)?|out of credits?",
    About.PACE: r"too many requests|(rate|concurrency) limit( is| was| has been)? (exceeded|reached)"
    r"|(the )?(server|system|service)( is)?( too)? busy",
    About.REQUEST: r"(invalid|missing|unsupported) (?!.*\b(try|retry|again|later|temporar|busy)).*",
}


class PixwithV5(Request):
    """PixVerse v5, from text or from one image, 1 to 4 outputs. The API has no seed and no negative prompt."""

    MODEL: ClassVar[str] = "pixwith/pixverse-v5"
    ENDPOINT: ClassVar[str] = "2-27"
    FAMILY: ClassVar[str] = "v5"
    IMAGE_RULES: ClassVar[ImageRules] = ImageRules(
        formats=frozenset({"jpeg", "png"}),
        min_side=1,
        max_side=None,
        max_aspect=None,
        max_bytes=10_000_000,
        inline=False,
        source="Pixwith's published skills: jpg/jpeg/png, at most 10 MB",
    )

    prompt: Annotated[str, Field(min_length=1, max_length=2048), At("prompt", CLIP)]
    image: Annotated[ImageReference | None, At("image_urls", CLIP, image=True)] = None
    resolution: Annotated[Resolution, At("options.resolution", CLIP)] = "720p"
    duration_seconds: Annotated[int, one_of(5, 8), At("options.duration", CLIP)] = 5
    aspect_ratio: Annotated[Literal["16:9", "4:3", "1:1", "3:4", "9:16"], At("options.aspect_ratio", CLIP)] = "16:9"
    outputs: Annotated[int, Field(ge=1, le=4), At("options.num_outputs", CLIP)] = 1
    prompt_optimization: Annotated[bool, At("options.prompt_optimization", CLIP)] = False

    def body(self, image: Callable[[str], Any]) -> dict[str, Any]:
        """The body, with the model id. The single image is sent as a list."""
        return {"model_id": self.ENDPOINT, **super().body(lambda reference: [image(reference)])}


class Pixwith(Provider):
    """Pixwith's task API. Answers are judged by `code` in their JSON body; the HTTP status comes second."""

    NAME = "pixwith"
    BASE_URL = "https://api.pixwith.ai"
    MODELS = (PixwithV5,)
    TELLS_BALANCE = True
    QUESTIONS = QUESTIONS
    TAKES_UPLOADS = True

    def submit(self, request: Request, content: bytes) -> httpx.Request:
        """One POST per task. The service has no field for an id of ours."""
        del request
        return self._post_json("/api/task/create", content, self._headers())

    def read_submit(self, response: httpx.Response, reference: str) -> Accepted:
        """`code` 1 with a task_id means accepted, `code` 0 or 2 means refused; anything else is unknown."""
        del reference
        body = mapping(read_json(response))
        code, text = _code(body), _text(body) or excerpt(response)
        data = mapping(body.get("data"))
        if response.is_success and code == _OK and (task_id := identifier(data.get("task_id"))):
            return Accepted(task_id, wait_seconds=positive(data.get("estimated_time")))
        if response.is_success and code not in {0, _AUTH}:
            raise outcome_unknown(f"Pixwith answered HTTP {response.status_code} without a task_id: {text}")
        if not (response.is_success or is_declined(response)):
            raise outcome_unknown(f"Pixwith answered HTTP {response.status_code}: {text}")
        about = About.KEY if code == _AUTH else _about(_text(body))
        raise read_refusal(f"{NOT_CHARGED} Pixwith declined: {text}.", response, about)

    def poll(self, tasks: Sequence[TaskRef]) -> httpx.Request:
        """One POST per task."""
        body = {"task_id": tasks[0].task_id}
        return httpx.Request("POST", f"{self.base_url}/api/task/get", headers=self._headers(), json=body)

    def read_poll(self, response: httpx.Response, tasks: Sequence[TaskRef]) -> dict[str, PollFact]:
        """`data.status` decides. An error `code` says something about the task only if the text is "not found"."""
        body = mapping(read_json(response))
        data, text = mapping(body.get("data")), _text(body)
        if not response.is_success:
            raise unread_poll("Pixwith", response)
        if (code := _code(body)) != _OK:
            if code != _AUTH and says_task_is_absent(text) and not _KEY_TROUBLE.search(text):
                return {tasks[0].task_id: Missing()}
            raise ReadFailed(f"Pixwith answered the poll with: {text or excerpt(response)}")
        if is_other_task(data.get("task_id"), tasks[0].task_id):
            raise other_task("Pixwith", data.get("task_id"), tasks[0].task_id)
        return {tasks[0].task_id: _read_task(data, text, tasks[0])}

    def stage(self, image: StagedBytes) -> Generator[httpx.Request, httpx.Response, Staged]:
        """Ask for a form, and send it with the image as its last part, as S3 wants it. The form holds for 10 minutes.

        How long an uploaded image is kept is not published.
        """
        names = {"image_name": image.name, "content_type": image.content_type}
        response = yield httpx.Request("POST", f"{self.base_url}/api/task/pre_url", headers=self._headers(), json=names)
        body = mapping(read_json(response))
        data = mapping(body.get("data"))
        form, kept_at = mapping(data.get("upload_url")), data.get("image_url")
        url, fields = form.get("url"), mapping(form.get("fields"))
        code, text = _code(body), _text(body) or excerpt(response)
        if response.is_success and code == _OK and self._may_be_at(url) and fields and is_web_url(kept_at):
            # The form goes to another host, without the key.
            answer = yield _form(str(url), {str(name): str(value) for name, value in fields.items()}, image)
            if b"EntityTooLarge" in answer.content[:_HEAD_BYTES]:
                raise Refused(f"{NOT_CHARGED} The image is larger than Pixwith takes.", True)  # noqa: FBT003 - as above
            if not answer.is_success:
                raise unread_upload("Pixwith's upload", answer)
            return Staged(str(kept_at), _KEPT_SECONDS)
        if code in {0, _AUTH} or is_declined(response):
            about = About.KEY if code == _AUTH else _about(_text(body))
            raise read_refusal(f"{NOT_CHARGED} Pixwith does not take the image: {text}.", response, about)
        raise unread_upload("Pixwith", response)

    def ask_account(self) -> httpx.Request:
        """One POST for the credits."""
        return httpx.Request("POST", f"{self.base_url}/api/task/get_credits", headers=self._headers(), json={})

    def read_account(self, response: httpx.Response) -> AccountFacts:
        """`data.credits`. What a credit is worth is not published."""
        body = mapping(read_json(response))
        code, text = _code(body), _text(body)
        said = code == _AUTH or (code == 0 and _about(text) is About.KEY)
        if said or response.status_code == HTTPStatus.UNAUTHORIZED:
            raise refused_key("Pixwith", text or f"HTTP {response.status_code}")
        if not response.is_success or code is None:
            raise unread_account("Pixwith", response)
        credits_left = amount(mapping(body.get("data")).get("credits"))
        return AccountFacts(credits_left, "credits" if credits_left is not None else "")

    def _may_be_at(self, url: Any) -> bool:
        """Whether an image is sent to this address: nothing that came over TLS goes on without it."""
        return is_web_url(url) and httpx.URL(url).scheme in {"https", httpx.URL(self.base_url).scheme}

    def _headers(self) -> dict[str, str]:
        return {"Api-Key": self._api_key}


def _form(url: str, fields: dict[str, str], image: StagedBytes) -> httpx.Request:
    """The form of an upload to S3: its fields in the order in which they were given, and the file behind them."""
    boundary = f"form-{image.sha256}"
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{_plain(name)}"\r\n\r\n{value}\r\n'
             for name, value in fields.items()]  # fmt: skip
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{image.name}"\r\n'
    head += f"Content-Type: {image.content_type}\r\n\r\n"
    content = "".join([*parts, head]).encode() + image.data + f"\r\n--{boundary}--\r\n".encode()
    kind = f"multipart/form-data; boundary={boundary}"
    return httpx.Request("POST", url, headers={"Content-Type": kind}, content=content)


def _plain(name: str) -> str:
    return re.sub(r'["\r\n]', "", name)


def _text(body: dict[str, Any]) -> str:
    error = error_of(body)
    said = body.get("message") or body.get("msg") or error.get("message") or error.get("msg")
    return shorten(redact_text(str(said or "")), 300)


def _code(body: dict[str, Any]) -> int | None:
    return integer(body.get("code") if "code" in body else error_of(body).get("code"))


def _about(text: str) -> About | None:
    whole = text.strip(" .!")
    return next((about for about, words in _ABOUT.items() if re.fullmatch(f"(?i)({words}){_LATER}", whole)), None)


def _read_task(data: dict[str, Any], text: str, task: TaskRef) -> PollFact:
    status, asked = integer(data.get("status")), task.outputs
    urls = tuple(islice((url for url in items(data.get("result_urls")) if is_web_url(url)), asked))
    if status == _FAILED:
        # No field for the reason of a failure is documented; the message is kept, if there is one.
        reason = text if text and text != "success" else "no reason given"
        named = identifier(data.get("task_id")) == task.task_id
        return Failed(FailureKind.PROVIDER_ERROR, reason, names_task=named)
    if urls and status != _PROCESSING:
        note = f"{len(urls)} of {asked} outputs" if len(urls) < asked else ""
        return Succeeded(urls, note=note)
    if status == _COMPLETED:
        return Running(note="finished, but no result URL yet")
    return Running() if status == _PROCESSING else unknown_word(data.get("status"))
