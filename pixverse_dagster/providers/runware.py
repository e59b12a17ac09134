"""Runware: one endpoint, `POST /v1`, with a JSON array of tasks.

Sources: Runware's PixVerse V4.5 model page, its platform pages and official SDKs. The caller chooses the task's UUID
and a known UUID is refused unpaid (`conflictTaskUUID`): a submit whose answer is lost can be settled by asking, then
replaying it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Literal

import httpx
from pydantic import AfterValidator as After
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, HttpUrl, TypeAdapter, model_validator

from pixverse_dagster.clip import Accepted, Ended, FailureKind, Finished, Missing, PollFact, Running
from pixverse_dagster.errors import OutcomeUnknown, OutOfCredit, RateLimited, ReadFailed, Refused, Unauthorized
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
    UpperCase,
    one_of,
)
from pixverse_dagster.providers.base import (
    Provider,
    TaskRef,
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
from pixverse_dagster.redaction import redact_text

# Runware's page lists these pairs; PixVerse has them by resolution and aspect ratio.
SIZES: dict[tuple[str, str], tuple[int, int]] = {
    (f"{side}p", f"{w}:{h}"): (side * w // min(w, h), side * h // min(w, h))
    for side in (360, 540, 720, 1080)
    for w, h in ((16, 9), (4, 3), (1, 1), (3, 4), (9, 16))
}

CameraMovement = Literal[
    "horizontal_left", "horizontal_right", "vertical_up", "vertical_down", "zoom_in", "zoom_out", "auto_camera",
    "crane_up", "quickly_zoom_in", "quickly_zoom_out", "smooth_zoom_in", "camera_rotation", "robo_arm",
    "super_dolly_out", "whip_pan", "hitchcock", "left_follow", "right_follow", "pan_left", "pan_right", "fix_bg",
]  # fmt: skip
Effect = Literal[
    "bikini up", "the tigers touch", "jiggle jiggle", "hug your love", "kiss me ai", "subject 3 fever",
    "fin-tastic mermaid", "lets ymca", "skeleton dance", "kungfu club", "boom drop", "vroom vroom step",
    "creepy devil smile", "pubg winner hit", "360 microwave", "eye zoom challenge", "muscle surge", "punch face",
    "balloon belly", "kiss kiss",
]  # fmt: skip

_SETTINGS = "providerSettings.pixverse"
_URL: TypeAdapter[HttpUrl] = TypeAdapter(HttpUrl)


def _web_url(value: str) -> str:
    _URL.validate_python(value)
    return value


def _frame(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value in {"0", "-1"} else value


SecretUrl = Annotated[str, After(_web_url)]


class Frame(BaseModel):
    """An image and the frame it fixes. Without `frame`, Runware puts one image first, and two first and last."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    image: ImageReference
    frame: Annotated[Literal["first", "last", 0, -1] | None, BeforeValidator(_frame)] = None


