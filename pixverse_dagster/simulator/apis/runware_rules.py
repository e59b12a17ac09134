"""Runware's rules for a `videoInference` task of `pixverse:1@3`: every documented value, limit and combination."""

from __future__ import annotations

from typing import Any, Final

from pixverse_dagster.simulator import images, validation
from pixverse_dagster.simulator.links import Links, Unfetched
from pixverse_dagster.simulator.media import Container, Shape
from pixverse_dagster.simulator.sizes import size_by_name
from pixverse_dagster.simulator.state import Order
from pixverse_dagster.simulator.validation import Fields, RefusedError

_PRICE: Final = {"360p": 0.1121, "540p": 0.1121, "720p": 0.1495, "1080p": 0.299}
_ASPECTS: Final = ((16, 9), (4, 3), (1, 1), (3, 4), (9, 16))
SIZES: Final = {size_by_name(name, aspect): name for name in validation.RESOLUTIONS for aspect in _ASPECTS}
_UNREAD_ASPECT: Final = (16, 9)  # assumed for an image that is known to Runware alone
_POSITIONS: Final = {"first": "first", "last": "last", 0: "first", -1: "last"}
_CAMERA: Final = (
    *("horizontal_left", "horizontal_right", "vertical_up", "vertical_down", "zoom_in", "zoom_out", "auto_camera"),
    *("crane_up", "quickly_zoom_in", "quickly_zoom_out", "smooth_zoom_in", "camera_rotation", "robo_arm"),
    *("super_dolly_out", "whip_pan", "hitchcock", "left_follow", "right_follow", "pan_left", "pan_right", "fix_bg"),
)
_EFFECTS: Final = (
    *("bikini up", "the tigers touch", "jiggle jiggle", "hug your love", "kiss me ai", "subject 3 fever"),
    *("fin-tastic mermaid", "lets ymca", "skeleton dance", "kungfu club", "boom drop", "vroom vroom step"),
    *("creepy devil smile", "pubg winner hit", "360 microwave", "eye zoom challenge", "muscle surge", "punch face"),
    *("balloon belly", "kiss kiss"),
)


def read_order(task: dict[str, Any], account: str, links: Links) -> Order:
    """The order in a `videoInference` task.

    Raises:
        RefusedError: it breaks a rule; the error is about the first one.
    """
    fields = Fields(task)
    fields.require("taskUUID", "model", "positivePrompt")
    fields.raw("taskType")
    uuid = fields.raw("taskUUID")
    if not validation.is_uuid4(uuid):
        raise RefusedError("taskUUID", "must be a UUID v4")
    fields.choice("model", ("pixverse:1@3",))
    fields.text("positivePrompt", least=2, most=2048)
    fields.text("negativePrompt", least=2, most=2048)
    fields.integer("seed", 0, validation.MAX_SEED)
    container = _platform_options(fields)
    count = fields.integer("numberResults", 1, 4, default=1) or 1
    seconds = int(fields.choice("duration", (5, 8), default=5))
    size, resolution = _size(fields, links)
    fast = _provider_settings(fields)
    fields.finish()
    _check_combination(resolution, seconds, fast=fast)
    return Order(
        "runware",
        "runware/pixverse-v4.5",
        account,
        task,
        Shape(*size, seconds=seconds, container=container),
        price_usd=round(_PRICE[resolution] * (2 if fast or seconds != 5 else 1), 6),  # noqa: PLR2004 - 5 s or 8 s
        task_id=uuid,
        count=count,
        client_reference=uuid,
    )


def _platform_options(fields: Fields) -> Container:
    fields.choice("outputType", ("URL",))
    fields.choice("deliveryMethod", ("async",))
    fields.integer("outputQuality", 20, 99)
    fields.integer("ttl", 60)
    fields.flag("includeCost")
    for key in ("webhookURL", "uploadEndpoint"):
        if (url := fields.text(key)) is not None:
            images.split_http_url(url, key)
    if safety := fields.inner("safety"):
        safety.flag("checkContent")
        safety.choice("mode", ("none", "fast", "full"))
        safety.finish()
    return fields.choice("outputFormat", ("MP4", "WEBM", "MOV"), default="MP4").lower()


