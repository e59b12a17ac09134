"""HighwayAPI: `POST /v3/async/{model}`, `GET /v3/async/task-result`.

Sources: the three model pages and the "get task result" page of docs.highwayapi.ai (JieKou AI). The service has no
idempotency key, no list of tasks and no cancel: a submit whose answer is lost can only be settled by a person.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pixverse_dagster.clip import Accepted, Ended, FailureKind, Finished, Missing, PollFact, Running
from pixverse_dagster.errors import OutcomeUnknown, OutOfCredit, RateLimited, Unauthorized
from pixverse_dagster.models import (
    At,
    ImageReference,
    ImageRules,
    JsonList,
    MotionMode,
    Request,
    Resolution,
    Seed,
    Style,
    one_of,
)
from pixverse_dagster.providers.base import (
    Provider,
    TaskRef,
    code_word,
    excerpt,
    identifier,
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
from pixverse_dagster.redaction import redact_text

_IMAGES = ImageRules(
    formats=frozenset({"jpeg", "png"}),
    min_side=300,
    max_side=None,
    max_aspect=2.5,
    max_bytes=10_000_000,
    inline=False,
    source="HighwayAPI model pages: jpg/jpeg/png, at most 10 MB, both sides at least 300 px, aspect 1:2.5 to 2.5:1",
)
_MAX_OUTPUTS = 4
_RUNNING = {"QUEUED", "PROCESSING", "RUNNING", "PENDING"}
_DONE = {"SUCCEED", "SUCCEEDED", "SUCCESS"}
_FAILED = {"FAILED", "CANCELED", "CANCELLED"}
_NOT_FOUND = re.compile(r"(?i)task\b.*\bnot (found|exist)")
_MODERATION = re.compile(r"(?i)polic|moderat|nsfw|sensitiv|safety|prohibit|violat")


class HighwayV45ImageToVideo(Request):
    """PixVerse v4.5 image-to-video. Always 5 s long: the endpoint has no duration."""

    MODEL: ClassVar[str] = "highway/pixverse-v4.5-i2v"
    ENDPOINT: ClassVar[str] = "pixverse-v4.5-i2v"
    IMAGE_RULES: ClassVar[ImageRules] = _IMAGES

    prompt: Annotated[str, Field(min_length=1, max_length=2048), At("prompt")]
    image: Annotated[ImageReference, At("image", image=True)]
    resolution: Annotated[Resolution, At("resolution")] = "540p"
    duration_seconds: Annotated[int, one_of(5)] = 5
    negative_prompt: Annotated[str | None, Field(max_length=2048), At("negative_prompt")] = None
    motion_mode: Annotated[MotionMode, At("fast_mode", encode=lambda mode: mode == "fast")] = "normal"
    style: Annotated[Style | None, At("style")] = None
    seed: Annotated[Seed | None, At("seed")] = None

    @model_validator(mode="after")
    def _fast_has_no_1080p(self) -> HighwayV45ImageToVideo:
        if self.motion_mode == "fast" and self.resolution == "1080p":
            raise ValueError("motion_mode fast has no 1080p: use 720p, or motion_mode normal")
        return self

    def cautions(self) -> list[str]:
        """The page marks `style` as v3.5 only."""
        return ["style is marked 'v3.5 only' by HighwayAPI and may be ignored"] if self.style else []


class HighwayV6ImageToVideo(Request):
    """PixVerse v6 image-to-video, 1 to 15 s, with sound where asked for."""

    MODEL: ClassVar[str] = "highway/pixverse-v6-i2v"
    ENDPOINT: ClassVar[str] = "pixverse-v6-i2v"
    IMAGE_RULES: ClassVar[ImageRules] = _IMAGES

    prompt: Annotated[str, Field(min_length=1, max_length=2500), At("prompt")]
    image: Annotated[ImageReference, At("image", image=True)]
    resolution: Annotated[Resolution, At("resolution")] = "720p"
    duration_seconds: Annotated[int, Field(ge=1, le=15), At("duration")] = 5
    negative_prompt: Annotated[str | None, Field(max_length=2500), At("negative_prompt")] = None
    audio: Annotated[bool, At("generate_audio_switch")] = False
    seed: Annotated[Seed | None, At("seed")] = None
    cfg_scale: Annotated[float | None, Field(ge=0, le=1), At("cfg_scale")] = None
    thinking_type: Annotated[Literal["enabled", "disabled", "auto"] | None, At("thinking_type")] = None

    def cautions(self) -> list[str]:
        """PixVerse's own API has no cfg_scale."""
        return [] if self.cfg_scale is None else ["cfg_scale is not a PixVerse input and may have no effect"]


