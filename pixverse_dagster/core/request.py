"""The base class of all models: a request whose fields declare their place in the provider's body.

A model is one `Request` subclass beside its provider. Each field declares its place in the provider's body with `At`.
The body, the suggestions for misspelt columns and the parameter reference all derive from that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, ClassVar, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from pixverse_dagster.core.price import Price
from pixverse_dagster.core.redaction import redact_value
from pixverse_dagster.core.secrets import remember_url
from pixverse_dagster.core.text import normal_text

DIGEST_VERSION = 1
"""The version of what `request_digest` hashes, and part of it. With another one, every clip is another request."""


class Part(Enum):
    """What a parameter is a part of: the clip, or only how one hears of it and where the provider leaves it."""

    CLIP = "clip"
    DELIVERY = "delivery"


CLIP, DELIVERY = Part.CLIP, Part.DELIVERY


class Verbatim:
    """Marks text that is an address, as in `Annotated[str, VERBATIM]`: it is never put into a normal form."""


VERBATIM = Verbatim()

_URL_CHARACTERS = 4096
"""No URL is longer; an inline image is, and is none."""


@dataclass(frozen=True)
class At:
    """A field's place in the provider's body, as a dotted path, and what it is a part of.

    Only a part of the CLIP is in the request's digest: a delivery option that changes never pays again. `image` marks a
    reference to an image, which is replaced by what the provider takes. `secret_url` marks a URL whose query string is
    a credential. `encode` converts the field's value into the provider's.
    """

    path: str
    part: Part
    image: bool = False
    secret_url: bool = False
    encode: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class ImageRules:
    """What a provider accepts as an input image.

    Sides are in pixels, `max_aspect` is the longer side divided by the shorter one. `inline` says whether the bytes or
    a UUID may be sent instead of a URL. `source` says where the provider publishes the rules.
    """

    formats: frozenset[str]
    min_side: int
    max_side: int | None
    max_aspect: float | None
    max_bytes: int
    inline: bool
    source: str


class Request(BaseModel):
    """The parameters of one row, with defaults filled in and checked against the model's rules."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True)

    MODEL: ClassVar[str]
    ENDPOINT: ClassVar[str]
    IMAGE_RULES: ClassVar[ImageRules]
    IMAGE_LIST: ClassVar[str] = ""
    """The column that holds a list of input images, each item with its `image`; empty if there is none."""
    CODE_VERSION: ClassVar[str] = "1"
    FAMILY: ClassVar[str] = ""
    """PixVerse's name of the model, such as `v6`, whichever provider sells it. It decides the pixels of a clip."""
    PRICES: ClassVar[tuple[Price, ...]] = ()
    """The prices that the provider publishes for this model."""

    @field_validator("*", mode="before")
    @classmethod
    def _normal_text(cls, value: Any, info: ValidationInfo) -> Any:
        """Here, so that the request, its digest, what is sent and what is recorded have the same text."""
        return normal_text(value) if isinstance(value, str) and info.field_name in _text_fields(cls) else value

    def model_post_init(self, _context: Any, /) -> None:
        """Tell the redaction of every URL in the request that is a permission."""
        for name, at in self._places():
            if at.secret_url and isinstance(value := getattr(self, name), str):
                remember_url(value, path="webhook" in name)
        for reference in self.images():
            if "?" in reference[:_URL_CHARACTERS] or "@" in reference[:_URL_CHARACTERS]:
                remember_url(reference[:_URL_CHARACTERS])

    @classmethod
    def provider(cls) -> str:
        """The provider's name: the part of the model name before the slash."""
        return cls.MODEL.split("/", 1)[0]

    @classmethod
    def provider_names(cls) -> dict[str, str]:
        """The last part of each parameter's name at the provider, mapped to the name here; used for suggestions."""
        return {at.path.rsplit(".", 1)[-1]: name for name, at in cls._places()}

    @classmethod
    def keeps_secret(cls, column: str) -> bool:
        """Whether a column holds a URL that is a credential, so that no message may repeat its value."""
        return any(name == column and at.secret_url for name, at in cls._places())

    @classmethod
    def is_text(cls, column: str) -> bool:
        """Whether a parameter is text of a person's, and so takes a number as it is written."""
        return column in _text_fields(cls)

    @classmethod
    def is_choice(cls, column: str, text: str) -> bool:
        """Whether a text is one of the words that a parameter may be."""
        return text in cls.choices(column)

    @classmethod
    def choices(cls, column: str) -> frozenset[Any]:
        """The words that a parameter may be; none if it is no choice between words."""
        return _choices(cls.model_fields[column].annotation)

    @classmethod
    def displaced(cls, cells: Collection[str]) -> frozenset[str]:
        """The parameters whose defaults do not apply to a row with these cells, because they exclude each other."""
        del cells
        return frozenset()

    @classmethod
    def inapplicable(cls, cells: Collection[str]) -> frozenset[str]:
        """The parameters that the model does not take in a row with these cells, though it has them."""
        del cells
        return frozenset()

    @classmethod
    def image_columns(cls) -> tuple[str, ...]:
        """The columns of one input image each, in the order in which images fill them."""
        return tuple(name for name, at in cls._places() if at.image)

    @classmethod
    def max_images(cls) -> int:
        """How many input images a request may have."""
        return len(cls.image_columns())

    @classmethod
    def place_images(cls, images: Sequence[str], prompt: str) -> dict[str, Any]:
        """The cells in which these images, at most `max_images`, are a row's; of the prompt too, if it must name them.

        `prompt` is the row's, or empty.
        """
        del prompt
        return dict(zip(cls.image_columns(), images, strict=False))

    def unsendable(self) -> str:
        """Why the request is not sent; empty if it may be."""
        return ""

    def images(self) -> tuple[str, ...]:
        """The references of all input images, in order."""
        return tuple(value for name, at in self._places() if at.image and isinstance(value := getattr(self, name), str))

    def body(self, image: Callable[[str], Any]) -> dict[str, Any]:
        """The provider's body: every parameter that is not None, at its place.

        `image` converts image references to what the body shall hold.
        """
        body: dict[str, Any] = {}
        for name, at in self._places():
            value = getattr(self, name)
            if value is None:
                continue
            encode = image if at.image else at.encode
            place(body, at.path, encode(value) if encode else value)
        return body

    @classmethod
    def delivery_options(cls) -> frozenset[str]:
        """The parameters that cannot change the clip."""
        return frozenset(name for name, at in cls._places() if at.part is DELIVERY)

    def uncounted(self) -> list[str]:
        """The places in the body that are not in the digest: delivery options, and parameters at their default.

        A default is left out so that a parameter which a later version adds leaves the digests of older rows alone.
        """
        fields = type(self).model_fields
        return [
            at.path for name, at in self._places() if at.part is DELIVERY or getattr(self, name) == fields[name].default
        ]

    def image_column(self, reference: str) -> str:
        """The column that names this image; `image` if none does."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            listed = cast("tuple[Any, ...]", value) if isinstance(value, tuple) else ()
            if value == reference or any(item.image == reference for item in listed):
                return name
        return "image"

    def image_places(self) -> tuple[tuple[str, str, str], ...]:
        """Where each input image stands: its column, its name in a list there or nothing, and its reference."""
        references, places = set(self.images()), dict(self._places())
        found: list[tuple[str, str, str]] = []
        for column in type(self).model_fields:
            value = getattr(self, column)
            # A parameter such as the prompt may read like a reference, and is none.
            if isinstance(value, str) and value in references and (column not in places or places[column].image):
                found.append((column, "", value))
            for item in cast("tuple[Any, ...]", value) if isinstance(value, tuple) else ():
                name = getattr(item, "name", getattr(item, "frame", None))
                if getattr(item, "image", None) in references:
                    found.append((column, "" if name is None else str(name), item.image))
        return tuple(found)

    def effective_resolution(self) -> str | None:
        """The resolution of the clip, from whichever columns decide it, as `720p`; None if the model has none."""
        return getattr(self, "resolution", None)

    def shape_asked(self) -> str | None:
        """The requested aspect ratio, as `16:9`; None if the clip takes the shape of its image."""
        return None if self.images() else getattr(self, "aspect_ratio", None)

    def outputs_asked(self) -> int:
        """How many clips the task will make."""
        return int(getattr(self, "outputs", 1))

    def container(self) -> str:
        """The container format of the clips, as a file ending: `mp4` unless the row asks for another."""
        return str(getattr(self, "output_format", "MP4")).lower()

    def price_terms(self) -> dict[str, str | int | bool | None]:
        """The parameters that a price may depend on; None for one that the model does not have."""
        mode = (getattr(self, "motion_mode", None) or "normal") if hasattr(self, "motion_mode") else None
        return {
            "resolution": self.effective_resolution(),
            "duration_seconds": getattr(self, "duration_seconds", None),
            "audio": getattr(self, "audio", None),
            "motion_mode": mode,
        }

    def cautions(self) -> list[str]:
        """Warnings about values that are allowed but, according to the sources, may not work."""
        return []

    def public(self) -> dict[str, Any]:
        """The parameters that are set, safe to show: no query strings, no inline images."""
        return redact_value(self.model_dump(mode="json", exclude_none=True))

    @classmethod
    @cache
    def _places(cls) -> tuple[tuple[str, At], ...]:
        return tuple((n, m) for n, field in cls.model_fields.items() for m in field.metadata if isinstance(m, At))


def place(body: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path, creating the objects on the way."""
    *parents, last = path.split(".")
    for parent in parents:
        body = body.setdefault(parent, {})
    body[last] = value


