"""Reading what rows name as images: files below a folder, URLs, objects in S3 and the like, and data URIs."""

from __future__ import annotations

import base64
import binascii
import errno
import io
import os
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pixverse_dagster.core.errors import InvalidRow, ReadFailed, ResultExpired
from pixverse_dagster.core.redaction import redact_value
from pixverse_dagster.core.text import shorten
from pixverse_dagster.transport.download import Downloader, NotChanged, NotFetched, TooLarge
from pixverse_dagster.transport.marks import mark_of

_WEB = re.compile(r"^https?://", re.IGNORECASE)
_OBJECT = re.compile(r"^(s3|gs|gcs|abfs|abfss|az)://", re.IGNORECASE)
_PASSING_ERRORS = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE}
"""What a share that is away for a moment says, or a machine with too many open files."""
_TICK_NS, _COARSE_TICK_NS = 20_000_000, 2_000_000_000
_DATA_URI = re.compile(r"^data:[\w/+.-]*(?:;[\w=-]+)*;base64,", re.IGNORECASE)


ReadObject = Callable[[str, int, str], tuple[bytes | None, str]]
"""Reads an object at an address, up to so many bytes, if its mark is not the known one: its bytes and its mark."""


class ImageUnread(InvalidRow):
    """The image could not be read for now, which says nothing about it: nothing was sent; read the table again."""


class ImageGone(InvalidRow):
    """The image is not where it was, or its link has expired: a row that has its task needs it no longer."""


@dataclass(frozen=True)
class ReadBytes:
    """What was read, with its mark. No bytes: they are those that are known by this mark."""

    data: bytes | None
    mark: str


@dataclass(frozen=True)
class ImageReader:
    """Reads images. `base` is the folder to which files belong."""

    base: str
    downloader: Downloader
    read_object: ReadObject | None = None

    def read(self, target: str, max_bytes: int, max_attempts: int | None = None, known: str = "") -> ReadBytes:
        """What a reference leads to, one byte more than allowed at most; no bytes where the mark is the known one.

        Raises TooLarge for a URL, ImageGone, ImageUnread, and InvalidRow for what can never be read.
        """
        try:
            if is_web(target):
                return self._fetch(target, max_bytes, max_attempts, known)
            if is_object(target):
                return ReadBytes(*self._read_object(target, max_bytes, known))
            inline = decode(target)
            return ReadBytes(inline, "") if inline else self._open_local(target, max_bytes, known)
        except TooLarge:
            raise
        except ResultExpired as error:
            raise ImageGone(f"cannot be read and so cannot be checked: {error}") from None
        except NotFetched as error:
            raise InvalidRow(f"cannot be read and so cannot be checked: {error}") from None
        except ReadFailed as error:
            raise ImageUnread(f"cannot be read for now: {error}") from None

    def _read_object(self, address: str, max_bytes: int, known: str) -> tuple[bytes | None, str]:
        where = shown(address)
        if self.read_object is None:
            raise InvalidRow(f"{where} cannot be reached from here: give an http(s) URL or a file")
        try:
            return self.read_object(address, max_bytes, known)
        except FileNotFoundError:
            raise ImageGone(f"{where} is not there: check its name") from None
        except PermissionError as error:
            raise InvalidRow(f"{where} may not be read: check the credentials ({error})") from None
        except ModuleNotFoundError as error:
            raise InvalidRow(f"{where} needs fsspec's library for it, such as gcsfs or adlfs ({error})") from None
        except OSError as error:
            raise ImageUnread(f"{where} cannot be read for now: {error}") from None

    def _fetch(self, url: str, max_bytes: int, max_attempts: int | None, known: str) -> ReadBytes:
        buffer, marks = io.BytesIO(), [""]
        try:
            self.downloader.fetch(
                url,
                buffer,
                max_bytes,
                max_attempts,
                told=lambda headers: marks.append(mark_of(headers)),
                known=known,
            )
        except NotChanged:
            return ReadBytes(None, known)
        return ReadBytes(buffer.getvalue(), marks[-1])

    def _open_local(self, target: str, max_bytes: int, known: str) -> ReadBytes:
        base = Path(self.base).resolve()
        try:
            path = (base / target).resolve()
            # A table may name files in its own folder and below, and no others on this machine.
            if not path.is_relative_to(base):
                raise InvalidRow(f"{shown(target)} leads out of {base}: keep images below it")
            with path.open("rb") as file:
                mark = _file_mark(os.fstat(file.fileno()))
                if known and known == mark:
                    return ReadBytes(None, known)
                data = file.read(max_bytes + 1)
                settled = mark == _file_mark(os.fstat(file.fileno()))
                return ReadBytes(data, mark if settled else "")
        except (OSError, ValueError) as error:
            what = error.strerror if isinstance(error, OSError) else "not a file name"
            for_now = isinstance(error, OSError) and error.errno in _PASSING_ERRORS
            gone = InvalidRow if not isinstance(error, FileNotFoundError) else ImageGone
            kind = ImageUnread if for_now else gone
            raise kind(f"{shown(target)} cannot be read{' for now' if for_now else ''} below {base}: {what}") from None


def _file_mark(status: os.stat_result) -> str:
    """Size and time of a file; empty while it may yet change within the tick of its time."""
    coarse = status.st_mtime_ns % 1_000_000_000 == 0  # a file system that knows seconds only
    age_ns = time.time_ns() - status.st_mtime_ns
    if age_ns < (_COARSE_TICK_NS if coarse else _TICK_NS):
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}"


def is_web(reference: str) -> bool:
    """Whether it is an http(s) URL."""
    return _WEB.match(reference) is not None


def is_object(reference: str) -> bool:
    """Whether it is an object in S3 or another such store."""
    return _OBJECT.match(reference) is not None


def is_uuid(reference: str) -> bool:
    """Whether it is the id of an image that a provider has."""
    try:
        return str(uuid.UUID(reference)) == reference.lower()
    except ValueError:
        return False


def is_path(reference: str) -> bool:
    """Whether it is none of the others: a file, or an address with a scheme of its own."""
    return not (is_web(reference) or _DATA_URI.match(reference) or is_uuid(reference) or decode(reference))


def decode(reference: str) -> bytes | None:
    """The bytes of a data URI, or of plain base64 that is long enough to be an image; None from anything else."""
    head = _DATA_URI.match(reference)
    if not head and len(reference) < 256:  # noqa: PLR2004 - shorter than any image, longer than most paths
        return None
    try:
        return base64.b64decode(reference[head.end() if head else 0 :], validate=True)
    except (binascii.Error, ValueError):
        return None


def shown(reference: str) -> str:
    """A reference as a person may see it."""
    return shorten(str(redact_value(reference)), 200)
