"""PixVerse v4.5 at Runware."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator as After
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, HttpUrl, TypeAdapter, model_validator

from pixverse_dagster.core.price import Price
from pixverse_dagster.core.request import CLIP, DELIVERY, VERBATIM, At, ImageRules, Request
from pixverse_dagster.providers.fields import (
    ImageReference,
    JsonList,
    MotionMode,
    Resolution,
    Seed,
    Style,
    UpperCase,
    one_of,
)

_MODEL = "runware/pixverse-v4.5"
_SETTINGS = "providerSettings.pixverse"
_URL: TypeAdapter[HttpUrl] = TypeAdapter(HttpUrl)
# Runware's page lists these widths and heights; they are PixVerse's resolutions and aspect ratios.
SIZES: dict[tuple[str, str], tuple[int, int]] = {
    (f"{side}p", f"{w}:{h}"): (side * w // min(w, h), side * h // min(w, h))
    for side in (360, 540, 720, 1080)
    for w, h in ((16, 9), (4, 3), (1, 1), (3, 4), (9, 16))
}
CameraMovement = Literal[
    "horizontal_left", "horizontal_right", "vertical_up", "vertical_down", "zoom_in", "zoom_out", "auto_camera",
    "crane_up", "quickly_zoom_in", "quickly_zoom_out", "smooth_zoom_in", "camera_rotation", "robo_arm",
    "super_dolly_out", "whip_pan", "hitchcock", "left_follow", "right_follow", "pan_left", "pan_right", "fix_bg",
]  # fmt: skip
Effect = Literal[
    "bikini up", "the tigers touch", "jiggle jiggle", "hug your love", "kiss me ai", "subject 3 fever",
    "fin-tastic mermaid", "lets ymca", "skeleton dance", "kungfu club", "boom drop", "vroom vroom step",
    "creepy devil smile", "pubg winner hit", "360 microwave", "eye zoom challenge", "muscle surge", "punch face",
    "balloon belly", "kiss kiss",
]  # fmt: skip


def _web_url(value: str) -> str:
    _URL.validate_python(value)
    return value


def _frame(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value in {"0", "-1"} else value


SecretUrl = Annotated[str, After(_web_url), VERBATIM]


class Frame(BaseModel):
    """An image and which frame of the clip it is. Without `frame`, one image is the first, two are first and last."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    image: ImageReference
    frame: Annotated[Literal["first", "last", 0, -1] | None, BeforeValidator(_frame)] = None


# Runware publishes 0.299 USD for 5 s at 1080p (model page of pixverse:1@3); an answer of its API had 0.1495 for 720p.
# The other sizes follow PixVerse's own credits, 45 : 45 : 60 : 120; 8 s or fast mode costs twice as much.
_PRICES: tuple[Price, ...] = tuple(
    Price(
        model=_MODEL,
        usd=usd * (2 if (seconds, mode) != (5, "normal") else 1),
        resolution=resolution,
        duration_seconds=seconds,
        motion_mode=mode,
    )
    for resolution, usd in {"360p": 0.1121, "540p": 0.1121, "720p": 0.1495, "1080p": 0.299}.items()
    for seconds, mode in ((5, "normal"), (5, "fast"), (8, "normal"))
)


