"""HighwayAPI: three submit calls and one result call.

Prices are the simulator's own figures: v4.5 has PixVerse's list price per clip (100 credits = 1 USD) and twice that in
fast mode, v6 and C1 a price per second by resolution, higher with audio.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pixverse_dagster.simulator import images, validation
from pixverse_dagster.simulator.faults import POLL_KINDS
from pixverse_dagster.simulator.links import Links, with_images
from pixverse_dagster.simulator.media import Shape
from pixverse_dagster.simulator.responses import ApiRoute, Dropped, answer_submit, base_url, bearer_key, server_error
from pixverse_dagster.simulator.sizes import SIZES, Size, size_by_name, size_of_image
from pixverse_dagster.simulator.state import Order, SimulatorState, Task
from pixverse_dagster.simulator.validation import Fields, RefusedError

PROVIDER: Final = "highway"
_V45_PRICE: Final = {"360p": 0.45, "540p": 0.45, "720p": 0.60, "1080p": 1.20}
_V6_PRICE: Final = {"360p": (0.033, 0.044), "540p": (0.044, 0.058), "720p": (0.059, 0.077), "1080p": (0.115, 0.150)}
_C1_PRICE: Final = {"360p": (0.030, 0.040), "540p": (0.040, 0.050), "720p": (0.050, 0.065), "1080p": (0.095, 0.120)}
_ASPECTS: Final = ("16:9", "4:3", "1:1", "3:4", "9:16", "2:3", "3:2", "21:9")
_REF_NAME: Final = re.compile(r"[A-Za-z0-9_ ]{1,30}")
_MARKER: Final = re.compile(r"(?<![A-Za-z0-9_])@(?=[A-Za-z0-9_])")
_REASONS: Final = {
    400: "INVALID_REQUEST_BODY",
    401: "FAILED_TO_AUTH",
    403: "INVALID_API_KEY",
    404: "MODEL_NOT_FOUND",
    429: "RATE_LIMIT_EXCEEDED",
    503: "SERVICE_NOT_AVAILABLE",
}


def _error(status: int, message: str, reason: str | None = None) -> Response:
    body: dict[str, Any] = {"code": status, "reason": reason or _REASONS[status], "message": message, "metadata": {}}
    return JSONResponse(body, status_code=status)


def _refuse_key(given: str | None) -> Response:
    return _error(403, "api key is missing") if given is None else _error(401, "authentication failed")


@dataclass(frozen=True)
class _Product:
    """What a valid body orders: the shape of the clip, and its price."""

    shape: Shape
    price_usd: float


def _image_size(body: Fields, links: Links) -> Size:
    url = body.text("image", least=1) or ""
    image = images.check_url(url, images.HIGHWAY_RULES, links, body.name("image"))
    return image.width, image.height


def _v45(body: Fields, links: Links) -> _Product:
    body.require("prompt", "image", "resolution")
    body.text("prompt", least=1, most=2048)
    body.text("negative_prompt", most=2048)
    fast = body.flag("fast_mode")
    resolution = body.choice("resolution", validation.RESOLUTIONS[:3] if fast else validation.RESOLUTIONS)
    body.choice("style", validation.STYLES)
    body.integer("seed", 0, validation.MAX_SEED)
    size = size_by_name(resolution, _image_size(body, links))
    return _Product(Shape(*size, seconds=5), _V45_PRICE[resolution] * (2 if fast else 1))


def _v6(body: Fields, links: Links) -> _Product:
    body.require("prompt", "image")
    body.text("prompt", most=2500)
    body.text("negative_prompt", most=2500)
    body.number("cfg_scale", 0, 1)
    body.choice("thinking_type", ("enabled", "disabled", "auto"))
    body.integer("seed", 0, validation.MAX_SEED)
    resolution = body.choice("resolution", validation.RESOLUTIONS, default="720p")
    return _timed(body, size_of_image(resolution, _image_size(body, links)), _V6_PRICE[resolution])


def _timed(body: Fields, size: Size, price_per_second: tuple[float, float]) -> _Product:
    seconds = body.integer("duration", 1, 15, default=5) or 5
    audio = body.flag("generate_audio_switch")
    return _Product(Shape(*size, seconds=seconds, audio=audio), round(price_per_second[audio] * seconds, 6))


def _c1(body: Fields, links: Links) -> _Product:
    body.require("prompt", "images")
    prompt = body.text("prompt", least=1) or ""
    references = body.items("images", 1, 7) or []
    names = [_reference(Fields(item, f"images[{at}]"), links) for at, item in enumerate(references)]
    if len(set(names)) != len(names):
        raise RefusedError("images", "ref_name must be unique")
    _check_markers(prompt, names)
    resolution = body.choice("resolution", validation.RESOLUTIONS, default="720p")
    aspect = body.choice("aspect_ratio", _ASPECTS, default="16:9")
    return _timed(body, SIZES[resolution, aspect], _C1_PRICE[resolution])


def _reference(item: Fields, links: Links) -> str:
    item.require("type", "ref_name", "image_url")
    item.choice("type", ("subject", "background"))
    name = item.text("ref_name") or ""
    if not _REF_NAME.fullmatch(name) or not name.strip():
        raise RefusedError(item.name("ref_name"), "must be 1 to 30 letters, digits, underscores or spaces")
    images.check_url(item.text("image_url") or "", images.HIGHWAY_RULES, links, item.name("image_url"))
    item.finish()
    return name


def _check_markers(prompt: str, names: list[str]) -> None:
    for name in names:
        if f"@{name} " not in prompt:
            raise RefusedError("prompt", f"must contain '@{name}' followed by a space")
    for marker in _MARKER.finditer(prompt):
        if not any(prompt.startswith(f"{name} ", marker.end()) for name in names):
            raise RefusedError("prompt", f"'@{prompt[marker.end() :][:30]}' matches no ref_name followed by a space")


_CALLS: Final[dict[str, tuple[str, Callable[[Fields, Links], _Product]]]] = {
    "pixverse-v4.5-i2v": ("highway/pixverse-v4.5-i2v", _v45),
    "pixverse-v6-i2v": ("highway/pixverse-v6-i2v", _v6),
    "pixverse-pixverse-c1-reference-to-video": ("highway/pixverse-c1-reference-to-video", _c1),
}


def _product(check: Callable[[Fields, Links], _Product], body: Any, links: Links) -> _Product:
    fields = Fields(body)
    product = check(fields, links)
    fields.finish()
    return product


class Highway:
    """The endpoints. Each gives the name of the call and the response."""

    NAME: Final = PROVIDER

    def __init__(self, state: SimulatorState, links: Callable[[Request, str], Links]) -> None:
        self._state = state
        self._links = links

    def routes(self) -> list[ApiRoute]:
        """The paths, with their methods and endpoints."""
        return [
            ("/highway/v3/async/task-result", "GET", self.result),
            ("/highway/v3/async/{call}", "POST", self.submit),
            ("/highway/v1/product/batch-price", "POST", self.prices),
        ]

    async def submit(self, request: Request) -> tuple[str, Response]:
        return "submit", await self._submit(request)

    async def _submit(self, request: Request) -> Response:
        given = request.headers.get("authorization")
        account = self._state.settings.account(bearer_key(given))
        if account is None:
            return _refuse_key(given)
        call = request.path_params["call"]
        if call not in _CALLS:
            return _error(404, f"model {call} not found")
        model, check = _CALLS[call]
        try:
            body = await validation.read_json(request)
            product = await with_images(self._links(request, account), partial(_product, check, body))
        except RefusedError as refused:
            return _error(400, str(refused))
        order = Order(PROVIDER, model, account, body, product.shape, product.price_usd, task_id=str(uuid4()))
        return answer_submit(
            self._state,
            [order],
            refuse=lambda status: _error(status, "try again later"),
            receipt=lambda tasks: JSONResponse({"task_id": tasks[0].order.task_id}),
        )

    async def prices(self, request: Request) -> tuple[str, Response]:
        given = request.headers.get("authorization")
        if self._state.settings.account(bearer_key(given)) is None:
            return "prices", _refuse_key(given)
        try:
            body = Fields(await validation.read_json(request))
            asked = [str(product) for product in body.items("product_ids", 1, 200) or []]
            body.finish()
        except RefusedError as refused:
            return "prices", _error(400, str(refused))
        known = [(product, usd) for product in asked if (usd := self._product_price(product)) is not None]
        rows = [
            {"product_id": product, "price": usd, "original_price": usd, "currency": "USD", "unit": "call"}
            for product, usd in known
        ]
        return "prices", JSONResponse({"prices": rows})

    def _product_price(self, product: str) -> float | None:
        parts = re.fullmatch(r"PIXVERSE_V4_5_IMG_TO_VIDEO_(FAST_MODE_)?5S_(360P|540P|720P|1080P)", product)
        if parts is None or (parts[1] and parts[2] == "1080P"):
            return None
        usd = _V45_PRICE[parts[2].lower()] * (2 if parts[1] else 1)
        return round(usd * self._state.settings.charge_factor, 6)

    async def result(self, request: Request) -> tuple[str, Response]:
        return "poll", self._result(request)

    def _result(self, request: Request) -> Response:
        given = request.headers.get("authorization")
        account = self._state.settings.account(bearer_key(given))
        if account is None:
            return _refuse_key(given)
        if set(request.query_params) != {"task_id"}:
            return _error(400, "exactly one query parameter is expected: task_id")
        task = self._state.find(PROVIDER, account, request.query_params["task_id"])
        if task is not None:
            task.polls += 1
        if fault := self._state.faults.first(POLL_KINDS):
            return Dropped() if fault == "poll.dropped" else server_error()
        if task is None:
            return _error(404, "task not found", "TASK_NOT_FOUND")
        return JSONResponse(self._task_document(task, base_url(request)))

    def _task_document(self, task: Task, base: str) -> dict[str, Any]:
        output = task.outputs[0]
        state: dict[str, Any] = {
            "task_id": task.order.task_id,
            "status": "TASK_STATUS_QUEUED" if task.progress < 20 else "TASK_STATUS_PROCESSING",  # noqa: PLR2004 - percent
            "task_type": task.order.model.removeprefix("highway/").upper().replace("-", "_").replace(".", "_"),
            "reason": "",
            "eta": 0,
            "progress_percent": task.progress,
        }
        answer: dict[str, Any] = {"task": state, "extra": {}, "images": [], "videos": [], "audios": []}
        if self._state.faults.strikes("poll.unknown_status"):
            state["status"] = "TASK_STATUS_REVIEWING"
        elif task.status == "failed":
            moderated = output.fate == "moderated"
            reason = "input rejected by content policy" if moderated else "generation failed"
            state.update(status="TASK_STATUS_FAILED", reason=reason, progress_percent=0)
        elif task.status == "succeeded":
            state.update(status="TASK_STATUS_SUCCEED", progress_percent=0)  # 0 as captured from the real service
            answer["extra"] = {"seed": str(output.seed)}
            url = self._state.signed_url(base, task, 1)
            video = {"video_url": url, "video_url_ttl": "0", "video_type": "mp4", "nsfw_detection_result": None}
            answer["videos"] = [video]
        return answer