class RunwareV45(Request):
    """PixVerse v4.5 (`pixverse:1@3`) from text, or from text with a first and/or last frame; 1 to 4 outputs.

    From text the size is `width` and `height`, or `resolution` and `aspect_ratio`, which stand for the same table;
    with frames it is `resolution` alone, and the shape is that of the image.
    """

    MODEL: ClassVar[str] = "runware/pixverse-v4.5"
    ENDPOINT: ClassVar[str] = "pixverse:1@3"
    IMAGE_RULES: ClassVar[ImageRules] = ImageRules(
        formats=frozenset({"jpeg", "png", "webp"}),
        min_side=300,
        max_side=4000,
        max_aspect=None,
        max_bytes=20_000_000,
        inline=True,
        source="Runware's v4.5 page: PNG, JPG or WEBP, sides of 300 to 4000 px, at most 20 MB",
    )

    prompt: Annotated[str, Field(min_length=2, max_length=2048), At("positivePrompt")]
    image: ImageReference | None = None
    last_image: ImageReference | None = None
    frames: Annotated[Annotated[tuple[Frame, ...], Field(min_length=1, max_length=2)] | None, JsonList] = None
    resolution: Resolution | None = None
    aspect_ratio: Literal["16:9", "4:3", "1:1", "3:4", "9:16"] | None = None
    width: int | None = None
    height: int | None = None
    duration_seconds: Annotated[int, one_of(5, 8), At("duration")] = 5
    negative_prompt: Annotated[str | None, Field(min_length=2, max_length=2048), At("negativePrompt")] = None
    motion_mode: Annotated[MotionMode | None, At(f"{_SETTINGS}.motionMode")] = None
    style: Annotated[Style | None, At(f"{_SETTINGS}.style")] = None
    camera_movement: Annotated[CameraMovement | None, At(f"{_SETTINGS}.cameraMovement")] = None
    effect: Annotated[Effect | None, At(f"{_SETTINGS}.effect")] = None
    seed: Annotated[Seed | None, At("seed")] = None
    outputs: Annotated[int, Field(ge=1, le=4), At("numberResults")] = 1
    output_type: Annotated[Literal["URL"], UpperCase, At("outputType")] = "URL"
    output_format: Annotated[Literal["MP4", "WEBM", "MOV"], UpperCase, At("outputFormat")] = "MP4"
    output_quality: Annotated[int | None, Field(ge=20, le=99), At("outputQuality")] = None
    delivery_method: Annotated[Literal["async"], At("deliveryMethod")] = "async"
    safety_check_content: Annotated[bool | None, At("safety.checkContent")] = None
    safety_mode: Annotated[Literal["none", "fast", "full"] | None, At("safety.mode")] = None
    ttl_seconds: Annotated[int | None, Field(ge=60), At("ttl")] = None
    include_cost: Annotated[bool, At("includeCost")] = True
    webhook_url: Annotated[SecretUrl | None, At("webhookURL", secret_url=True)] = None
    upload_endpoint: Annotated[SecretUrl | None, At("uploadEndpoint", secret_url=True)] = None

    @classmethod
    def displaced(cls, cells: Collection[str]) -> frozenset[str]:
        """A row's own size, or its images, take the place of a default size."""
        given = set(cells)
        by_size = {"resolution", "aspect_ratio"} if given & {"width", "height"} else set[str]()
        by_image = {"aspect_ratio", "width", "height"} if given & {"image", "last_image", "frames"} else set[str]()
        by_name = {"width", "height"} if given & {"resolution", "aspect_ratio"} else set[str]()
        return frozenset(by_size | by_image | by_name)

    @model_validator(mode="after")
    def _frames_once(self) -> RunwareV45:
        if self.frames and (self.image or self.last_image):
            raise ValueError("frames: give either frames, or image and last_image, not both")
        names: dict[Any, str] = {0: "first", -1: "last"}
        positions = [names.get(frame.frame, frame.frame) for frame in self.frames or ()]
        if len(positions) > 1 and positions[0] is not None and positions[0] == positions[1]:
            raise ValueError(f"frames: both images are for the {positions[0]} frame")
        return self

    @model_validator(mode="after")
    def _size(self) -> RunwareV45:
        framed = bool(self.images())
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height go together: give both, or neither")
        if self.width is not None and framed:
            raise ValueError("width and height are for text-to-video: with an image, give resolution instead")
        if self.width is not None and (self.resolution or self.aspect_ratio):
            raise ValueError("width: give width and height, or resolution and aspect_ratio, not both")
        if self.width is not None and (self.width, self.height) not in SIZES.values():
            sizes = ", ".join(f"{w}x{h}" for w, h in SIZES.values())
            raise ValueError(f"width: {self.width}x{self.height} is not a size of this model; the sizes are {sizes}")
        if framed and self.aspect_ratio:
            raise ValueError("aspect_ratio is for text-to-video: with an image, the clip takes the image's shape")
        return self

    @model_validator(mode="after")
    def _product_exists(self) -> RunwareV45:
        large = self.effective_resolution() == "1080p"
        if self.motion_mode == "fast" and self.duration_seconds != 5:  # noqa: PLR2004 - seconds, as documented
            raise ValueError(
                "motion_mode fast makes 5 s clips only: set duration_seconds to 5, or motion_mode to normal"
            )
        if self.motion_mode == "fast" and large:
            raise ValueError("motion_mode fast has no 1080p: use 720p, or motion_mode normal")
        if large and self.duration_seconds == 8:  # noqa: PLR2004 - seconds, as documented
            raise ValueError("duration_seconds: PixVerse v4.5 has no 1080p clip of 8 s: use 5 s, or 720p")
        if self.effect and self.camera_movement:
            raise ValueError("effect and camera_movement exclude each other: keep one")
        if self.upload_endpoint and self.outputs > 1:
            raise ValueError("upload_endpoint takes one file: with several outputs each would overwrite the last")
        return self

    def effective_resolution(self) -> str:
        """The resolution as it will be, from whichever columns say it."""
        if self.width is not None and self.height is not None:
            return next(r for (r, _), size in SIZES.items() if size == (self.width, self.height))
        return self.resolution or "720p"

    def shape_asked(self) -> str | None:
        """The shape of the width and height that are sent; with frames, none is."""
        if self.width is not None and self.height is not None:
            return f"{self.width}:{self.height}"
        return None if self._frames() else self.aspect_ratio or "16:9"

    def _frames(self) -> list[tuple[str, str | int | None]]:
        if self.frames:
            return [(frame.image, frame.frame) for frame in self.frames]
        pairs = ((self.image, "first"), (self.last_image, "last"))
        return [(image, frame) for image, frame in pairs if image]

    def images(self) -> tuple[str, ...]:
        """The frame images, in order."""
        return tuple(image for image, _ in self._frames())

    def body(self, image: Callable[[str], Any], url: Callable[[str], str] = str) -> dict[str, Any]:
        """The task object without its UUID."""
        body = {"taskType": "videoInference", "model": self.ENDPOINT, **super().body(image, url)}
        if frames := self._frames():
            listed = [{"image": image(i)} | ({} if frame is None else {"frame": frame}) for i, frame in frames]
            return {**body, "inputs": {"frameImages": listed}, "resolution": self.effective_resolution()}
        width, height = SIZES[self.effective_resolution(), self.aspect_ratio or "16:9"]
        return {**body, "width": self.width or width, "height": self.height or height}


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
    """Runware's task API. Polls many tasks in one request."""

    NAME = "runware"
    BASE_URL = "https://api.runware.ai"
    MODELS = (RunwareV45,)
    POLL_BATCH = 50
    REPLAYABLE = True

    def submit(self, request: Request, body: dict[str, Any], reference: str) -> httpx.Request:
        """One task per POST, so that one row's refusal is that row's; `reference` is the task's UUID."""
        del request
        return self._post([{**body, "taskUUID": reference}])

    def read_submit(self, response: httpx.Response, reference: str) -> Accepted:
        """An acknowledgement, or the refusal of a UUID that exists already, means accepted."""
        body = mapping(read_json(response))
        accepted = any(mapping(row).get("taskUUID") == reference for row in items(body.get("data")))
        # An error without a UUID is this task's only where nothing acknowledges the task.
        whose = (reference,) if accepted else (reference, None)
        error = next((e for e in _errors(body) if e.get("taskUUID") in whose), dict[str, Any]())
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
        return self._post([{"taskType": "getResponse", "taskUUID": task.task_id} for task in tasks])

    def read_poll(self, response: httpx.Response, tasks: Sequence[TaskRef]) -> dict[str, PollFact]:
        """Rows and errors are attributed by `taskUUID`; a task without any is Missing, which may mean running."""
        if response.is_server_error or response.status_code in {401, 402, 403, 429}:
            # These speak of the account and the call. An error that names a task only repeats what was asked about.
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

    def _post(self, tasks: list[dict[str, Any]]) -> httpx.Request:
        headers = {"Authorization": f"Bearer {self._api_key}"}
        return httpx.Request("POST", f"{self.base_url}/v1", headers=headers, json=tasks)


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
    # `data` repeats finished items on every poll, so each counts once by what tells results apart.
    return str(next((row[k] for k in ("resultIndex", "videoUUID", "videoURL") if row.get(k) is not None), ""))


def _finish(task: TaskRef, done: list[dict[str, Any]], failures: list[dict[str, Any]]) -> Finished | Ended:
    if not done:
        codes = {str(error.get("code") or "") for error in failures}
        moderated = bool(codes & _SAFETY_CODES)
        return Ended(FailureKind.MODERATED if moderated else FailureKind.PROVIDER_ERROR, _text(failures[0]))
    done = sorted(done, key=lambda row: integer(row.get("resultIndex")) or 0)[: task.outputs]
    costs = [cost for row in done if (cost := positive(row.get("cost"))) is not None]
    short = f"{len(done)} of {task.outputs} outputs; failed: {_text(failures[0])}" if failures else ""
    return Finished(
        urls=tuple(str(row["videoURL"]) for row in done),
        cost_usd=round(sum(costs), 6) if len(costs) == len(done) else None,
        seeds=tuple(integer(row.get("seed")) for row in done),
        note=short,
    )
