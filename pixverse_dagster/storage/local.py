"""Clips in a local or mounted directory."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar, Self
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pydantic import Field

from pixverse_dagster.storage.base import FromVariable, StoreSettings

_LEFTOVER_SECONDS = 86_400


class LocalSettings(StoreSettings):
    """Clips below a directory."""

    NAME: ClassVar[str] = "local"

    base_dir: Annotated[str, FromVariable("PIXVERSE_CLIPS_DIR")] = Field(
        description="The directory, created if needed. In a component, a relative one is below the project's root."
    )

    def open_store(self, client: Any = None) -> LocalStore:
        """The directory as a store."""
        del client
        return LocalStore(self.base_dir)

    @classmethod
    def read_uri(cls, uri: str) -> bytes:
        """The bytes of the file at a path, or at a `file://` URL of this machine."""
        if uri.lower().startswith("file:"):
            parts = urlsplit(uri)
            if parts.netloc not in {"", "localhost"}:
                raise ValueError(f"{uri} is a file of another machine: give file:///path")
            uri = url2pathname(uri.split("://", 1)[-1][len(parts.netloc) :])
        return Path(uri).expanduser().read_bytes()

    def below(self, folder: Path) -> Self:
        """As `StoreSettings.below`."""
        return self.model_copy(update={"base_dir": str(folder / self.base_dir)})


class LocalStore:
    """A store in a directory.

    A file is flushed to disk and then gets its final name by a hard link, which fails if the name exists. So a file
    under its final name is always complete.
    """

    INCOMING = ".incoming"
    _LOCK = "replace.lock"

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root).expanduser().resolve()

    def __repr__(self) -> str:
        return f"LocalStore({str(self._root)!r})"

    def put_new(self, key: str, path: Path, *, sha256: str, content_type: str) -> bool:
        """As `ClipStore.put_new`. Safe against a crash at any moment: the final name is given last."""
        del sha256, content_type
        target = self._path(key)
        _make_folder(target.parent)
        path = self._incoming(path)
        try:
            _sync(path)
            os.link(path, target)
        except FileExistsError:
            return False
        finally:
            path.unlink(missing_ok=True)
        _sync(target.parent)
        return True

    def replace(self, key: str, path: Path, *, was: str, sha256: str, content_type: str) -> bool:
        """As `ClipStore.replace`: under a lock that all processes take, and by renaming, which is atomic."""
        del sha256, content_type
        target = self._path(key)
        path = self._incoming(path)
        try:
            _sync(path)
            with (self.scratch() / self._LOCK).open("wb") as lock:
                # Let go when the file is closed, also by the end of the process.
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not target.exists() or hashlib.sha256(target.read_bytes()).hexdigest() != was:
                    return False
                path.replace(target)
        finally:
            path.unlink(missing_ok=True)
        _sync(target.parent)
        return True

    def open(self, key: str) -> BinaryIO:
        """As `ClipStore.open`."""
        return self._path(key).open("rb")

    def size_bytes(self, key: str) -> int:
        """As `ClipStore.size_bytes`."""
        return self._path(key).stat().st_size

    def keys(self, prefix: str) -> Iterator[str]:
        """As `ClipStore.keys`."""
        for folder, _, names in os.walk(self._path(prefix.rstrip("/"))):
            for name in names:
                yield (Path(folder) / name).relative_to(self._root).as_posix()

    def uri(self, key: str) -> str:
        """The file's path."""
        return str(self._path(key))

    def page(self, key: str) -> None:
        """None: browsers do not open files from a web page."""

    def scratch(self) -> Path:
        """A folder on the same file system, so that a finished download is stored without being copied."""
        folder = self._root / self.INCOMING
        folder.mkdir(parents=True, exist_ok=True)
        self._sweep(folder)
        return folder

    def _incoming(self, path: Path) -> Path:
        """The file itself, if it is on this file system, else a copy that is."""
        if path.is_relative_to(self._root):
            return path
        incoming = self.scratch() / uuid.uuid4().hex
        shutil.copyfile(path, incoming)
        return incoming

    def _sweep(self, folder: Path) -> None:
        """Remove downloads that a killed process left unfinished; no download takes a day."""
        for leftover in folder.iterdir():
            try:
                if leftover.name == self._LOCK or time.time() - leftover.stat().st_mtime < _LEFTOVER_SECONDS:
                    continue
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            except FileNotFoundError:
                continue  # another process has removed it

    def _path(self, key: str) -> Path:
        path = (self._root / key).resolve()
        if not path.is_relative_to(self._root):
            raise ValueError(f"key {key!r} leads out of the store")
        return path


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents, and flush their entries to disk so that they survive a power failure."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
