"""Input images: found and read as a row names them, checked, and put into the form in which they are sent."""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import io
import posixpath
import re
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin

from pixverse_dagster.core.addresses import unsigned_url
from pixverse_dagster.core.errors import InvalidRow, ReadFailed, ResultExpired
from pixverse_dagster.core.manifest import InputImage
from pixverse_dagster.core.redaction import redact_value, show_url
from pixverse_dagster.core.request import ImageRules
from pixverse_dagster.core.text import shorten
from pixverse_dagster.media.kinds import image_kind, is_cut_short, is_turned
from pixverse_dagster.media.probe import OPEN_OPTIONS
from pixverse_dagster.transport.download import Downloader, NotFetched, TooLarge
from pixverse_dagster.transport.logs import get_logger

_log = get_logger()
WEB_ADDRESS = "url:"
"""How the address of an image behind an http(s) URL begins."""
_MAX_ADDRESS = 1000
_WEB = re.compile(r"^https?://", re.IGNORECASE)
_HOST = re.compile(r"^https?://[^/?#]*", re.IGNORECASE)
_PASSING_ERRORS = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE}
"""What a share that is away for a moment says, or a machine with too many open files."""
_DATA_URI = re.compile(r"^data:[\w/+.-]*(?:;[\w=-]+)*;base64,", re.IGNORECASE)


@dataclass(frozen=True)
class ImageFacts:
    """What the bytes of an image say: `format` (jpeg, png, webp, svg, heic …) and its sides as shown, in pixels."""

    format: str
    width: int
    height: int


def image_facts(data: bytes | BinaryIO) -> ImageFacts | None:
    """Format and sides of an image; None if it cannot be read. A side of 0 means that it cannot be decoded."""
    import av  # noqa: PLC0415 - 160 ms, paid only where an image is read

    data = data if isinstance(data, bytes) else data.read()
    kind = image_kind(data)
    try:
        with av.open(io.BytesIO(data), "r", options=OPEN_OPTIONS) as media:
            # Of a kind without a decoder, such as SVG, there is a stream and no codec.
            image = media.streams.video[0].codec_context if media.streams.video else None
            if image is not None:  # pyright: ignore[reportUnnecessaryComparison]
                named = kind or {"mjpeg": "jpeg"}.get(image.name, image.name)
                sides = (image.height, image.width) if is_turned(data, named) else (image.width, image.height)
                return ImageFacts(named, *sides)
    except Exception:  # noqa: BLE001 - whatever a decoder makes of bytes that may be anything, it is not an image
        _log.debug("an image could not be decoded", exc_info=True)
    return ImageFacts(kind, 0, 0) if kind else None


class ImageUnread(InvalidRow):
    """The image could not be read for now, which says nothing about it: nothing was sent; read the table again."""


