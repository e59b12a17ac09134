"""What an image is when it is brought to a provider: its bytes, and the reference under which it is there then."""

from __future__ import annotations

from dataclasses import dataclass, field

_TYPES = {"jpeg": ("image/jpeg", "jpg"), "png": ("image/png", "png"), "webp": ("image/webp", "webp")}


@dataclass(frozen=True)
class StagedBytes:
    """The bytes of an image, as they are to be brought to a provider: `sha256` is their digest in hex."""

    data: bytes = field(repr=False)
    sha256: str
    format: str

    @property
    def content_type(self) -> str:
        """The media type, as `image/png`."""
        return _TYPES.get(self.format, (f"image/{self.format}", ""))[0]

    @property
    def ending(self) -> str:
        """What the name of such a file ends in, without a dot."""
        return _TYPES.get(self.format, ("", self.format))[1]

    @property
    def name(self) -> str:
        """A file name that says nothing but what the bytes are."""
        return f"{self.sha256[:32]}.{self.ending}"


@dataclass(frozen=True)
class Staged:
    """An image that a provider has: `reference` is what a request names it by, for so many seconds; None is for ever.

    As long as the provider says nothing of an end, a cautious time.
    """

    reference: str
    lasts_seconds: float | None