class RunwareV45(Request):
    """PixVerse v4.5 (`pixverse:1@3`) from text, or from text with a first and/or last frame; 1 to 4 outputs.

    From text, give the size as `width` and `height`, or as `resolution` and `aspect_ratio`. With frames, give
    `resolution` alone; the clip takes the shape of the image.
    """

    MODEL: ClassVar[str] = _MODEL
    PRICES: ClassVar[tuple[Price, ...]] = _PRICES
    ENDPOINT: ClassVar[str] = "pixverse:1@3"
    FAMILY: ClassVar[str] = "v4.5"
    IMAGE_RULES: ClassVar[ImageRules] = ImageRules(
        formats=frozenset({"jpeg", "png", "webp"}),
        min_side=300,
        max_side=4000,
        max_aspect=None,
        max_bytes=20_000_000,
        inline=True,
        source="Runware's v4.5 page: PNG, JPG or WEBP, sides of 300 to 4000 px, at most 20 MB",
    )

    IMAGE_LIST: ClassVar[str] = "frames"

    prompt: Annotated[str, Field(min_length=2, max_length=2048), At("positivePrompt", CLIP)]
    image: ImageReference | None = None
    last_image: ImageReference | None = None
    frames: Annotated[Annotated[tuple[Frame, ...], Field(min_length=1, max_length=2)] | None, JsonList] = None
    resolution: Resolution | None = None
    aspect_ratio: Literal["16:9", "4:3", "1:1", "3:4", "9:16"] | None = None
    width: int | None = None
    height: int | None = None
    duration_seconds: Annotated[int, one_of(5, 8), At("duration", CLIP)] = 5
    negative_prompt: Annotated[str | None, Field(min_length=2, max_length=2048), At("negativePrompt", CLIP)] = None
    motion_mode: Annotated[MotionMode | None, At(f"{_SETTINGS}.motionMode", CLIP)] = None
    style: Annotated[Style | None, At(f"{_SETTINGS}.style", CLIP)] = None
    camera_movement: Annotated[CameraMovement | None, At(f"{_SETTINGS}.cameraMovement", CLIP)] = None
    effect: Annotated[Effect | None, At(f"{_SETTINGS}.effect", CLIP)] = None
    seed: Annotated[Seed | None, At("seed", CLIP)] = None
    outputs: Annotated[int, Field(ge=1, le=4), At("numberResults", CLIP)] = 1
    output_type: Annotated[Literal["URL"], UpperCase, At("outputType", DELIVERY)] = "URL"
    output_format: Annotated[Literal["MP4", "WEBM", "MOV"], UpperCase, At("outputFormat", CLIP)] = "MP4"
    output_quality: Annotated[int | None, Field(ge=20, le=99), At("outputQuality", CLIP)] = None
    delivery_method: Annotated[Literal["async"], At("deliveryMethod", DELIVERY)] = "async"
    safety_check_content: Annotated[bool | None, At("safety.checkContent", CLIP)] = None
    safety_mode: Annotated[Literal["none", "fast", "full"] | None, At("safety.mode", CLIP)] = None
    ttl_seconds: Annotated[int | None, Field(ge=60), At("ttl", DELIVERY)] = None
    include_cost: Annotated[bool, At("includeCost", DELIVERY)] = True
    webhook_url: Annotated[SecretUrl | None, At("webhookURL", DELIVERY, secret_url=True)] = None
    upload_endpoint: Annotated[SecretUrl | None, At("uploadEndpoint", DELIVERY, secret_url=True)] = None

    @classmethod
    def displaced(cls, cells: Collection[str]) -> frozenset[str]:
        """A size or an image in the row replaces the default size."""
        given = set(cells)
        by_size = {"resolution", "aspect_ratio"} if given & {"width", "height"} else set[str]()
        by_image = cls.inapplicable(cells)
        by_name = {"width", "height"} if given & {"resolution", "aspect_ratio"} else set[str]()
        return frozenset(by_size | by_image | by_name)

    @classmethod
    def inapplicable(cls, cells: Collection[str]) -> frozenset[str]:
        """With an image, the clip has the image's shape."""
        framed = {"image", "last_image", "frames"} & set(cells)
        return frozenset({"aspect_ratio", "width", "height"}) if framed else frozenset()

    @classmethod
    def image_columns(cls) -> tuple[str, ...]:
        """The first frame and the last."""
        return ("image", "last_image")

    @model_validator(mode="after")
    def _frames_once(self) -> RunwareV45:
        if self.frames and (self.image or self.last_image):
            raise ValueError("frames: give either frames, or image and last_image, not both")
        names: dict[Any, str] = {0: "first", -1: "last"}
        positions = [names.get(frame.frame, frame.frame) for frame in self.frames or ()]
        if len(positions) > 1 and positions[0] is not None and positions[0] == positions[1]:
            raise ValueError(f"frames: both images are for the {positions[0]} frame")
        return self

    @model_validator(mode="after")
    def _size(self) -> RunwareV45:
        framed = bool(self.images())
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height go together: give both, or neither")
        if self.width is not None and framed:
            raise ValueError("width and height are for text-to-video: with an image, give resolution instead")
        if self.width is not None and (self.resolution or self.aspect_ratio):
            raise ValueError("width: give width and height, or resolution and aspect_ratio, not both")
        if self.width is not None and (self.width, self.height) not in SIZES.values():
            sizes = ", ".join(f"{w}x{h}" for w, h in SIZES.values())
            raise ValueError(f"width: {self.width}x{self.height} is not a size of this model; the sizes are {sizes}")
        if framed and self.aspect_ratio:
            raise ValueError("aspect_ratio is for text-to-video: with an image, the clip takes the image's shape")
        return self

    @model_validator(mode="after")
    def _product_exists(self) -> RunwareV45:
        large = self.effective_resolution() == "1080p"
        if self.motion_mode == "fast" and self.duration_seconds != 5:  # noqa: PLR2004 - seconds, as documented
            raise ValueError(
                "motion_mode fast makes 5 s clips only: set duration_seconds to 5, or motion_mode to normal"
            )
        if self.motion_mode == "fast" and large:
            raise ValueError("motion_mode fast has no 1080p: use 720p, or motion_mode normal")
        if large and self.duration_seconds == 8:  # noqa: PLR2004 - seconds, as documented
            raise ValueError("duration_seconds: PixVerse v4.5 has no 1080p clip of 8 s: use 5 s, or 720p")
        if self.effect and self.camera_movement:
            raise ValueError("effect and camera_movement exclude each other: keep one")
        if self.upload_endpoint and self.outputs > 1:
            raise ValueError("upload_endpoint takes one file: with several outputs each would overwrite the last")
        return self

    def effective_resolution(self) -> str:
        """The resolution that `width` and `height` amount to, else `resolution`, else 720p."""
        if self.width is not None and self.height is not None:
            return next(r for (r, _), size in SIZES.items() if size == (self.width, self.height))
        return self.resolution or "720p"

    def shape_asked(self) -> str | None:
        """The shape of the width and height that are sent; None with frames, where none are sent."""
        if self.width is not None and self.height is not None:
            return f"{self.width}:{self.height}"
        return None if self._frames() else self.aspect_ratio or "16:9"

    def _frames(self) -> list[tuple[str, str | int | None]]:
        if self.frames:
            return [(frame.image, frame.frame) for frame in self.frames]
        pairs = ((self.image, "first"), (self.last_image, "last"))
        return [(image, frame) for image, frame in pairs if image]

    def images(self) -> tuple[str, ...]:
        """The frame images, in order."""
        return tuple(image for image, _ in self._frames())

    def body(self, image: Callable[[str], Any]) -> dict[str, Any]:
        """The task object, without its UUID."""
        body = {"taskType": "videoInference", "model": self.ENDPOINT, **super().body(image)}
        if frames := self._frames():
            listed = [{"image": image(i)} | ({} if frame is None else {"frame": frame}) for i, frame in frames]
            return {**body, "inputs": {"frameImages": listed}, "resolution": self.effective_resolution()}
        width, height = SIZES[self.effective_resolution(), self.aspect_ratio or "16:9"]
        return {**body, "width": self.width or width, "height": self.height or height}