@dataclass(frozen=True)
class ImageSource:
    """Reads the input images that rows name. `base` is the folder or URL to which relative references belong.

    Without `read_urls`, images behind URLs are not read, so not checked, and their digest is that of the URL without
    its signature.
    """

    base: str
    downloader: Downloader
    read_urls: bool = True

    def resolve(self, reference: str) -> str:
        """The URL of a relative reference if `base` is a URL; any other reference unchanged. Raises InvalidRow."""
        if _is_path(reference) and _WEB.match(self.base):
            try:
                return urljoin(self.base.rstrip("/") + "/", reference)
            except ValueError:
                raise InvalidRow(f"{_shown(reference)} is neither a URL nor a name below {_shown(self.base)}") from None
        return reference

    def address(self, reference: str) -> str | None:
        """Where an image is, in one spelling and without secrets; None for one that is in the table itself."""
        return self._address(self.resolve(reference))

    def check(self, reference: str, rules: ImageRules, max_attempts: int | None = None) -> InputImage:
        """Read an image, in so many attempts, and check it against a provider's rules.

        Sends nothing to the provider. Raises InvalidRow, with a remedy, if the image breaks a rule or is not there, and
        ImageUnread if it cannot be read for now.
        """
        target = self.resolve(reference)
        address = self._address(target)
        if _is_uuid(target):
            if not rules.inline:
                raise InvalidRow("is a UUID, which this provider does not take: give an http(s) URL")
            return InputImage(source=target, digest=f"uuid:{target.lower()}", address=address)
        if _WEB.match(target) and not self.read_urls and address:
            return InputImage(source=show_url(target), digest=address, address=address)
        if not _WEB.match(target) and not rules.inline:
            raise InvalidRow(
                f"is not a URL, and this provider takes images by URL only: upload {_shown(target)} and give its "
                "address, or set image_base to where it is served"
            )
        data = self._read(target, rules, max_attempts)
        facts = check_image(data, rules)
        return InputImage(
            source=_shown(target),
            digest=f"sha256:{hashlib.sha256(data).hexdigest()}",
            address=address,
            format=facts.format,
            width=facts.width,
            height=facts.height,
            size_bytes=len(data),
        )

    def is_inline(self, reference: str) -> bool:
        """Whether the bytes of the image are part of the submit, and not only its address."""
        target = self.resolve(reference)
        return not (_WEB.match(target) or _is_uuid(target))

    def read_checked(self, reference: str, image: InputImage, rules: ImageRules) -> bytes | None:
        """The bytes of an image that is behind no URL, if they are those that were checked. Asks no host, else None."""
        with suppress(InvalidRow):
            data = self._read(self.resolve(reference), rules) if self.is_inline(reference) else b""
            return data if f"sha256:{hashlib.sha256(data).hexdigest()}" == image.digest else None

    def as_sent(self, reference: str, image: InputImage, rules: ImageRules) -> str:
        """The form in which a checked image is sent: its URL or UUID, or the bytes of a local file as a data URI.

        Raises InvalidRow if a local file changed since it was checked, or if the table's last reading saw that the
        bytes behind a URL are not those that the row is paid for.
        """
        target = self.resolve(reference)
        if image.newer:
            raise InvalidRow(
                f"image changed: {_shown(target)} has other bytes than those that the row was submitted with. Nothing "
                "was sent: read the table again, so that the new image counts, and submit the row"
            )
        if not _is_path(target):
            return target
        data = self._read(target, rules)
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != image.digest:
            raise InvalidRow(
                f"image {_shown(target)} changed since the table was read. Nothing was sent: read it again"
            )
        return f"data:image/{image.format};base64,{base64.b64encode(data).decode()}"

    def _address(self, target: str) -> str | None:
        """Where an image is, in one spelling and without secrets. None for an image that is in the table itself."""
        if _is_uuid(target):
            return f"uuid:{target.lower()}"
        if _WEB.match(target):
            return WEB_ADDRESS + hashlib.sha256(unsigned_url(target).encode()).hexdigest()
        if not _is_path(target):
            return None
        return (target if "://" in target else f"file:{posixpath.normpath(target)}")[:_MAX_ADDRESS]

    def _read(self, target: str, rules: ImageRules, max_attempts: int | None = None) -> bytes:
        try:
            if _WEB.match(target):
                buffer = io.BytesIO()
                self.downloader.fetch(target, buffer, rules.max_bytes, max_attempts)
                return buffer.getvalue()
            return _decode(target) or self._open_local(target, rules.max_bytes)
        except TooLarge:
            raise InvalidRow(_too_large(rules)) from None
        except (ResultExpired, NotFetched) as error:
            raise InvalidRow(f"cannot be read and so cannot be checked: {error}") from None
        except ReadFailed as error:
            raise ImageUnread(f"cannot be read for now: {error}") from None

    def _open_local(self, target: str, max_bytes: int) -> bytes:
        base = Path(self.base).resolve()
        try:
            path = (base / target).resolve()
            # A table may name files in its own folder and below, and no others on this machine.
            if not path.is_relative_to(base):
                raise InvalidRow(f"{_shown(target)} leads out of {base}: keep images below it")
            with path.open("rb") as file:
                return file.read(max_bytes + 1)
        except (OSError, ValueError) as error:
            what = error.strerror if isinstance(error, OSError) else "not a file name"
            for_now = isinstance(error, OSError) and error.errno in _PASSING_ERRORS
            kind = ImageUnread if for_now else InvalidRow
            raise kind(f"{_shown(target)} cannot be read{' for now' if for_now else ''} below {base}: {what}") from None


