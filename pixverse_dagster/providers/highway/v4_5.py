"""PixVerse v4.5 at HighwayAPI."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from pixverse_dagster.core.request import CLIP, At, ImageRules, Request
from pixverse_dagster.providers.fields import ImageReference, MotionMode, Resolution, Seed, Style, one_of
from pixverse_dagster.providers.highway.images import IMAGES


class HighwayV45ImageToVideo(Request):
    """PixVerse v4.5 image-to-video. Always 5 s long: the endpoint has no duration."""

    MODEL: ClassVar[str] = "highway/pixverse-v4.5-i2v"
    ENDPOINT: ClassVar[str] = "pixverse-v4.5-i2v"
    FAMILY: ClassVar[str] = "v4.5"
    IMAGE_RULES: ClassVar[ImageRules] = IMAGES

    prompt: Annotated[str, Field(min_length=1, max_length=2048), At("prompt", CLIP)]
    image: Annotated[ImageReference, At("image", CLIP, image=True)]
    resolution: Annotated[Resolution, At("resolution", CLIP)] = "540p"
    duration_seconds: Annotated[int, one_of(5)] = 5
    negative_prompt: Annotated[str | None, Field(max_length=2048), At("negative_prompt", CLIP)] = None
    motion_mode: Annotated[MotionMode, At("fast_mode", CLIP, encode=lambda mode: mode == "fast")] = "normal"
    style: Annotated[Style | None, At("style", CLIP)] = None
    seed: Annotated[Seed | None, At("seed", CLIP)] = None

    @model_validator(mode="after")
    def _fast_has_no_1080p(self) -> HighwayV45ImageToVideo:
        if self.motion_mode == "fast" and self.resolution == "1080p":
            raise ValueError("motion_mode fast has no 1080p: use 720p, or motion_mode normal")
        return self

    def cautions(self) -> list[str]:
        """HighwayAPI's page marks `style` as "v3.5 only"."""
        return ["style is marked 'v3.5 only' by HighwayAPI and may be ignored"] if self.style else []
