"""Pixwith: create, get, get_credits, and uploads.

A refusal is HTTP 200 with code 0, for a bad key with code 2.

Prices are the simulator's own figures: .45/.45/.60/1.20 USD for 5 s by resolution, twice that for 8 s, times the number
of outputs; one credit is one cent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pixverse_dagster.simulator import images, validation
from pixverse_dagster.simulator.faults import POLL_KINDS
from pixverse_dagster.simulator.links import Links, with_images
from pixverse_dagster.simulator.media import Shape
from pixverse_dagster.simulator.responses import ApiRoute, Dropped, answer_submit, base_url, server_error
from pixverse_dagster.simulator.sizes import size_by_name
from pixverse_dagster.simulator.state import Order, SimulatorState, Task
from pixverse_dagster.simulator.uploads import FormRefusedError, accept_form, read_form, refuse_form
from pixverse_dagster.simulator.validation import Fields, RefusedError

PROVIDER: Final = "pixwith"
_PRICE: Final = {"360p": 0.45, "540p": 0.45, "720p": 0.60, "1080p": 1.20}
_CREDITS_AT_START: Final = 10_000_000
_MAX_PROMPT: Final = 2048  # PixVerse's own limit for V5
_STATUS: Final = {"processing": 1, "succeeded": 2, "failed": 3}
_UNKNOWN_STATUS: Final = 7
_NAME: Final = re.compile(r"[\w.-]+", re.ASCII)
_ENDINGS: Final = {"image/jpeg": (".jpg", ".jpeg"), "image/png": (".png",)}


def _ok(data: dict[str, Any]) -> Response:
    return JSONResponse({"code": 1, "message": "success", "data": data})


def _error(message: str, *, code: int = 0, status: int = 200) -> Response:
    return JSONResponse({"code": code, "message": message}, status_code=status)


def _refused(refused: RefusedError) -> Response:
    if refused.field.startswith("image_urls"):
        wrong = "image format" if refused.breach == "unsupported" else "image url"
        return _error(f"Invalid {wrong}: {refused.rule}")
    return _error(f"Invalid parameter {refused}")


def _order(body: Any, account: str, links: Links) -> Order:
    fields = Fields(body)
    fields.require("prompt", "model_id", "options")
    fields.text("prompt", least=1, most=_MAX_PROMPT)
    fields.choice("model_id", ("2-27",))
    options = fields.inner("options") or Fields({})
    options.require("prompt_optimization", "num_outputs", "resolution", "aspect_ratio", "duration")
    options.flag("prompt_optimization")
    count = options.integer("num_outputs", 1, 4) or 1
    resolution = options.choice("resolution", validation.RESOLUTIONS)
    across, down = map(int, options.choice("aspect_ratio", ("16:9", "4:3", "1:1", "3:4", "9:16")).split(":"))
    seconds = options.integer("duration", 5, 8) or 5
    if seconds not in (5, 8):
        raise RefusedError("options.duration", "must be 5 or 8")
    options.finish()
    for url in fields.items("image_urls", 1, 1) or []:
        if not isinstance(url, str):
            raise RefusedError("image_urls[0]", "must be a string")
        image = images.check_url(url, images.PIXWITH_RULES, links, "image_urls[0]")
        across, down = image.width, image.height
    fields.finish()
    return Order(
        PROVIDER,
        "pixwith/pixverse-v5",
        account,
        body,
        Shape(*size_by_name(resolution, (across, down)), seconds=seconds),
        price_usd=_PRICE[resolution] * (1 if seconds == 5 else 2),  # noqa: PLR2004 - 5 s or 8 s
        task_id=uuid4().hex,
        count=count,
    )


class Pixwith:
    """The endpoints. Each gives the name of the call and the response."""

    NAME: Final = PROVIDER

    def __init__(self, state: SimulatorState, links: Callable[[Request, str], Links]) -> None:
        self._state = state
        self._links = links

    def routes(self) -> list[ApiRoute]:
        """The paths, with their methods and endpoints."""
        return [
            ("/pixwith/api/task/create", "POST", self.submit),
            ("/pixwith/api/task/get", "POST", self.result),
            ("/pixwith/api/task/get_credits", "POST", self.credit),
            ("/pixwith/api/task/pre_url", "POST", self.pre_url),
            ("/pixwith/uploads", "POST", self.upload),
        ]

    async def submit(self, request: Request) -> tuple[str, Response]:
        return "submit", await self._guarded(request, self._submit)

    async def result(self, request: Request) -> tuple[str, Response]:
        return "poll", await self._guarded(request, self._result)

    async def credit(self, request: Request) -> tuple[str, Response]:
        return "credits", await self._guarded(request, self._credit)

    async def pre_url(self, request: Request) -> tuple[str, Response]:
        return "pre_url", await self._guarded(request, self._sign)

    async def upload(self, request: Request) -> tuple[str, Response]:
        """The form goes to an object store, which knows nothing of API keys."""
        try:
            self._state.uploads.take_form(await read_form(request))
        except FormRefusedError as refused:
            return "upload", refuse_form(refused)
        return "upload", accept_form()

    async def _guarded(self, request: Request, answer: Callable[[Request, str, Any], Awaitable[Response]]) -> Response:
        """The answer, or a refusal if the key is wrong or the body breaks a rule."""
        account = self._state.settings.account(request.headers.get("api-key"))
        if account is None:
            return _error("Invalid API KEY", code=2)
        try:
            return await answer(request, account, await validation.read_json(request) if await request.body() else {})
        except RefusedError as refused:
            return _refused(refused)

    async def _sign(self, request: Request, account: str, body: Any) -> Response:
        fields = Fields(body)
        fields.require("image_name", "content_type")
        name = fields.text("image_name", least=1, most=120) or ""
        content_type = fields.choice("content_type", tuple(_ENDINGS))
        fields.finish()
        if not _NAME.fullmatch(name) or not name.lower().endswith(_ENDINGS[content_type]):
            return _error("Invalid image format")
        form, path = self._state.uploads.sign_form(account, name, content_type)
        base = base_url(request)
        return _ok({"upload_url": {"url": f"{base}/pixwith/uploads", "fields": form}, "image_url": base + path})

    async def _submit(self, request: Request, account: str, body: Any) -> Response:
        estimate = math.ceil(self._state.settings.generation_seconds)
        return answer_submit(
            self._state,
            [await with_images(self._links(request, account), partial(_order, body, account))],
            refuse=lambda status: _error(
                "Too many requests" if status == HTTPStatus.TOO_MANY_REQUESTS else "Service busy", status=status
            ),
            receipt=lambda tasks: _ok({"task_id": tasks[0].order.task_id, "estimated_time": estimate}),
        )

    async def _result(self, request: Request, account: str, body: Any) -> Response:
        fields = Fields(body)
        fields.require("task_id")
        task = self._state.find(PROVIDER, account, fields.text("task_id") or "")
        fields.finish()
        if task is not None:
            task.polls += 1
        if fault := self._state.faults.first(POLL_KINDS):
            return Dropped() if fault == "poll.dropped" else server_error()
        if task is None:
            return _error("Task not found")
        return _ok(self._task_document(task, base_url(request)))

    def _task_document(self, task: Task, base: str) -> dict[str, Any]:
        found, urls = task.status, list[str]()
        status = _STATUS[found]
        if self._state.faults.strikes("poll.unknown_status"):
            status = _UNKNOWN_STATUS
        elif found == "succeeded":
            good = [number for number, output in enumerate(task.outputs, 1) if output.status == "succeeded"]
            urls = [self._state.signed_url(base, task, number) for number in good]
        return {"task_id": task.order.task_id, "status": status, "result_urls": urls}

    async def _credit(self, request: Request, account: str, body: Any) -> Response:  # noqa: ARG002 - called as the others are
        Fields(body).finish()
        mine = [
            task
            for task in self._state.tasks.values()
            if (task.order.provider, task.order.account) == (PROVIDER, account)
        ]
        used = sum(task.charged_usd for task in mine)
        return _ok({"credits": _CREDITS_AT_START - round(used * 100)})
