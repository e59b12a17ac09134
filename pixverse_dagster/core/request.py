"""What the five models share: a frozen request whose fields know their place in the provider's body.

A model is one `Request` subclass beside its provider. Each field names its place in the provider's body with `At`, so
that the body, the suggestions for misspelt columns and the parameter reference all come from one declaration.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict

from pixverse_dagster.core.price import Price
from pixverse_dagster.core.redaction import redact_url, redact_value


@dataclass(frozen=True)
class At:
    """A field's dotted place in the provider's body.

    `image` marks a reference that is resolved before it is sent, `secret_url` a URL whose query string is a permission.
    """

    path: str
    image: bool = False
    secret_url: bool = False
    encode: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class ImageRules:
    """What a provider accepts as an input image, and the forms in which it may be named."""

    formats: frozenset[str]
    min_side: int
    max_side: int | None
    max_aspect: float | None
    max_bytes: int
    inline: bool
    source: str


class Request(BaseModel):
    """One row's parameters, resolved and checked for its model: nothing here has been sent or paid for."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True)

    MODEL: ClassVar[str]
    ENDPOINT: ClassVar[str]
    IMAGE_RULES: ClassVar[ImageRules]
    CODE_VERSION: ClassVar[str] = "1"
    PRICES: ClassVar[tuple[Price, ...]] = ()
    """The prices that the provider publishes for this model."""

    @classmethod
    def provider(cls) -> str:
        """The provider's name: the part of the model name before the slash."""
        return cls.MODEL.split("/", 1)[0]

    @classmethod
    def provider_names(cls) -> dict[str, str]:
        """The provider's own last name of each field, for suggesting ours."""
        return {at.path.rsplit(".", 1)[-1]: name for name, at in cls._places()}

    @classmethod
    def keeps_secret(cls, column: str) -> bool:
        """Whether a column's value is a permission, which no message may repeat."""
        return any(name == column and at.secret_url for name, at in cls._places())

    @classmethod
    def displaced(cls, cells: Collection[str]) -> frozenset[str]:
        """The defaults that a row with these cells does without, because the two exclude each other."""
        del cells
        return frozenset()

    def images(self) -> tuple[str, ...]:
        """Every input image this request names, in order."""
        return tuple(value for name, at in self._places() if at.image and isinstance(value := getattr(self, name), str))

    def body(self, image: Callable[[str], Any], url: Callable[[str], str] = str) -> dict[str, Any]:
        """The provider's body: every field that is set, in its place, with `image` and `url` applied to theirs."""
        body: dict[str, Any] = {}
        for name, at in self._places():
            value = getattr(self, name)
            if value is None:
                continue
            encode = image if at.image else url if at.secret_url else at.encode
            place(body, at.path, encode(value) if encode else value)
        return body

    def image_column(self, reference: str) -> str:
        """The column in which an image is named."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            listed = cast("tuple[Any, ...]", value) if isinstance(value, tuple) else ()
            if value == reference or any(item.image == reference for item in listed):
                return name
        return "image"

    def effective_resolution(self) -> str | None:
        """The resolution as it will be, from whichever columns say it."""
        return getattr(self, "resolution", None)

    def shape_asked(self) -> str | None:
        """The aspect ratio that was asked for, `16:9`; None where the clip takes the shape of its image."""
        return None if self.images() else getattr(self, "aspect_ratio", None)

    def outputs_asked(self) -> int:
        """How many clips the task will make."""
        return int(getattr(self, "outputs", 1))

    def container(self) -> str:
        """The file ending of the clips: mp4 unless the model was asked for another."""
        return str(getattr(self, "output_format", "MP4")).lower()

    def price_terms(self) -> dict[str, str | int | bool | None]:
        """What a price may depend on."""
        mode = (getattr(self, "motion_mode", None) or "normal") if hasattr(self, "motion_mode") else None
        return {
            "resolution": self.effective_resolution(),
            "duration_seconds": getattr(self, "duration_seconds", None),
            "audio": getattr(self, "audio", None),
            "motion_mode": mode,
        }

    def cautions(self) -> list[str]:
        """What is allowed but may not do what it says, according to the sources."""
        return []

    def public(self) -> dict[str, Any]:
        """The parameters that are set, safe to show: no query strings, no inline images."""
        return redact_value(self.model_dump(mode="json", exclude_none=True))

    @classmethod
    def _places(cls) -> list[tuple[str, At]]:
        return [(n, m) for n, field in cls.model_fields.items() for m in field.metadata if isinstance(m, At)]


def place(body: dict[str, Any], path: str, value: Any) -> None:
    """Put a value at a dotted path, making the objects on the way."""
    *parents, last = path.split(".")
    for parent in parents:
        body = body.setdefault(parent, {})
    body[last] = value


def request_digest(request: Request, image_digests: Mapping[str, str], take: int) -> str:
    """The request digest: sha256 over model, every parameter that reaches the provider, image contents and take.

    Taken over the provider's body rather than our field names, so that two spellings of one request are one request and
    a renamed field never pays again. Query strings of URLs are left out: a re-signed upload URL is the same request.
    """
    body = request.body(lambda reference: image_digests[reference], redact_url)
    document = {"model": request.MODEL, "provider": request.provider(), "body": body, "take": take}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