class Reference(BaseModel):
    """A reference image of the C1 model. The prompt names it as `@name `."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True)

    type: Literal["subject", "background"]
    name: Annotated[str, Field(min_length=1, max_length=30, pattern=r"^[A-Za-z0-9_]+$")]
    image: ImageReference


class HighwayC1ReferenceToVideo(Request):
    """PixVerse C1 reference-to-video: 1 to 7 images, each named in the prompt as `@name` followed by a space."""

    MODEL: ClassVar[str] = "highway/pixverse-c1-reference-to-video"
    ENDPOINT: ClassVar[str] = "pixverse-pixverse-c1-reference-to-video"
    IMAGE_RULES: ClassVar[ImageRules] = _IMAGES

    # The C1 page states no limit; its sibling on the same host, v6, has 2500 characters.
    prompt: Annotated[str, Field(min_length=1, max_length=2500), At("prompt")]
    references: Annotated[tuple[Reference, ...], JsonList, Field(min_length=1, max_length=7)]
    resolution: Annotated[Resolution, At("resolution")] = "720p"
    duration_seconds: Annotated[int, Field(ge=1, le=15), At("duration")] = 5
    aspect_ratio: Annotated[Literal["16:9", "4:3", "1:1", "3:4", "9:16", "2:3", "3:2", "21:9"], At("aspect_ratio")] = (
        "16:9"
    )
    audio: Annotated[bool, At("generate_audio_switch")] = False

    @field_validator("prompt")
    @classmethod
    def _close_last_marker(cls, prompt: str) -> str:
        # The provider wants a space after every marker, and table readers strip the one at the end.
        return prompt + " " if re.search(r"@\w+$", prompt) else prompt

    @model_validator(mode="after")
    def _markers_match(self) -> HighwayC1ReferenceToVideo:
        names = [reference.name for reference in self.references]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"references: name {twice[0]!r} is used twice; give each reference its own name")
        markers: list[str] = re.findall(r"@(\w+)", self.prompt)
        for marker in markers:
            if marker not in names:
                near = get_close_matches(marker, names, n=1)
                hint = f"; did you mean @{near[0]}?" if near else f"; the references are {', '.join(names)}"
                raise ValueError(f"prompt: @{marker} names no reference{hint}")
        for marker, after in re.findall(r"@(\w+)([^\w ])", self.prompt):
            raise ValueError(f"prompt: @{marker} must be followed by a space, not by {after!r}")
        if unused := [name for name in names if name not in markers]:
            raise ValueError(f"references: {unused[0]!r} is never used; write @{unused[0]} in the prompt")
        return self

    def images(self) -> tuple[str, ...]:
        """The reference images, in order."""
        return tuple(reference.image for reference in self.references)

    def shape_asked(self) -> str:
        """The references appear in the clip; its shape is asked for."""
        return self.aspect_ratio

    def body(self, image: Callable[[str], Any], url: Callable[[str], str] = str) -> dict[str, Any]:
        """The body with its `images` list."""
        listed = [{"type": r.type, "ref_name": r.name, "image_url": image(r.image)} for r in self.references]
        return {"images": listed, **super().body(image, url)}

    def cautions(self) -> list[str]:
        """PixVerse's CLI lists C1 without 21:9, HighwayAPI's page with it."""
        return ["aspect_ratio 21:9 is on HighwayAPI's page but not in PixVerse's own list"] * (
            self.aspect_ratio == "21:9"
        )


class Highway(Provider):
    """HighwayAPI's asynchronous endpoints."""

    NAME = "highway"
    BASE_URL = "https://api.highwayapi.ai"
    MODELS = (HighwayV45ImageToVideo, HighwayV6ImageToVideo, HighwayC1ReferenceToVideo)

    def submit(self, request: Request, body: dict[str, Any], reference: str) -> httpx.Request:
        """One POST per task; `reference` is only ours, the service has no field for it."""
        del reference
        url = f"{self.base_url}/v3/async/{request.ENDPOINT}"
        return httpx.Request("POST", url, headers=self._headers(), json=body)

    def read_submit(self, response: httpx.Response, reference: str) -> Accepted:
        """A `task_id` means accepted, an explicit 4xx or 503 refused; anything else is unknown."""
        del reference
        body = mapping(read_json(response))
        task_id = identifier(body.get("task_id") or mapping(body.get("data")).get("task_id"))
        if response.is_success and task_id:
            return Accepted(task_id)
        reason, text = code_word(body.get("reason")), _message(body) or excerpt(response)
        if response.is_success:
            raise OutcomeUnknown(f"HighwayAPI answered HTTP {response.status_code} without a task_id: {text}")
        message = f"HighwayAPI answered HTTP {response.status_code} {reason}: {text}. Not charged."
        status = response.status_code
        if reason in {"RATE_LIMIT_EXCEEDED", "TOKEN_LIMIT_EXCEEDED", "SERVICE_NOT_AVAILABLE"}:
            raise RateLimited(message, retry_after_seconds(response))
        if status == HTTPStatus.PAYMENT_REQUIRED or reason == "NOT_ENOUGH_BALANCE":
            # Their FAQ: a 403 that speaks of balance can be a rate limit in disguise.
            raise OutOfCredit(f"{message} The text may also hide a rate limit.")
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise Unauthorized(message)
        raise refuse_by_status("HighwayAPI", response, f"{reason} {text}".strip())

    def poll(self, tasks: Sequence[TaskRef]) -> httpx.Request:
        """One GET per task."""
        url = f"{self.base_url}/v3/async/task-result"
        return httpx.Request("GET", url, headers=self._headers(), params={"task_id": tasks[0].task_id})

    def read_poll(self, response: httpx.Response, tasks: Sequence[TaskRef]) -> dict[str, PollFact]:
        """Judge by `task.status` and the presence of a video URL; `progress_percent` was seen as 0 at the end."""
        document = mapping(read_json(response))
        document = document if "task" in document else mapping(document.get("data"))
        gone = response.is_client_error and _NOT_FOUND.search(_message(mapping(read_json(response))))
        if response.status_code == HTTPStatus.NOT_FOUND or gone:
            return {tasks[0].task_id: Missing()}
        if not response.is_success or not mapping(document.get("task")):
            raise unread_poll("HighwayAPI", response)
        return {tasks[0].task_id: _read_task(document)}

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._api_key}"}


def _message(body: dict[str, Any]) -> str:
    details = mapping(body.get("metadata")).get("details")
    return redact_text(" ".join(str(part) for part in (body.get("message"), details) if part))[:300]


def _read_task(document: dict[str, Any]) -> PollFact:
    task = mapping(document.get("task"))
    word = str(task.get("status") or "").upper().removeprefix("TASK_STATUS_")
    found = (mapping(video).get("video_url") for video in items(document.get("videos")))
    urls = tuple(islice((str(url) for url in found if is_web_url(url)), _MAX_OUTPUTS))
    if word in _FAILED:
        reason = redact_text(str(task.get("reason") or task.get("error") or task.get("message") or "no reason given"))
        kind = FailureKind.MODERATED if _MODERATION.search(reason) else FailureKind.PROVIDER_ERROR
        return Ended(kind, reason[:300])
    if urls and word not in _RUNNING:
        seed = integer(mapping(document.get("extra")).get("seed"))
        return Finished(urls, seeds=(seed,) * len(urls))
    if word in _DONE:
        return Running(note="finished, but no video URL yet")
    if word in _RUNNING:
        return Running(note=f"eta {eta:.0f} s" if (eta := positive(task.get("eta"))) else "")
    return unknown_word(task.get("status"))
