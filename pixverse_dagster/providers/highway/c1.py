"""PixVerse C1 at HighwayAPI."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pixverse_dagster.core.request import CLIP, At, ImageRules, Request
from pixverse_dagster.providers.fields import ImageReference, JsonList, Resolution
from pixverse_dagster.providers.highway.images import IMAGES

_NAME = r"^[A-Za-z0-9_]+$"
_MAX_NAME = 30
_NAMES = ("image", "last_image", *(f"image{number}" for number in range(3, 8)))
"""What images are called that a row does not name."""


class Reference(BaseModel):
    """A reference image of the C1 model. The prompt names it as `@name `."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True)

    type: Literal["subject", "background"]
    name: Annotated[str, Field(min_length=1, max_length=_MAX_NAME, pattern=_NAME)]
    image: ImageReference


class HighwayC1ReferenceToVideo(Request):
    """PixVerse C1 reference-to-video: 1 to 7 images, each named in the prompt as `@name` followed by a space."""

    MODEL: ClassVar[str] = "highway/pixverse-c1-reference-to-video"
    ENDPOINT: ClassVar[str] = "pixverse-pixverse-c1-reference-to-video"
    FAMILY: ClassVar[str] = "c1"
    IMAGE_RULES: ClassVar[ImageRules] = IMAGES
    IMAGE_LIST: ClassVar[str] = "references"

    # The C1 page states no limit; 2500 characters is the limit of v6, at the same provider.
    prompt: Annotated[str, Field(min_length=1, max_length=2500), At("prompt", CLIP)]
    references: Annotated[tuple[Reference, ...], JsonList, Field(min_length=1, max_length=7)]
    resolution: Annotated[Resolution, At("resolution", CLIP)] = "720p"
    duration_seconds: Annotated[int, Field(ge=1, le=15), At("duration", CLIP)] = 5
    aspect_ratio: Annotated[
        Literal["16:9", "4:3", "1:1", "3:4", "9:16", "2:3", "3:2", "21:9"], At("aspect_ratio", CLIP)
    ] = "16:9"
    audio: Annotated[bool, At("generate_audio_switch", CLIP)] = False

    @field_validator("prompt")
    @classmethod
    def _close_last_marker(cls, prompt: str) -> str:
        # The provider requires a space after every marker, and table readers strip the last one.
        return prompt + " " if re.search(r"@\w+$", prompt) else prompt

    @model_validator(mode="after")
    def _markers_match(self) -> HighwayC1ReferenceToVideo:
        names = [reference.name for reference in self.references]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"references: name {twice[0]!r} is used twice; give each reference its own name")
        markers: list[str] = re.findall(r"@(\w+)", self.prompt)
        for marker in markers:
            if marker not in names:
                near = get_close_matches(marker, names, n=1)
                hint = f"; did you mean @{near[0]}?" if near else f"; the references are {', '.join(names)}"
                raise ValueError(f"prompt: @{marker} names no reference{hint}")
        for marker, after in re.findall(r"@(\w+)([^\w ])", self.prompt):
            raise ValueError(f"prompt: @{marker} must be followed by a space, not by {after!r}")
        if unused := [name for name in names if name not in markers]:
            raise ValueError(f"references: {unused[0]!r} is never used; write @{unused[0]} in the prompt")
        return self

    @classmethod
    def max_images(cls) -> int:
        """As many as there may be references."""
        return len(_NAMES)

    @classmethod
    def place_images(cls, images: Sequence[str], prompt: str) -> dict[str, Any]:
        """Each image is a subject, called as the prompt's markers are, in their order.

        Where the prompt has no marker for an image, one is put before it: the model requires it.
        """
        markers = [name for name in dict.fromkeys(re.findall(r"@(\w+)", prompt)) if _is_name(name)]
        names = [*markers, *(name for name in _NAMES if name not in markers)][: len(images)]
        named = "".join(f"@{name} " for name in names if name not in markers)
        references = [{"type": "subject", "name": n, "image": i} for n, i in zip(names, images, strict=True)]
        return {"references": references, **({"prompt": named + prompt} if prompt and named else {})}

    def images(self) -> tuple[str, ...]:
        """The reference images, in order."""
        return tuple(reference.image for reference in self.references)

    def shape_asked(self) -> str:
        """The requested aspect ratio: reference images do not decide the shape of the clip."""
        return self.aspect_ratio

    def body(self, image: Callable[[str], Any]) -> dict[str, Any]:
        """The body with its `images` list."""
        listed = [{"type": r.type, "ref_name": r.name, "image_url": image(r.image)} for r in self.references]
        return {"images": listed, **super().body(image)}

    def cautions(self) -> list[str]:
        """HighwayAPI's page lists 21:9 for C1, PixVerse's own CLI does not."""
        return ["aspect_ratio 21:9 is on HighwayAPI's page but not in PixVerse's own list"] * (
            self.aspect_ratio == "21:9"
        )


def _is_name(text: str) -> bool:
    return len(text) <= _MAX_NAME and re.fullmatch(_NAME, text) is not None
