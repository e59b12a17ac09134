"""Rows and tasks as values in the columns of the ledger's tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.manifest import InputImage
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.schema import tasks
from pixverse_dagster.providers import MODELS


def plain(name: str, value: Any) -> Any:
    if name in {"urls", "seeds"}:
        return json.dumps(value)
    if name in {"reason", "note", "settled"} and value is not None:
        # A provider's words: neither database takes half a surrogate pair, and PostgreSQL no NUL.
        return str(value).replace("\0", "").encode(errors="replace").decode()
    return value


def _request_text(request: Request) -> str:
    return request.model_dump_json(exclude_none=True)


def _images_text(images: Mapping[str, InputImage]) -> str:
    return json.dumps({name: image.model_dump(exclude_none=True) for name, image in images.items()})


def row_values(pipeline: str, position: int, row: Row) -> dict[str, Any]:
    return {
        "pipeline": pipeline,
        "row": row.id,
        "position": position,
        "line": row.line,
        "model": row.request.MODEL,
        "take": row.take,
        "digest": row.digest,
        "request": _request_text(row.request),
        "images": _images_text(row.images),
        "labels": json.dumps(dict(row.labels)),
    }


def _read_request(record: Any) -> tuple[Request, dict[str, InputImage], dict[str, str]]:
    request = MODELS[record.model].model_validate_json(record.request)
    images = {name: InputImage(**image) for name, image in json.loads(record.images).items()}
    return request, images, json.loads(record.labels)


def read_row(record: Any) -> Row:
    request, images, labels = _read_request(record)
    return Row(record.row, record.line, record.take, labels, request, images, record.digest)


def task_values(task: Task) -> dict[str, Any]:
    values = {name: getattr(task, name) for name in tasks.c.keys() if hasattr(task, name)}  # noqa: SIM118 - columns
    return values | {
        "model": task.request.MODEL,
        "request": _request_text(task.request),
        "images": _images_text(task.images),
        "labels": json.dumps(dict(task.labels)),
        "urls": None,
        "seeds": None,
        "next_collect_at": None,
    }


def read_task(record: Any) -> Task:
    request, images, labels = _read_request(record)
    fields: dict[str, Any] = {n: getattr(record, n) for n in Task.__dataclass_fields__ if n in record._fields}
    fields |= {
        "request": request,
        "images": images,
        "labels": labels,
        "state": TaskState(record.state),
        "kind": FailureKind(record.kind) if record.kind else None,
        "urls": tuple(json.loads(record.urls or "[]")),
        "seeds": tuple(json.loads(record.seeds or "[]")),
    }
    return Task(**fields)
