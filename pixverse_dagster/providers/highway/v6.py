"""PixVerse v6 at HighwayAPI."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pixverse_dagster.core.request import CLIP, At, ImageRules, Request
from pixverse_dagster.providers.fields import ImageReference, Resolution, Seed
from pixverse_dagster.providers.highway.images import IMAGES


class HighwayV6ImageToVideo(Request):
    """PixVerse v6 image-to-video, 1 to 15 s, with sound on request."""

    MODEL: ClassVar[str] = "highway/pixverse-v6-i2v"
    ENDPOINT: ClassVar[str] = "pixverse-v6-i2v"
    FAMILY: ClassVar[str] = "v6"
    IMAGE_RULES: ClassVar[ImageRules] = IMAGES

    prompt: Annotated[str, Field(min_length=1, max_length=2500), At("prompt", CLIP)]
    image: Annotated[ImageReference, At("image", CLIP, image=True)]
    resolution: Annotated[Resolution, At("resolution", CLIP)] = "720p"
    duration_seconds: Annotated[int, Field(ge=1, le=15), At("duration", CLIP)] = 5
    negative_prompt: Annotated[str | None, Field(max_length=2500), At("negative_prompt", CLIP)] = None
    audio: Annotated[bool, At("generate_audio_switch", CLIP)] = False
    seed: Annotated[Seed | None, At("seed", CLIP)] = None
    cfg_scale: Annotated[float | None, Field(ge=0, le=1), At("cfg_scale", CLIP)] = None
    thinking_type: Annotated[Literal["enabled", "disabled", "auto"] | None, At("thinking_type", CLIP)] = None

    def cautions(self) -> list[str]:
        """PixVerse's own API has no cfg_scale."""
        return [] if self.cfg_scale is None else ["cfg_scale is not a PixVerse input and may have no effect"]
