"""A request as another version kept it, for which this one has no model: shown, polled and stored, never sent.

A task needs no more than its id to be asked about and stored; what was paid for does not depend on whether this version
would still ask for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, ClassVar, cast

from pydantic import ConfigDict

from pixverse_dagster.core.request import ImageRules, Request
from pixverse_dagster.core.secrets import remember_url

_ANY_IMAGE = ImageRules(frozenset(), 1, None, None, 20_000_000, inline=True, source="a model that is not known here")
_MAX_OUTPUTS = 4
_URL_CHARACTERS = 4096


class OldRequest(Request):
    """The values of a request as they were kept. Every parameter is there by its name; none is checked."""

    model_config = ConfigDict(frozen=True, extra="allow")

    WHY: ClassVar[str]

    def unsendable(self) -> str:
        """Why the request is not sent."""
        return self.WHY

    def model_post_init(self, _context: Any, /) -> None:
        """Tell the redaction of every URL in the request: which of them is a permission is not known."""
        for name, text in _texts(self._kept()):
            if "://" in text[:_URL_CHARACTERS]:
                remember_url(text[:_URL_CHARACTERS], path="webhook" in name)

    def body(self, image: Callable[[str], Any]) -> dict[str, Any]:
        """What was kept; it is no provider's body, and has a digest of its own."""
        del image
        return {"kept": self._kept()}

    def uncounted(self) -> list[str]:
        """Nothing: what a parameter is a part of is not known."""
        return []

    def outputs_asked(self) -> int:
        """As many as were asked for, as far as that can be read."""
        count = self._kept().get("outputs")
        return count if isinstance(count, int) and 1 <= count <= _MAX_OUTPUTS else 1

    def effective_resolution(self) -> str | None:
        """The resolution, if it was kept as text."""
        value = self._kept().get("resolution")
        return value if isinstance(value, str) else None

    def shape_asked(self) -> str | None:
        """Not known: whether the clip has the shape of an image depends on the model."""
        return None

    def container(self) -> str:
        """The container format, if it was kept as text; else `mp4`."""
        value = self._kept().get("output_format")
        return value.lower() if isinstance(value, str) else "mp4"

    def price_terms(self) -> dict[str, str | int | bool | None]:
        """Nothing that a price could be found by."""
        return {}

    def _kept(self) -> dict[str, Any]:
        return self.__pydantic_extra__ or {}


def old_request(model: str, text: str, known: type[Request] | None) -> OldRequest:
    """The stand-in for a request of this model that was kept as this JSON. `known` is the model of that name, if any.

    Never raises: whatever was kept, the record is read.
    """
    try:
        kept: Any = json.loads(text)
    except (ValueError, RecursionError):
        kept = None
    values = cast("dict[str, Any]", kept) if isinstance(kept, dict) else {}
    return _stand_in(model, known).model_validate(values)


@cache
def _stand_in(model: str, known: type[Request] | None) -> type[OldRequest]:
    what = "this version refuses it" if known else "its model is not known here"
    why = f"the request was kept by another version, and {what}: read the prompt table again, and correct the row"

    class Kept(OldRequest):
        MODEL: ClassVar[str] = model
        ENDPOINT: ClassVar[str] = known.ENDPOINT if known else ""
        IMAGE_RULES: ClassVar[ImageRules] = known.IMAGE_RULES if known else _ANY_IMAGE
        CODE_VERSION: ClassVar[str] = known.CODE_VERSION if known else ""
        FAMILY: ClassVar[str] = known.FAMILY if known else ""
        WHY: ClassVar[str] = why

    return Kept


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            yield from _texts(item, key)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _texts(item, name)
