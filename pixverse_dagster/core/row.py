"""A row of a prompt table: as it was read, as it can be generated, or what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pixverse_dagster.core.manifest import Difference, InputImage
from pixverse_dagster.core.request import Request, request_digest
from pixverse_dagster.core.text import shorten

MAX_ID_BYTES = 200
"""Longest row id, percent-encoded. It becomes a folder name, for which file systems allow 255 bytes."""
MAX_MESSAGE_CHARACTERS = 1000
_MAX_COLUMN = 100
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class RawRow:
    """One row of a prompt table as it was read.

    `line` is its line in the file, or the number of its record, from 1. `complaint` says why it cannot be used, or is
    empty.
    """

    line: int
    cells: Mapping[str, Any]
    complaint: str = ""


@dataclass(frozen=True)
class Problem:
    """Why a row cannot be generated, where it is in the table, and what to do.

    Its texts are cut to a limit and contain no control characters, so they are safe to print and to store.
    """

    line: int
    row: str
    column: str
    message: str

    def __post_init__(self) -> None:
        for name, limit in (
            ("row", MAX_ID_BYTES),
            ("column", _MAX_COLUMN),
            ("message", MAX_MESSAGE_CHARACTERS),
        ):
            text = getattr(self, name)
            object.__setattr__(self, name, legible(shorten(text, limit) if name == "message" else text, limit))

    @property
    def place(self) -> tuple[int, str]:
        """Which row it is: its line, and its id, for a line may be several rows."""
        return self.line, self.row

    def __str__(self) -> str:
        where = f", column {self.column!r}" if self.column else ""
        return f"line {self.line}, row {self.row!r}{where}: {self.message}"


@dataclass(frozen=True)
class Row:
    """A row that can be generated: its request, its images as they were checked, by reference, and its digest."""

    id: str
    line: int
    take: int
    labels: Mapping[str, str]
    request: Request
    images: Mapping[str, InputImage]
    digest: str
    differences: tuple[Difference, ...] = ()
    """What is not sent as it was asked for."""

    @property
    def address_digest(self) -> str:
        """What `digest` would be if images counted by their addresses, not by their bytes."""
        return address_digest(self)


class HasRequest(Protocol):
    """What a row and a task have in common."""

    @property
    def take(self) -> int: ...

    @property
    def request(self) -> Request: ...

    @property
    def images(self) -> Mapping[str, InputImage]: ...


def retake(row: Row, take: int) -> Row:
    """The row with another take, and so with another digest: one more clip of the same request, paid for again."""
    digest = request_digest(row.request, {name: image.digest for name, image in row.images.items()}, take)
    return replace(row, take=take, digest=digest)


def address_digest(of: HasRequest) -> str:
    """The digest of a request whose images count by their addresses, take included."""
    places = {name: image.address or image.digest for name, image in of.images.items()}
    return request_digest(of.request, places, of.take)


def changed_columns(before: HasRequest, after: HasRequest) -> tuple[str, ...]:
    """The columns in which two requests of a row differ, as far as they can change the clip.

    An image column differs if the image does, whatever its address.
    """
    if before.request.MODEL != after.request.MODEL:
        return ("model",)
    old, new = before.request.model_dump(), after.request.model_dump()
    names = {name for name in {*old, *new} if old.get(name) != new.get(name)} - after.request.delivery_options()
    had, has = _images_by_column(before), _images_by_column(after)
    names -= {name for name in names & had.keys() & has.keys() if isinstance(new[name], str)}
    names |= {name for name in had.keys() & has.keys() if had[name] != has[name]}
    return (*sorted(names), *(["take"] if before.take != after.take else []))


def _images_by_column(of: HasRequest) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for reference in of.request.images():
        image = of.images.get(reference)
        found.setdefault(of.request.image_column(reference), []).append(image.digest if image else reference)
    return found


def legible(text: str, limit: int) -> str:
    """The first `limit` characters of a text, safe for terminals, logs and databases.

    Control characters and characters that are not valid Unicode are replaced.
    """
    start = text if len(text) <= limit else f"{text[:limit]}…"
    return CONTROL_CHARACTERS.sub("\ufffd", start).encode(errors="replace").decode()
