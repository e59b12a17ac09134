"""Rows and tasks as values in the columns of the ledger's tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.manifest import Difference, InputImage
from pixverse_dagster.core.old_request import old_request
from pixverse_dagster.core.redaction import redact_text, remember_result
from pixverse_dagster.core.request import DIGEST_VERSION, Request
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.words import read_without_words, without_words
from pixverse_dagster.ledger.schema import tasks
from pixverse_dagster.providers import MODELS

TASK_COLUMNS = tuple(column for column in tasks.c if column.name != "body")
"""What is read of a task. The body of a submit is asked for by itself, and only for a replay."""
_COLUMN_NAMES = tuple(column.name for column in TASK_COLUMNS)
_TEXTS = frozenset(["reason", "note", "decision"])
_FIELDS = tuple(field.name for field in fields(Task))
_WITHOUT_WORDS = "without words"
"""The only key of a request whose words were forgotten; no model has such a parameter."""


def plain(name: str, value: Any) -> Any:
    """A value as its column takes it."""
    if name in {"urls", "seeds"}:
        return json.dumps(value)
    if name in _TEXTS and value is not None:
        return writable(redact_text(str(value)))
    return value


def writable(text: str) -> str:
    """A provider's words as a database takes them: neither takes half a surrogate pair, and PostgreSQL no NUL."""
    return text.replace("\0", "").encode(errors="replace").decode()


def _request_text(request: Request) -> str:
    return request.model_dump_json(exclude_none=True)


def text_without_words(model: str, text: str) -> str:
    """A request as a column has it, without its words. Repeatable."""
    return json.dumps({_WITHOUT_WORDS: without_words(_read_request_text(model, text))})


def _read_request_text(model: str, text: str) -> Request:
    try:
        document = json.loads(text)
        if _WITHOUT_WORDS in document:
            return read_without_words(MODELS[model], document[_WITHOUT_WORDS])
        return MODELS[model].model_validate_json(text)
    except (KeyError, TypeError, ValueError, RecursionError):
        # A model that is gone, or a request that this version refuses: its task is still paid for.
        return old_request(model, text, MODELS.get(model))


def _images_text(images: Mapping[str, InputImage]) -> str:
    return json.dumps({name: image.model_dump(exclude_none=True) for name, image in images.items()})


def _differences_text(differences: Sequence[Difference]) -> str:
    return json.dumps([difference.model_dump() for difference in differences])


def _read_differences(record: Any) -> tuple[Difference, ...]:
    kept: list[Difference] = []
    for difference in json.loads(record.differences):
        with suppress(ValueError):  # of another version
            kept.append(Difference(**difference))
    return tuple(kept)


def changed(task: Task, values: Mapping[str, Any]) -> Task:
    """The task as it is read back after these columns were written."""
    texts = {name: plain(name, values[name]) for name in _TEXTS & values.keys()}
    return replace(task, **{name: value for name, value in values.items() if name in _FIELDS} | texts)


def row_values(pipeline: str, position: int, row: Row) -> dict[str, Any]:
    """A row of the table as the columns have it."""
    return {
        "pipeline": pipeline,
        "row": row.id,
        "position": position,
        "line": row.line,
        "model": row.request.MODEL,
        "take": row.take,
        "digest": row.digest,
        "digest_version": DIGEST_VERSION,
        "address_digest": row.address_digest,
        "request": _request_text(row.request),
        "images": _images_text(row.images),
        "labels": json.dumps(dict(row.labels)),
        "differences": _differences_text(row.differences),
    }


def _read_request(record: Any) -> tuple[Request, dict[str, InputImage], dict[str, str]]:
    request = _read_request_text(record.model, record.request)
    images = {name: _read_image(image) for name, image in json.loads(record.images).items()}
    return request, images, json.loads(record.labels)


def _read_image(kept: Mapping[str, Any]) -> InputImage:
    try:
        return InputImage(**kept)
    except ValueError:
        return InputImage(source=str(kept.get("source")), digest=str(kept.get("digest")))


def read_row(record: Any) -> Row:
    """The row that a record of the table holds."""
    request, images, labels = _read_request(record)
    differences = _read_differences(record)
    return Row(record.row, record.line, record.take, labels, request, images, record.digest, differences)


def task_values(task: Task, body: str | None) -> dict[str, Any]:
    """A new task as the columns have it."""
    return {name: getattr(task, name) for name in _FIELDS} | {
        "model": task.request.MODEL,
        "request": _request_text(task.request),
        "images": _images_text(task.images),
        "labels": json.dumps(dict(task.labels)),
        "differences": _differences_text(task.differences),
        "body": body,
        "reason": plain("reason", task.reason),
        "urls": None,
        "seeds": None,
        "next_collect_at": None,
    }


def read_task(record: Any) -> Task:
    """The task that a record of TASK_COLUMNS holds."""
    request, images, labels = _read_request(record)
    urls = tuple(json.loads(record.urls or "[]"))
    for url in urls:
        remember_result(url)
    columns = dict(zip(_COLUMN_NAMES, record, strict=True))
    found: dict[str, Any] = {name: columns[name] for name in _FIELDS}
    found |= {
        "request": request,
        "images": images,
        "labels": labels,
        "differences": _read_differences(record),
        "state": TaskState(record.state),
        "kind": FailureKind(record.kind) if record.kind else None,
        "urls": urls,
        "seeds": tuple(json.loads(record.seeds or "[]")),
    }
    return Task(**found)
