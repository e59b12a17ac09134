"""Input images: found and read as a row names them, checked, and put into the form in which they are sent."""

from __future__ import annotations

import base64
import hashlib
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol
from urllib.parse import urljoin

from pixverse_dagster.core.addresses import unsigned_url
from pixverse_dagster.core.errors import InvalidRow
from pixverse_dagster.core.images import Conversion, SeenImage
from pixverse_dagster.core.manifest import InputImage
from pixverse_dagster.core.redaction import show_url
from pixverse_dagster.core.request import ImageRules
from pixverse_dagster.media.convert import MAX_SOURCE_BYTES, conversion_recipe, convert_image
from pixverse_dagster.media.decode import ImageFacts, RuleBroken, check_image, check_rules, too_large
from pixverse_dagster.media.reading import (
    ImageReader,
    ReadBytes,
    ReadObject,
    is_object,
    is_path,
    is_uuid,
    is_web,
    shown,
)
from pixverse_dagster.transport.download import Downloader, TooLarge, requested_url

WEB_ADDRESS = "url:"
"""How the address of an image behind an http(s) URL begins."""
_MAX_ADDRESS = 1000
_ENDINGS = {"jpg": "jpeg", "png": "png"}


@dataclass(frozen=True)
class Look:
    """An image as it was checked, and what is to be remembered of it; nothing, where it may be another at any time."""

    image: InputImage
    seen: SeenImage | None = None
    made: Conversion | None = None


@dataclass(frozen=True)
class KnownImage:
    """What earlier readings know of an image: as it was seen, and what it was converted into, by recipe."""

    seen: SeenImage | None = None
    made: Mapping[str, Conversion] = field(default_factory=dict[str, Conversion])


class KeptImages(Protocol):
    """Where the bytes of converted images are kept, so that what is sent can be seen and sent again."""

    def get(self, sha256: str, ending: str) -> bytes | None:
        """The bytes; None if they are not there, or not for now."""
        ...

    def put(self, sha256: str, ending: str, data: bytes) -> None:
        """Keep the bytes, once. Raises ImageUnread if that is not possible for now."""
        ...


