"""Objects outside the store of the clips, at addresses such as `s3://bucket/key`: read, put and made readable by link.

S3 is reached through boto3, everything else through fsspec and the user's own library for it (gcsfs, adlfs …), each
with the credentials that it finds by itself.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, cast

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.secrets import remember_url
from pixverse_dagster.storage.s3 import S3Store

_PLACE = re.compile(r"(s3|gs|gcs|abfs|abfss|az)://([^/]+)/?(.*)", re.IGNORECASE | re.DOTALL)
_NOT_THERE = frozenset({"NoSuchKey", "NoSuchBucket", "NotFound", "404"})
_NOT_CHANGED = frozenset({"304", "NotModified"})
_LONGEST_MARK = 300
_DENIED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"})


def is_object(address: str) -> bool:
    """Whether an address is one of these."""
    return _PLACE.match(address) is not None


class ObjectStore(Protocol):
    """A place for images that providers fetch by link."""

    def has(self, key: str) -> bool:
        """Whether the object is there. Raises OSError, or the service's own error."""
        ...

    def put(self, key: str, path: Path, *, sha256: str, content_type: str) -> None:
        """Put a file under a key. What is there under it already stays: a key says what its bytes are."""
        ...

    def sign(self, key: str, seconds: int) -> str:
        """The link by which everybody may read the object for so long."""
        ...


class StoreObjects:
    """A store that signs links, as a place for images."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def has(self, key: str) -> bool:
        """As `ObjectStore.has`."""
        try:
            return bool(self._store.size_bytes(key))
        except FileNotFoundError:
            return False

    def put(self, key: str, path: Path, *, sha256: str, content_type: str) -> None:
        """As `ObjectStore.put`."""
        self._store.put_new(key, path, sha256=sha256, content_type=content_type)

    def sign(self, key: str, seconds: int) -> str:
        """As `ObjectStore.sign`."""
        return str(self._store.sign(key, seconds))


class FsspecObjects:
    """A bucket that fsspec reaches, as a place for images."""

    def __init__(self, address: str) -> None:
        self._system, self._root = _file_system(address.rstrip("/"))

    def has(self, key: str) -> bool:
        """As `ObjectStore.has`."""
        return bool(self._system.exists(f"{self._root}/{key}"))

    def put(self, key: str, path: Path, *, sha256: str, content_type: str) -> None:
        """As `ObjectStore.put`."""
        del content_type
        if hashlib.sha256(path.read_bytes()).hexdigest() == sha256 and not self.has(key):
            self._system.put_file(str(path), f"{self._root}/{key}")

    def sign(self, key: str, seconds: int) -> str:
        """As `ObjectStore.sign`."""
        link = str(self._system.sign(f"{self._root}/{key}", expiration=seconds))
        remember_url(link)
        return link


class Objects:
    """Reads objects, and opens places for them. Thread-safe; what it needs is imported and made when it is used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: Any = None

    def read(self, address: str, max_bytes: int, known: str = "") -> tuple[bytes | None, str]:
        """The bytes of an object, one more than allowed at most, and its mark; none where the mark is the known one.

        Raises FileNotFoundError or PermissionError where the service says so, ModuleNotFoundError where the library for
        it is not installed, and OSError for everything else, which may pass.
        """
        remember_url(address)
        try:
            if _scheme(address) == "s3":
                return self._read_s3(address, max_bytes, known)
            system, path = _file_system(address)
            mark = _mark_of(system.info(path))
            if mark and mark == known:
                return None, known
            with system.open(path, "rb") as file:
                return cast("bytes", file.read(max_bytes + 1)), mark
        except (FileNotFoundError, PermissionError, ModuleNotFoundError):
            raise
        except ImportError as error:
            raise ModuleNotFoundError(str(error)) from None
        except Exception as error:  # noqa: BLE001 - what these libraries raise has no common base
            if known and _code_of(error) in _NOT_CHANGED:
                return None, known
            kind = _kind_of(error)
            raise kind(f"{type(error).__name__}: {error}") from None

    def _read_s3(self, address: str, max_bytes: int, known: str) -> tuple[bytes, str]:
        bucket, _, key = address.partition("://")[2].partition("/")
        if_changed = {"IfNoneMatch": known} if known else {}
        answer = self._s3().get_object(Bucket=bucket, Key=key, **if_changed)
        with closing(answer["Body"]) as body:
            return cast("bytes", body.read(max_bytes + 1)), str(answer.get("ETag", ""))

    def open(self, address: str) -> ObjectStore:
        """The place at an address such as `s3://bucket/folder`. Raises PixverseError where it is none."""
        if not (found := _PLACE.fullmatch(address)):
            raise PixverseError(f"{address} is no place for images: give s3://, gs:// or abfs:// and a bucket")
        if _scheme(address) == "s3":
            return StoreObjects(S3Store(self._s3(), found[2], found[3]))
        return FsspecObjects(address)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _s3(self) -> Any:
        with self._lock:
            if self._client is None:
                # Imported here: 1 s, which other pipelines need not pay.
                import boto3  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]

                # A session of its own, because boto3's default session is not thread-safe.
                self._client = cast("Any", boto3).session.Session().client("s3")
            return self._client


def _scheme(address: str) -> str:
    return address.partition("://")[0].lower()


def _file_system(address: str) -> tuple[Any, str]:
    # Imported here: most pipelines need not pay for it.
    import fsspec  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]

    return cast("tuple[Any, str]", cast("Any", fsspec).core.url_to_fs(address))


def _mark_of(info: Mapping[str, Any]) -> str:
    """The mark of an object as fsspec's libraries name it: its ETag, else size and time; empty if it has neither."""
    found = {str(name).lower(): value for name, value in info.items()}
    if etag := found.get("etag"):
        return str(etag)[:_LONGEST_MARK]
    changed = next((found[name] for name in ("updated", "last_modified", "mtime") if found.get(name)), None)
    return f"{found.get('size')}:{changed}"[:_LONGEST_MARK] if changed else ""


def _code_of(error: Exception) -> str:
    answer = getattr(error, "response", None)
    return str(cast("dict[str, Any]", answer).get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""


def _kind_of(error: Exception) -> type[OSError]:
    """What an error of a library means: its code, where it has one, else that it may pass."""
    code = _code_of(error)
    if code in _NOT_THERE:
        return FileNotFoundError
    return PermissionError if code in _DENIED or type(error).__name__ == "NoCredentialsError" else OSError