def _size(fields: Fields, links: Links) -> tuple[tuple[int, int], str]:
    """Width, height and the name of the resolution: from `width` and `height`, or from the first frame."""
    inputs = fields.inner("inputs")
    frames = None
    if inputs is not None:
        inputs.require("frameImages")
        frames = inputs.items("frameImages", 1, 2)
        inputs.finish()
    width, height = fields.integer("width", 1), fields.integer("height", 1)
    if (width is None) != (height is None):
        raise RefusedError("height" if height is None else "width", "width and height only come together", "missing")
    if (frames is None) == (width is None):
        raise RefusedError("width", "give either inputs.frameImages or width and height", "conflict")
    if frames is None:
        if fields.has("resolution"):
            raise RefusedError("resolution", "cannot be used with width and height", "conflict")
        size = (width or 0, height or 0)
        if size not in SIZES:
            raise RefusedError("width", f"{width}x{height} is not one of the supported sizes", "unsupported")
        return size, SIZES[size]
    resolution = fields.choice("resolution", validation.RESOLUTIONS, default="720p")
    return size_by_name(resolution, _first_frame_aspect(frames, links)), resolution


def _first_frame_aspect(frames: list[Any], links: Links) -> tuple[int, int]:
    found = [_frame(item, f"inputs.frameImages[{at}]", links) for at, item in enumerate(frames)]
    positions = [position for position, _ in found if position is not None]
    if len(set(positions)) != len(positions):
        raise RefusedError("inputs.frameImages", "two images for one frame position", "conflict")
    ordered = sorted(found, key=lambda one: one[0] == "last")
    image = ordered[0][1]
    return (image.width, image.height) if image else _UNREAD_ASPECT


def _frame(item: object, path: str, links: Links) -> tuple[str | None, images.Image | None]:
    if isinstance(item, str):
        return None, _image(item, path, links)
    fields = Fields(item, path)
    fields.require("image")
    text = fields.text("image") or ""
    position = fields.choice("frame", tuple(_POSITIONS))
    fields.finish()
    return _POSITIONS.get(position), _image(text, fields.name("image"), links)


def _image(text: str, path: str, links: Links) -> images.Image | None:
    """The image, checked; None for a UUID of an image that was not uploaded here, of which nothing is known."""
    if validation.is_uuid(text):
        if not links.knows(text):
            raise RefusedError(path, "there is no image with this UUID")
        data = links.uploaded(text)
        return images.check_bytes(data, images.RUNWARE_RULES, path) if data is not None else None
    if "://" in text[:10]:
        return images.check_url(text, images.RUNWARE_RULES, links, path)
    return images.check_encoded(text, images.RUNWARE_RULES, path)


def read_upload(task: dict[str, Any], links: Links) -> bytes:
    """The image in an `imageUpload` task; nothing as long as it was not fetched.

    Raises:
        RefusedError: it breaks a rule.
    """
    fields = Fields(task)
    fields.require("taskUUID", "image")
    fields.raw("taskType")
    if not validation.is_uuid4(fields.raw("taskUUID")):
        raise RefusedError("taskUUID", "must be a UUID v4")
    text = fields.text("image", least=1) or ""
    fields.finish()
    if "://" in text[:10]:
        try:
            data = links.read(text, images.split_http_url(text, "image"), images.RUNWARE_RULES.max_bytes)
        except Unfetched:
            return b""
        if data is None:
            raise RefusedError("image", "image could not be downloaded from its URL")
    else:
        data = images.decode(text, "image")
    if images.probe(data) is None:
        raise RefusedError("image", "image format must be one of jpeg, png, webp", "unsupported")
    return data


def _provider_settings(fields: Fields) -> bool:
    """Checks `providerSettings.pixverse`; true for fast motion."""
    settings = fields.inner("providerSettings")
    if settings is None:
        return False
    pixverse = settings.inner("pixverse")
    settings.finish()
    if pixverse is None:
        return False
    camera = pixverse.choice("cameraMovement", _CAMERA)
    effect = pixverse.choice("effect", _EFFECTS)
    pixverse.choice("style", validation.STYLES)
    mode = pixverse.choice("motionMode", ("normal", "fast"), default="normal")
    pixverse.finish()
    if camera is not None and effect is not None:
        raise RefusedError(pixverse.name("effect"), "cannot be used with cameraMovement", "conflict")
    return mode == "fast"


def _check_combination(resolution: str, seconds: int, *, fast: bool) -> None:
    full = resolution == "1080p"
    if full and seconds == 8:  # noqa: PLR2004 - 5 s or 8 s
        raise RefusedError("duration", "1080p is made for 5 s only", "conflict")
    if fast and (full or seconds == 8):  # noqa: PLR2004 - 5 s or 8 s
        raise RefusedError("providerSettings.pixverse.motionMode", "fast takes 5 s and at most 720p", "conflict")
