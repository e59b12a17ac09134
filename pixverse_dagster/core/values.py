"""Small values that everything else is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from itertools import islice
from typing import Any

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """A frozen document that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Digest:
    """What was fetched: its digest, computed while it streamed, and its size."""

    sha256: str
    size_bytes: int


def iso(seconds: float) -> str:
    """Seconds since the epoch as UTC, ISO 8601, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def chunked(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """The items in lists of at most `size`."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def import_name(path: str) -> Any:
    """What `module:name` means: how registries name what is loaded when it is used."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
