"""Small types and functions that several folders use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from itertools import islice
from typing import Any

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """An immutable Pydantic model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StoredModel(BaseModel):
    """An immutable Pydantic model of a document in a store. It ignores the keys that later versions add."""

    model_config = ConfigDict(frozen=True, extra="ignore")


@dataclass(frozen=True)
class Digest:
    """The sha256 (in hex) and the size of bytes that were read, computed while they streamed."""

    sha256: str
    size_bytes: int


def iso(seconds: float) -> str:
    """A time in seconds since the epoch, as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def from_iso(text: str) -> float:
    """The seconds since the epoch of a time in ISO 8601; without an offset it is UTC."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def chunked(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """The items in lists of at most `size`."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def import_name(path: str) -> Any:
    """Import what `module:name` names. Registries hold such names, so that modules are imported only when used."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
