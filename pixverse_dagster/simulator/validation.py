"""Reads a request body as strictly as a provider does: types, limits, required fields, no unknown fields."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, cast

from starlette.requests import Request

Breach = Literal["missing", "invalid", "unsupported", "unknown", "conflict"]

MAX_SEED: Final = 2**31 - 1
STYLES: Final = ("anime", "3d_animation", "clay", "comic", "cyberpunk")
RESOLUTIONS: Final = ("360p", "540p", "720p", "1080p")
_UUID4: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class RefusedError(Exception):
    """The body breaks a documented rule."""

    def __init__(self, field: str, rule: str, breach: Breach = "invalid") -> None:
        super().__init__(field, rule, breach)
        self.field = field
        self.rule = rule
        self.breach: Breach = breach

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}"


def is_uuid4(value: object) -> bool:
    return isinstance(value, str) and _UUID4.fullmatch(value) is not None


def is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text) is not None


async def read_json(request: Request) -> Any:
    """The body as JSON.

    Raises:
        RefusedError: not declared as JSON, or not JSON.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusedError("Content-Type", "must be application/json")
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError):
        raise RefusedError("body", "is not valid JSON") from None


class Fields:
    """The fields of one JSON object. Each getter checks one field; `finish` refuses those that no getter read.

    A getter returns None when an optional field is absent and has no default. JSON null counts as a wrong type.
    Every method raises `RefusedError`.
    """

    def __init__(self, value: object, path: str = "") -> None:
        if not isinstance(value, Mapping):
            raise RefusedError(path or "body", "must be an object")
        self._values = cast("Mapping[str, Any]", value)
        self._path = path
        self._seen: set[str] = set()

    def name(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def has(self, key: str) -> bool:
        return key in self._values

    def require(self, *keys: str) -> None:
        for key in keys:
            if key not in self._values:
                raise RefusedError(self.name(key), "is required", "missing")

    def raw(self, key: str) -> Any:
        self._seen.add(key)
        return self._values.get(key)

    def text(self, key: str, *, least: int = 0, most: int | None = None) -> str | None:
        """A string of `least` to `most` characters."""
        value = self.raw(key)
        if key not in self._values:
            return None
        if not isinstance(value, str):
            raise RefusedError(self.name(key), "must be a string")
        if len(value) < least or (most is not None and len(value) > most):
            raise RefusedError(self.name(key), f"must have {least} to {most or 'any number of'} characters")
        return value

    def integer(self, key: str, least: int, most: int | None = None, *, default: int | None = None) -> int | None:
        """A JSON integer (not 5.0, not true) from `least` to `most`."""
        value = self.raw(key)
        if key not in self._values:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            raise RefusedError(self.name(key), "must be an integer")
        if value < least or (most is not None and value > most):
            raise RefusedError(self.name(key), f"must be from {least} to {most or 'any'}")
        return value

    def number(self, key: str, least: float, most: float) -> float | None:
        """A JSON number from `least` to `most`."""
        value = self.raw(key)
        if key not in self._values:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            raise RefusedError(self.name(key), f"must be a number from {least} to {most}")
        return value

    def flag(self, key: str) -> bool:
        """A JSON boolean; false when absent."""
        value = self.raw(key)
        if key in self._values and not isinstance(value, bool):
            raise RefusedError(self.name(key), "must be a boolean")
        return bool(value)

    def choice(self, key: str, allowed: tuple[str | int, ...], *, default: Any = None) -> Any:
        """One of the allowed values, of the same type (1 is not true); 5.0 passes for 5."""
        value = self.raw(key)
        if key not in self._values:
            return default
        if isinstance(value, bool) or not isinstance(value, str | int | float) or value not in allowed:
            raise RefusedError(self.name(key), f"must be one of {', '.join(map(str, allowed))}", "unsupported")
        return value

    def items(self, key: str, least: int, most: int) -> list[Any] | None:
        """An array of `least` to `most` items."""
        value = self.raw(key)
        if key not in self._values:
            return None
        if not isinstance(value, list):
            raise RefusedError(self.name(key), "must be an array")
        found = cast("list[Any]", value)
        if not least <= len(found) <= most:
            raise RefusedError(self.name(key), f"must have {least} to {most} items")
        return found

    def inner(self, key: str) -> Fields | None:
        """A nested object."""
        value = self.raw(key)
        return Fields(value, self.name(key)) if key in self._values else None

    def finish(self) -> None:
        """Refuses fields that no getter has read."""
        for key in self._values:
            if key not in self._seen:
                raise RefusedError(self.name(key), "is not a parameter of this call", "unknown")
