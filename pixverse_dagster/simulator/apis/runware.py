"""Runware: one endpoint, a JSON array of tasks in, `data` and `errors` out.

Prices are the simulator's own figures, derived from the only published one: .299 USD for 5 s of 1080p. Other sizes
follow PixVerse's credits, 45:45:60:120; 8 s or fast mode costs twice as much. Every result is charged, failed ones too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pixverse_dagster.simulator import validation
from pixverse_dagster.simulator.apis.runware_rules import read_order, read_upload
from pixverse_dagster.simulator.faults import POLL_KINDS
from pixverse_dagster.simulator.links import Links, with_images
from pixverse_dagster.simulator.responses import ApiRoute, Dropped, answer_submit, base_url, bearer_key, server_error
from pixverse_dagster.simulator.state import Order, SimulatorState, Task
from pixverse_dagster.simulator.validation import RefusedError

PROVIDER: Final = "runware"
_CODES: Final = {
    "missing": "missing",
    "invalid": "invalid",
    "unsupported": "unsupported",
    "conflict": "incompatibleParameters",
    "unknown": "unknownParameter",
}
_FAILURES: Final = {
    "failed": ("inferenceError", "The inference failed."),
    "moderated": ("providerContentPolicyViolation", "The provider rejected this content."),
}
_REFUSALS: Final = {401: "invalidApiKey", 429: "apiRateLimitExceeded", 503: "serviceUnavailable"}

Row = dict[str, Any]


def _error(code: str, message: str, *, parameter: str | None = None, task: Row | None = None) -> Row:
    """An error item; `task` is the task object it belongs to."""
    row: Row = {"code": code, "status": "error", "message": message}
    if parameter is not None:
        row |= {"parameter": parameter, "type": "string"}
    row["documentation"] = "https://runware.ai/docs/en/utilities/errors"
    return row | {key: task[key] for key in ("taskUUID", "taskType") if task and key in task}


def _refusal(refused: RefusedError, task: Row | None) -> Row:
    code = _CODES[refused.breach]
    if refused.breach in ("missing", "invalid", "unsupported"):
        last = refused.field.rpartition(".")[2].partition("[")[0]
        code += last[:1].upper() + last[1:]
    return _error(code, f"{refused}.", parameter=refused.field, task=task)


def _answer(data: list[Row], errors: list[Row]) -> Response:
    """HTTP 400 if there are only errors, else 200 with both lists."""
    body: Row = {"data": data, "errors": errors} if errors else {"data": data}
    return JSONResponse(body, status_code=400 if errors and not data else 200)


_BALANCE_AT_START_USD: Final = 100_000.0


def _refuse(status: int, *tasks: Row) -> Response:
    code = _REFUSALS[status]
    rows = [_error(code, "The request was not taken.", task=task) for task in tasks or ({},)]
    return JSONResponse({"errors": rows}, status_code=status)


def _given_key(request: Request, tasks: list[Row]) -> str | None:
    """The key in the Bearer header, or in the first array element."""
    given = request.headers.get("authorization")
    return bearer_key(given) if given is not None else _key_in(tasks[0])


def _key_in(task: Row) -> str | None:
    """The key in an `authentication` task; None if it is something else."""
    key = task.get("apiKey")
    return key if isinstance(key, str) and task == {"taskType": "authentication", "apiKey": key} else None


async def _read_tasks(request: Request) -> list[Row]:
    """The array in the body.

    Raises:
        RefusedError: not JSON, not an array, an empty array, or an item that is not an object.
    """
    body = await validation.read_json(request)
    if not isinstance(body, list) or not body or not all(isinstance(item, dict) for item in cast("list[Any]", body)):
        raise RefusedError("body", "must be an array of tasks")
    return cast("list[Row]", body)


def _call(tasks: list[Row]) -> str:
    kinds = [task.get("taskType") for task in tasks]
    if "videoInference" in kinds:
        return "submit"
    if "getResponse" in kinds:
        return "poll"
    return "upload" if "imageUpload" in kinds else "other"


def _split(tasks: list[Row], kind: str) -> tuple[list[Row], list[Row]]:
    """The tasks of that type, and the others."""
    return [task for task in tasks if task.get("taskType") == kind], [
        task for task in tasks if task.get("taskType") != kind
    ]


class Runware:
    """The endpoint. It gives the name of the call (submit, poll or other) and the response."""

    NAME: Final = PROVIDER

    def __init__(self, state: SimulatorState, links: Callable[[Request, str], Links]) -> None:
        self._state = state
        self._links = links

    def routes(self) -> list[ApiRoute]:
        """The paths, with their methods and endpoints."""
        return [
            ("/runware/v1", "POST", self.post),
            ("/runware", "POST", self.post),
        ]

    async def post(self, request: Request) -> tuple[str, Response]:
        try:
            tasks = await _read_tasks(request)
        except RefusedError as refused:
            return "other", _answer([], [_refusal(refused, None)])
        call = _call(tasks)
        account = self._state.settings.account(_given_key(request, tasks))
        if account is None:
            return call, _refuse(401)
        if call == "submit":
            return call, await self._submit(request, account, tasks)
        if call == "poll":
            return call, self._poll(request, account, tasks)
        if call == "upload":
            return call, await self._upload(request, account, tasks)
        return call, _answer(*self._utilities(account, tasks))

    async def _upload(self, request: Request, account: str, tasks: list[Row]) -> Response:
        """Keeps the images of the valid `imageUpload` tasks. Free."""
        uploads, others = _split(tasks, "imageUpload")
        data, errors = self._utilities(account, others)
        for task in uploads:
            try:
                image = await with_images(self._links(request, account), partial(read_upload, task))
            except RefusedError as refused:
                errors.append(_refusal(refused, task))
                continue
            uuid = self._state.uploads.add(account, image)
            data.append({"taskType": "imageUpload", "taskUUID": task["taskUUID"], "imageUUID": uuid})
        return _answer(data, errors)

    async def _submit(self, request: Request, account: str, tasks: list[Row]) -> Response:
        """Accepts the valid `videoInference` tasks. Each invalid one gets its own error and costs nothing."""
        inferences, others = _split(tasks, "videoInference")
        data, errors = self._utilities(account, others)
        read: list[Order | RefusedError] = []
        for task in inferences:
            try:
                read.append(await with_images(self._links(request, account), partial(read_order, task, account)))
            except RefusedError as refused:
                read.append(refused)
        orders: list[Order] = []
        # From here on nothing is waited for: of two posts with one UUID only the first is accepted.
        for task, order in zip(inferences, read, strict=True):
            if isinstance(order, RefusedError):
                errors.append(_refusal(order, task))
            elif self._state.find(PROVIDER, account, order.task_id) or order.task_id.lower() in {
                one.task_id.lower() for one in orders
            }:
                errors.append(self._conflict(account, task))
            else:
                orders.append(order)
        if not orders:
            return JSONResponse({"data": data, "errors": errors}, status_code=400)

        def receipt(accepted: list[Task]) -> Response:
            for task in accepted:
                row = {"taskType": "videoInference", "taskUUID": task.order.client_reference}
                task.last_response = row
                data.append(row)
            return _answer(data, errors)

        requests = [order.request for order in orders]
        return answer_submit(self._state, orders, refuse=lambda status: _refuse(status, *requests), receipt=receipt)

    def _conflict(self, account: str, task: Row) -> Row:
        row = _error("conflictTaskUUID", "This taskUUID is already in use.", parameter="taskUUID", task=task)
        if known := self._state.find(PROVIDER, account, task["taskUUID"]):
            known.last_response = row
        return row

    def _poll(self, request: Request, account: str, tasks: list[Row]) -> Response:
        """The rows and errors of all the requested tasks, in one answer."""
        polls, others = _split(tasks, "getResponse")
        data, refused = self._utilities(account, others)
        known: list[Task] = []
        for poll in polls:
            if set(poll) != {"taskType", "taskUUID"} or not validation.is_uuid4(poll["taskUUID"]):
                refused.append(_error("invalidTaskUUID", "Only a taskUUID (UUID v4) is expected.", task=poll))
            elif task := self._state.find(PROVIDER, account, poll["taskUUID"]):
                task.polls += 1
                known.append(task)
        if fault := self._state.faults.first(POLL_KINDS):
            return Dropped() if fault == "poll.dropped" else server_error()
        failures: list[Row] = []
        for task in known:
            rows, failed = self._task_rows(task, base_url(request))
            data += rows
            failures += failed
            task.last_response = {"data": rows, "errors": failed}
        if refused and len(refused) == len(tasks):
            return _answer([], refused)
        errors = refused + failures
        return JSONResponse({"data": data, "errors": errors} if errors else {"data": data})

    def _task_rows(self, task: Task, base: str) -> tuple[list[Row], list[Row]]:
        """Every finished result so far, and one row if others are still processing."""
        order = task.order
        head: Row = {"taskType": "videoInference", "taskUUID": order.client_reference}
        if self._state.faults.strikes("poll.unknown_status"):
            return [{**head, "status": "reviewing"}], []
        rows, errors = list[Row](), list[Row]()
        for number, output in enumerate(task.outputs, 1):
            index: Row = {"resultIndex": number - 1} if order.count > 1 else {}
            if output.status == "succeeded":
                url = self._state.signed_url(base, task, number)
                row: Row = {**head, "status": "success", "videoUUID": output.uuid, "videoURL": url, "seed": output.seed}
                if order.request.get("includeCost"):
                    row["cost"] = order.price_usd
                rows.append(row | index)
            elif output.status == "failed":
                errors.append(_error(*_FAILURES[output.fate], parameter="positivePrompt", task=head) | index)
        if len(rows) + len(errors) < order.count:
            rows.append({**head, "status": "processing", "progress": task.progress})
        return rows, errors

    def _utilities(self, account: str, tasks: list[Row]) -> tuple[list[Row], list[Row]]:
        """authentication, ping and getTaskDetails; anything else is an unknown task type."""
        data, errors = list[Row](), list[Row]()
        for task in tasks:
            kind = task.get("taskType")
            if self._state.settings.account(_key_in(task)) == account:
                data.append(
                    {"taskType": "authentication", "connectionSessionUUID": "00000000-0000-4000-8000-000000000000"}
                )
            elif task == {"taskType": "ping", "ping": True}:
                data.append({"taskType": "ping", "pong": True})
            elif kind == "accountManagement" and task.get("operation") == "getDetails":
                left = _BALANCE_AT_START_USD - sum(
                    one.charged_usd
                    for one in self._state.tasks.values()
                    if (one.order.provider, one.order.account) == (PROVIDER, account)
                )
                data.append({"taskType": kind, "taskUUID": task.get("taskUUID"), "balance": round(left, 4)})
            elif kind == "getTaskDetails" and (found := self._state.find(PROVIDER, account, str(task.get("taskUUID")))):
                details = {"request": found.order.request, "response": found.last_response}
                data.append({"taskType": kind, "taskUUID": task["taskUUID"], **json.loads(json.dumps(details))})
            elif kind == "getTaskDetails":
                errors.append(_error("taskNotFound", "There is no such task.", parameter="taskUUID", task=task))
            else:
                errors.append(_error("invalidTaskType", f"Unknown or malformed task: {kind}.", task=task))
        return data, errors
