"""What is known of images from earlier readings, and what was made of those that no provider takes as they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SeenImage:
    """A sound image as it was read. While `mark` (an ETag, or size and time) is the same, nothing of it has changed."""

    mark: str
    digest: str
    format: str
    width: int
    height: int
    size_bytes: int


@dataclass(frozen=True)
class Conversion:
    """What was made of an image by a recipe: its digest (sha256:…), kind and sides."""

    digest: str
    recipe: str
    sent_digest: str
    format: str
    width: int
    height: int
    size_bytes: int
