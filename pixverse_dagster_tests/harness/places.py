"""Stores for tests, with what no product code does to them: files that vanish or change, and processes that stop."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixverse_dagster.core.layout import ClipKey, parse
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.s3 import S3Store

Hook = Callable[[str], object]


def _nothing(_: str) -> None: ...


@dataclass(frozen=True)
class Place:
    """A store, and another hand in it."""

    store: ClipStore
    folder: Path
    """For files on their way there."""
    client: Any = None
    bucket: str = ""
    prefix: str = ""

    def put(self, key: str, data: bytes) -> None:
        """Create an object, as another program would."""
        path = self.folder / uuid.uuid4().hex
        path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        assert self.store.put_new(key, path, sha256=digest, content_type="video/mp4")

    def change(self, key: str, data: bytes) -> None:
        """Give an object other bytes."""
        if self.client is None:
            Path(self.store.uri(key)).write_bytes(data)
        else:
            self.client.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}", Body=data)

    def remove(self, key: str) -> None:
        """Delete an object."""
        if self.client is None:
            Path(self.store.uri(key)).unlink()
        else:
            self.client.delete_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}")

    def contents(self, prefix: str) -> dict[str, bytes]:
        """Every object below a prefix."""
        found: dict[str, bytes] = {}
        for key in self.store.keys(prefix):
            with self.store.open(key) as file:
                found[key] = file.read()
        return found

    def hooked(self, before: Hook = _nothing, after: Hook = _nothing) -> ClipStore:
        """The store, where something happens before and after each put of a file of a clip."""
        put_new = self.store.put_new

        def hooked_put(key: str, path: Path, *, sha256: str, content_type: str) -> bool:
            told = isinstance(parse(key), ClipKey)
            if told:
                before(key)
            created = put_new(key, path, sha256=sha256, content_type=content_type)
            if told:
                after(key)
            return created

        other: Any = self._again()
        other.put_new = hooked_put
        return other

    def _again(self) -> ClipStore:
        if self.client is None:
            return LocalStore(self.store.uri(""))
        return S3Store(self.client, self.bucket, self.prefix)


class Killed(OSError):
    """The process ended here, as far as the store can tell."""


def killed_at(ending: str) -> Hook:
    """A hook that ends the process at the first key with this ending."""

    def hook(key: str) -> None:
        if key.endswith(ending):
            raise Killed(f"killed at {ending}")

    return hook
