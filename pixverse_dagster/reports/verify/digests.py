"""Whether a digest is that of its request, computed anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from pydantic import ValidationError

from pixverse_dagster.core.manifest import InputImage
from pixverse_dagster.core.old_request import OldRequest
from pixverse_dagster.core.request import DIGEST_VERSION, Request, request_digest
from pixverse_dagster.core.row import Row, address_digest
from pixverse_dagster.core.task import Task


class Digested(Protocol):
    """A row or a task."""

    @property
    def request(self) -> Request: ...
    @property
    def images(self) -> Mapping[str, InputImage]: ...
    @property
    def take(self) -> int: ...
    @property
    def digest(self) -> str: ...


def has_words(of: Digested) -> bool:
    """Whether the request has its words: they were not forgotten on demand, which takes labels and images as well."""
    if isinstance(of.request, OldRequest) or of.images:
        return True
    try:
        type(of.request).model_validate(of.request.model_dump())
    except ValidationError:
        return False
    return True


def compare_digest(of: Task | Row) -> Iterator[str]:
    """What is wrong with the digests of a task or a row.

    Nothing is said of a request without words, or of one that another version kept: of a task, its manifest has it too.
    """
    if isinstance(of.request, OldRequest) or not has_words(of):
        return
    if missing := sorted(set(of.request.images()) - of.images.keys()):
        yield f"its request names {len(missing)} images of which nothing is on record"
        return
    if isinstance(of, Task) and of.digest_version != DIGEST_VERSION:
        return
    found = request_digest(of.request, {name: image.digest for name, image in of.images.items()}, of.take)
    if found != of.digest:
        yield f"its digest is {of.digest}, and that of its request, images and take is {found}"
    elif isinstance(of, Task) and of.found_at is None and of.address_digest not in {"", address_digest(of)}:
        yield f"its address digest is {of.address_digest}, and that of its request is {address_digest(of)}"