@dataclass(frozen=True)
class ImageSource:
    """Reads the input images that rows name. `base` is the folder or URL to which relative references belong.

    Without `read_urls`, images behind URLs are not read, so not checked, and their digest is that of the URL without
    its signature. With `convert`, a JPEG or PNG is made of those that a provider does not take, and kept in `kept`.
    """

    base: str
    downloader: Downloader
    read_urls: bool = True
    convert: bool = False
    kept: KeptImages | None = None
    read_object: ReadObject | None = None
    """Reads an object in S3 and the like."""
    samples: Mapping[str, str] = field(default_factory=dict[str, str])
    """The URLs of images that a simulator has, by name. What is there below `base` comes first."""

    @property
    def _reader(self) -> ImageReader:
        return ImageReader(self.base, self.downloader, self.read_object)

    def resolve(self, reference: str) -> str:
        """The URL of a relative reference if `base` is a URL; any other reference unchanged. Raises InvalidRow."""
        if is_object(self.base) and is_path(reference) and "://" not in reference:
            return f"{self.base.rstrip('/')}/{posixpath.normpath(f'/{reference}').lstrip('/')}"
        if reference in self.samples and not (is_web(self.base) or (Path(self.base) / reference).exists()):
            return self.samples[reference]
        if is_path(reference) and is_web(self.base):
            try:
                return urljoin(self.base.rstrip("/") + "/", reference)
            except ValueError:
                raise InvalidRow(f"{shown(reference)} is neither a URL nor a name below {shown(self.base)}") from None
        return reference

    def address(self, reference: str) -> str | None:
        """Where an image is, in one spelling and without secrets; None for one that is in the table itself."""
        return self._address(self.resolve(reference))

    def place(self, reference: str) -> str | None:
        """Where an image is, as a sha256 in hex, to remember it by; None for one that is in the table, or nowhere."""
        try:
            target = self.resolve(reference)
        except InvalidRow:
            return None
        address = self._address(target)
        if address is None or is_uuid(target):
            return None
        where = str(Path(self.base).resolve() / target) if is_path(target) and "://" not in target else address
        return hashlib.sha256(where.encode(errors="surrogatepass")).hexdigest()

    def check(self, reference: str, rules: ImageRules, max_attempts: int | None = None) -> InputImage:
        """As `look`: the image alone."""
        return self.look(reference, rules, max_attempts).image

    def look(
        self, reference: str, rules: ImageRules, max_attempts: int | None = None, known: KnownImage | None = None
    ) -> Look:
        """Read an image, in so many attempts, and check it against a provider's rules. One that is known is not read.

        Sends nothing to the provider. Raises InvalidRow, with a remedy, if the image breaks a rule, ImageGone if it is
        not there (any more), and ImageUnread if it cannot be read for now.
        """
        target = self.resolve(reference)
        address = self._address(target)
        if is_uuid(target):
            if not rules.inline:
                raise InvalidRow("is a UUID, which this provider does not take: give an http(s) URL")
            return Look(InputImage(source=target, digest=f"uuid:{target.lower()}", address=address))
        if is_web(target) and not self.read_urls and address:
            return Look(InputImage(source=show_url(target), digest=address, address=address))
        look = self._look(target, rules, max_attempts, known or KnownImage())
        return replace(look, image=look.image.model_copy(update={"source": shown(target), "address": address}))

    def _look(self, target: str, rules: ImageRules, max_attempts: int | None, known: KnownImage) -> Look:
        seen = known.seen
        read = self._read(target, rules, max_attempts, seen.mark if seen else "")
        if read.data is None and seen is not None:
            try:
                check_rules(ImageFacts(seen.format, seen.width, seen.height), seen.size_bytes, rules)
            except RuleBroken:
                if not self.convert:
                    raise
                if made := known.made.get(conversion_recipe(rules)):
                    return Look(_converted(seen, made, rules))
                return self._look(target, rules, max_attempts, KnownImage())
            return Look(_image(seen))
        data = read.data or b""
        try:
            found = _seen(read, check_image(data, rules))
        except RuleBroken:
            if not self.convert:
                raise
            converted = convert_image(data, rules)
            found = _seen(read, converted.facts)
            return Look(_converted(found, converted.made, rules), found if found.mark else None, converted.made)
        return Look(_image(found), found if found.mark else None)

    def _limit(self, rules: ImageRules) -> int:
        """How much of an image is read: what is larger is refused."""
        return max(rules.max_bytes, MAX_SOURCE_BYTES) if self.convert else rules.max_bytes

    def is_web(self, reference: str) -> bool:
        """Whether the row names an http(s) URL, which a provider may fetch by itself."""
        return is_web(self.resolve(reference))

    def is_uuid(self, reference: str) -> bool:
        """Whether the row names an image that the provider has."""
        return is_uuid(self.resolve(reference))

    def check_unchanged(self, reference: str, image: InputImage) -> None:
        """Raise InvalidRow if the table's last reading saw other bytes than those that the row is paid for."""
        if image.newer:
            raise InvalidRow(
                f"image changed: {shown(self.resolve(reference))} has other bytes than those that the row was "
                "submitted with. Nothing was sent: read the table again, so that the new image counts, and submit the "
                "row"
            )

    def as_sent(self, reference: str, image: InputImage, rules: ImageRules) -> str:
        """The form in which a checked image is sent: its URL or UUID, or the bytes of a local file as a data URI.

        Raises InvalidRow if a local file changed since it was checked, or if the table's last reading saw that the
        bytes behind a URL are not those that the row is paid for.
        """
        target = self.resolve(reference)
        self.check_unchanged(reference, image)
        if is_web(target) and not is_converted(image):
            return requested_url(target)
        if not is_path(target) and not is_converted(image):
            return target
        data, format_ = self.bytes_as_sent(reference, image, rules)
        return f"data:image/{format_};base64,{base64.b64encode(data).decode()}"

    def bytes_as_sent(self, reference: str, image: InputImage, rules: ImageRules) -> tuple[bytes, str]:
        """The bytes of a checked image as a provider gets them, and their kind: converted, where it was to be.

        What was converted is kept first. Raises InvalidRow if the image is not the one that was checked, and
        ImageUnread if it cannot be read, or kept, for now.
        """
        if not is_converted(image):
            return self.same_bytes(reference, image), image.format or ""
        sent = (image.sent_digest or "").removeprefix("sha256:")
        for ending, format_ in _ENDINGS.items():
            if self.kept and (data := self.kept.get(sent, ending)) and hashlib.sha256(data).hexdigest() == sent:
                return data, format_
        converted = convert_image(self.same_bytes(reference, image), rules)
        if converted.made.sent_digest != image.sent_digest:
            raise InvalidRow(
                f"image {shown(self.resolve(reference))} is converted into other bytes by this version. Nothing was "
                "sent: read the table again"
            )
        if self.kept:
            ending = next(one for one, kind in _ENDINGS.items() if kind == converted.made.format)
            self.kept.put(sent, ending, converted.data)
        return converted.data, converted.made.format

    def same_bytes(self, reference: str, image: InputImage, max_attempts: int | None = None) -> bytes:
        """The bytes of an image as it was checked. Raises InvalidRow if they are others by now, or are not there."""
        target = self.resolve(reference)
        try:
            data = self._reader.read(target, max(image.size_bytes or 0, 1), max_attempts).data or b""
        except TooLarge:
            data = b""
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != image.digest:
            raise InvalidRow(f"image {shown(target)} changed since the table was read. Nothing was sent: read it again")
        return data

    def _address(self, target: str) -> str | None:
        """Where an image is, in one spelling and without secrets. None for an image that is in the table itself."""
        if is_uuid(target):
            return f"uuid:{target.lower()}"
        if is_web(target):
            return WEB_ADDRESS + hashlib.sha256(unsigned_url(target).encode()).hexdigest()
        if not is_path(target):
            return None
        return (target if "://" in target else f"file:{posixpath.normpath(target)}")[:_MAX_ADDRESS]

    def _read(self, target: str, rules: ImageRules, max_attempts: int | None, known: str) -> ReadBytes:
        try:
            return self._reader.read(target, self._limit(rules), max_attempts, known)
        except TooLarge:
            raise InvalidRow(too_large(rules)) from None


def is_converted(image: InputImage | None) -> bool:
    """Whether other bytes are sent than those that were read."""
    return image is not None and image.sent_digest is not None and image.sent_digest != image.digest


def _image(seen: SeenImage) -> InputImage:
    facts = {name: getattr(seen, name) for name in ("digest", "format", "width", "height", "size_bytes")}
    return InputImage(source="", **facts)


def _converted(seen: SeenImage, made: Conversion, rules: ImageRules) -> InputImage:
    sent = {"sent_as": "inline" if rules.inline else "staged", "sent_digest": made.sent_digest}
    return _image(seen).model_copy(update=sent)


def _seen(read: ReadBytes, facts: ImageFacts) -> SeenImage:
    data = read.data or b""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return SeenImage(read.mark, digest, facts.format, facts.width, facts.height, len(data))
