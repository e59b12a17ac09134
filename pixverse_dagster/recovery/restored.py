"""The tasks that a store's documents tell of, their requests made again as far as the documents have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from pixverse_dagster.core.errors import InvalidRow
from pixverse_dagster.core.manifest import ClipManifest, InputImage
from pixverse_dagster.core.provenance import Found, restore_tasks
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.tombstone import Tombstone, forgotten_task
from pixverse_dagster.providers import MODELS
from pixverse_dagster.stages.find import FolderReading, images_of

_WORDS_GONE = "(deleted)"
_IMAGE_GONE = "https://deleted.invalid/image"
_PLACEHOLDERS: tuple[Mapping[str, Any], ...] = (
    {"prompt": _WORDS_GONE},
    {"prompt": _WORDS_GONE, "image": _IMAGE_GONE},
    {"prompt": "@deleted", "references": [{"type": "subject", "name": "deleted", "image": _IMAGE_GONE}]},
)
"""What stands for the words of a request that was forgotten, by what a model cannot do without."""


def tasks_of(reading: FolderReading, row: Row | None, pipeline: str, ledger_id: str, now: float) -> list[Task]:
    """The tasks of a folder as a ledger has them that never saw them; the one that answers for it comes last.

    `row` is the table's where it asks for this very request. Raises InvalidRow where the request cannot be made again:
    its model is none of this version's, or its parameters are not.
    """
    found = Found(ledger_id, str(reading.folder), reading.manifest_sha256, now, pipeline, reading.row)
    if reading.tombstone is not None:
        request = row.request if row else _without_words(reading.tombstone)
        return [forgotten_task(reading.tombstone, request, row.images if row else {}, found)]
    assert reading.manifest is not None  # noqa: S101 - the caller has dealt with folders that could not be read
    request, images = (row.request, row.images) if row else _request_of(reading.manifest)
    return restore_tasks(reading.manifest, request, images, found)


def _request_of(manifest: ClipManifest) -> tuple[Request, Mapping[str, InputImage]]:
    """The request as the manifest has it: an address without its query string, an image in the table by its size."""
    request = _validated(manifest.model, manifest.request)
    if request is None:
        raise InvalidRow(
            f"the request of model {manifest.model!r} cannot be made again: this version of pixverse-dagster does not "
            "know the model or its parameters"
        )
    return request, images_of(manifest, request)


def _without_words(tombstone: Tombstone) -> Request:
    for placeholder in _PLACEHOLDERS:
        if request := _validated(tombstone.model, placeholder):
            return request
    raise InvalidRow(f"model {tombstone.model!r} is none that this version of pixverse-dagster knows")


def _validated(model: str, parameters: Mapping[str, Any]) -> Request | None:
    if model not in MODELS:
        return None
    try:
        return MODELS[model].model_validate(dict(parameters))
    except ValidationError:
        return None