def remove(body: dict[str, Any], path: str) -> None:
    """Remove what is at a dotted path, if anything is, and the objects that are empty without it."""
    first, _, rest = path.partition(".")
    inner = body.get(first)
    if rest and isinstance(inner, dict):
        remove(cast("dict[str, Any]", inner), rest)
    if not rest or inner == {}:
        body.pop(first, None)


def request_digest(request: Request, image_digests: Mapping[str, str], take: int) -> str:
    """The request digest: sha256, in hex, of model, parameters that can change the clip, image contents and take.

    It is taken over the provider's body, not over our field names. So rows that mean the same request have the same
    digest, and a field renamed here does not lead to a second payment. Delivery options are not in it, and nor is a
    parameter that has its default.

    `image_digests` maps the reference of each input image to the digest of its content.
    """
    body = request.body(lambda reference: image_digests[reference])
    for path in request.uncounted():
        remove(body, path)
    document = {
        "version": DIGEST_VERSION,
        "model": request.MODEL,
        "provider": request.provider(),
        "body": body,
        "take": take,
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _text_fields(model: type[Request]) -> frozenset[str]:
    """The fields that hold text of a person's, not an address."""
    return frozenset(name for name, field in model.model_fields.items() if _is_text(field.annotation, field.metadata))


def _choices(annotation: Any) -> frozenset[Any]:
    if get_origin(annotation) is Literal:
        return frozenset(get_args(annotation))
    return frozenset(choice for option in get_args(annotation) for choice in _choices(option))


def _is_text(annotation: Any, metadata: Iterable[Any]) -> bool:
    for mark in metadata:
        if isinstance(mark, Verbatim) or (isinstance(mark, At) and (mark.secret_url or mark.image)):
            return False
    if hasattr(annotation, "__metadata__"):
        return _is_text(annotation.__origin__, annotation.__metadata__)
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        return any(_is_text(option, ()) for option in get_args(annotation))
    return annotation is str
