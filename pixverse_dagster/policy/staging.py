"""How an image gets to a provider. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pixverse_dagster.core.manifest import SentAs

RENEW_SHARE = 0.1
"""An image is brought again when so much of its time is left, or less."""
LINK_SECONDS = 6 * 3600
"""How long a signed link holds: a provider may fetch the image only when the task's turn comes."""
LONGEST_SECONDS = 60 * 24 * 3600
"""No provider's copy is relied on for longer."""
INLINE_BYTES = 4_000_000
"""Larger images are rather uploaded once than sent with every request."""


class Way(StrEnum):
    """How an image gets to a provider."""

    AS_NAMED = "as it is named"
    INLINE = "inline"
    UPLOAD = "upload"
    LINK = "link"
    NONE = "none"


@dataclass(frozen=True)
class Picture:
    """What matters of an image: whether the provider can take what the row names, its size, and its longer side."""

    is_web: bool = False
    is_uuid: bool = False
    is_converted: bool = False
    size_bytes: int = 0
    long_side: int = 0


@dataclass(frozen=True)
class Means:
    """What a provider takes, and whether there is a place from which it may fetch images by a signed link."""

    inline: bool
    uploads: bool
    links: bool
    upload_max_side: int | None = None


def choose_way(picture: Picture, means: Means) -> Way:
    """The way of an image to a provider: what the provider can take by itself, it takes as it is named."""
    if picture.is_uuid or (picture.is_web and not picture.is_converted):
        return Way.AS_NAMED
    keeps_it = means.upload_max_side is None or picture.long_side <= means.upload_max_side
    if means.inline and not (means.uploads and keeps_it and picture.size_bytes > INLINE_BYTES):
        return Way.INLINE
    if means.uploads:
        return Way.UPLOAD
    return Way.LINK if means.links else Way.NONE


def sent_as(way: Way, *, is_uuid: bool) -> SentAs:
    """What the manifest says of the way."""
    if way is Way.AS_NAMED:
        return "uuid" if is_uuid else "url"
    return "inline" if way is Way.INLINE else "staged"


def still_holds(expires_at: float | None, staged_at: float, now: float) -> bool:
    """Whether an image that was brought to an account is there long enough for a request that is sent now.

    An end that lies further ahead than any is written, by a clock that was wrong, counts as come.
    """
    if expires_at is None:
        return True
    if expires_at - now > LONGEST_SECONDS:
        return False
    return expires_at - now > RENEW_SHARE * max(expires_at - staged_at, 0.0)