class ImageCache:
    """Checks each image only once, however many rows name it. One cache is for one reading of a table. Thread-safe."""

    def __init__(self, source: ImageSource) -> None:
        self._source = source
        self._found: dict[tuple[str, str], InputImage | InvalidRow] = {}
        self._silent_hosts: set[str] = set()
        self._lock = threading.Lock()

    def address(self, reference: str) -> str | None:
        """As `ImageSource.address`."""
        return self._source.address(reference)

    def check(self, reference: str, rules: ImageRules) -> InputImage:
        """As `ImageSource.check`. A host that let one image down is asked once for each of its others."""
        key, host = (reference, rules.source), _host(self._source.resolve(reference))
        with self._lock:
            found, silent = self._found.get(key), host in self._silent_hosts
        if found is None:
            try:
                found = self._source.check(reference, rules, 1 if silent else None)
            except InvalidRow as error:
                found = error
            with self._lock:
                self._found[key] = found
                if host and isinstance(found, ImageUnread):
                    self._silent_hosts.add(host)
        if isinstance(found, InvalidRow):
            raise found
        return found


def check_image(data: bytes, rules: ImageRules) -> ImageFacts:
    """The facts of an image. Raises InvalidRow with what is wrong, what is allowed, and the source of the rule."""
    if len(data) > rules.max_bytes:
        raise InvalidRow(_too_large(rules))
    facts = image_facts(data)
    if facts is None or facts.format not in rules.formats:
        what = "not an image that can be read" if facts is None else f"{_article(facts.format)} file"
        allowed = " or ".join(sorted(format_.upper() for format_ in rules.formats))
        raise InvalidRow(f"is {what}: use {allowed} ({rules.source})")
    short, long = sorted((facts.width, facts.height))
    if not short:
        raise InvalidRow(
            f"is {_article(facts.format)} file that cannot be decoded: perhaps it was cut short, or is beyond 64 MP"
        )
    if is_cut_short(data, facts.format):
        raise InvalidRow(
            f"is cut short: the end of the {facts.format.upper()} file is missing. Save or upload it again"
        )
    size = f"{facts.width}x{facts.height}"
    if short < rules.min_side:
        raise InvalidRow(f"is {size}: both sides must be at least {rules.min_side} px ({rules.source})")
    if rules.max_side and long > rules.max_side:
        raise InvalidRow(f"is {size}: no side may exceed {rules.max_side} px ({rules.source})")
    if rules.max_aspect and long > rules.max_aspect * short:
        raise InvalidRow(f"is {size}: the aspect must be within 1:{rules.max_aspect} ({rules.source})")
    return facts


def _article(kind: str) -> str:
    return f"{'an' if kind in {'avif', 'ico', 'svg'} else 'a'} {kind.upper()}"


def _too_large(rules: ImageRules) -> str:
    return f"is larger than {rules.max_bytes / 1e6:g} MB ({rules.source})"


def _host(reference: str) -> str:
    """The scheme and host of a URL; empty for anything else, which is below the base."""
    found = _HOST.match(reference)
    return found.group().lower() if found else ""


def _is_uuid(reference: str) -> bool:
    try:
        return str(uuid.UUID(reference)) == reference.lower()
    except ValueError:
        return False


def _is_path(reference: str) -> bool:
    return not (_WEB.match(reference) or _DATA_URI.match(reference) or _is_uuid(reference) or _decode(reference))


def _decode(reference: str) -> bytes | None:
    """The bytes of a data URI, or of plain base64 that is long enough to be an image; None from anything else."""
    head = _DATA_URI.match(reference)
    if not head and len(reference) < 256:  # noqa: PLR2004 - shorter than any image, longer than most paths
        return None
    try:
        return base64.b64decode(reference[head.end() if head else 0 :], validate=True)
    except (binascii.Error, ValueError):
        return None


def _shown(reference: str) -> str:
    return shorten(str(redact_value(reference)), 200)
