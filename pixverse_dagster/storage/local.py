"""Clips in a local or mounted directory."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar, Self
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pydantic import Field

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.layout import gallery_prefix
from pixverse_dagster.storage.base import FromVariable, StoreSettings
from pixverse_dagster.storage.incoming import INCOMING, incoming_folder, locked, sweep
from pixverse_dagster.storage.local_pages import LocalPages
from pixverse_dagster.storage.naming import NOT_TO_BE_HAD, WAYS, Way, rename_locked
from pixverse_dagster.storage.syncing import sync

_NOT_SYNCED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF})
"""Some network file systems flush files, and know no flushing of a folder."""


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

    A file is flushed to disk, by `sync`, and then gets its final name in one step that fails if the name exists: by the
    first of `ways` that the file system has. So a file under its final name is always complete.
    """

    INCOMING = INCOMING
    _NEAR = "~incoming"
    """The same beside a clip, where its folder is a mount of its own. No row has a folder of this name."""

    def __init__(self, root: str | Path, ways: Sequence[Way] = WAYS, sync: Callable[[Path], object] = sync) -> None:
        self._root = Path(root).expanduser().resolve()
        self._ways = ways
        self._sync = sync

    def __repr__(self) -> str:
        return f"LocalStore({str(self._root)!r})"

    def put_new(self, key: str, path: Path, *, sha256: str, content_type: str) -> bool:
        """As `ClipStore.put_new`. Safe against a crash at any moment: the final name is given last."""
        del sha256, content_type
        target = self._path(key)
        self._make_folder(target.parent)
        path = self._incoming(path)
        try:
            self._sync(path)
            self._name(path, target)
        except FileExistsError:
            return False
        finally:
            _discard(path)
        self._sync_folder(target.parent)
        return True

    def _name(self, path: Path, target: Path) -> None:
        """Give a complete file its final name. Raises FileExistsError if the name is taken."""
        try:
            self._name_here(path, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            near = target.parent / self._NEAR
            try:
                near.mkdir(exist_ok=True)
            except FileExistsError as taken:  # which says nothing about the clip's own name
                raise NotADirectoryError(taken.errno, "is not a folder", str(near)) from taken
            sweep(near)
            copy = near / uuid.uuid4().hex
            try:
                shutil.copyfile(path, copy)
                self._sync(copy)
                self._name_here(copy, target)
            finally:
                _discard(copy)
                with suppress(OSError):  # another process has a file there
                    near.rmdir()

    def _name_here(self, path: Path, target: Path) -> None:
        last: OSError | None = None
        for way in self._ways:
            try:
                if way is rename_locked:
                    with locked(self._root):
                        way(path, target)
                else:
                    way(path, target)
            except OSError as error:
                if error.errno not in NOT_TO_BE_HAD:
                    raise
                last = error
            else:
                return
        if last is not None and last.errno == errno.EXDEV:
            raise last
        raise self._unsafe(last)

    def _unsafe(self, error: OSError | None) -> PixverseError:
        return PixverseError(
            f"{self._root} is on a file system that has neither hard links, nor a rename that replaces nothing, nor "
            f"locks ({error}): a clip could be overwritten there. Nothing was stored, and what was paid for stays to "
            "be collected. Mount it with locks, or give the pipeline another directory"
        )

    def replace(self, key: str, path: Path, *, was: str, sha256: str, content_type: str) -> bool:
        """As `ClipStore.replace`: under a lock that all processes take, and by renaming, which is atomic."""
        del sha256, content_type
        target = self._path(key)
        path = self._incoming(path)
        try:
            self._sync(path)
            with locked(self._root):
                if not target.exists() or hashlib.sha256(target.read_bytes()).hexdigest() != was:
                    return False
                path.replace(target)
        except OSError as error:
            if error.errno not in NOT_TO_BE_HAD:
                raise
            raise self._unsafe(error) from error
        finally:
            _discard(path)
        self._sync_folder(target.parent)
        return True

    def delete(self, key: str) -> bool:
        """As `ClipStore.delete`. The folder stays."""
        path = self._path(key)
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            self._sync_folder(path.parent)
        return False

    def open(self, key: str) -> BinaryIO:
        """As `ClipStore.open`."""
        return self._path(key).open("rb")

    def size_bytes(self, key: str) -> int:
        """As `ClipStore.size_bytes`."""
        return self._path(key).stat().st_size

    def keys(self, prefix: str) -> Iterator[str]:
        """As `ClipStore.keys`."""
        for folder, folders, names in os.walk(self._path(prefix.rstrip("/")), onerror=_raise_unless_gone):
            folders[:] = [name for name in folders if name != self._NEAR]
            for name in names:
                yield (Path(folder) / name).relative_to(self._root).as_posix()

    def uri(self, key: str) -> str:
        """The file's path."""
        return str(self._path(key))

    def page(self, key: str) -> None:
        """None: browsers do not open files from a web page."""

    def pages(self, pipeline: str) -> LocalPages:
        """As `ClipStore.pages`."""
        return LocalPages(self._path(gallery_prefix(pipeline)), self._root)

    def scratch(self) -> Path:
        """A folder on the same file system, so that a finished download is stored without being copied."""
        return incoming_folder(self._root)

    def told_apart(self, one: str, other: str) -> bool:
        """As `ClipStore.told_apart`: asked of the file system itself, in a folder that is removed again.

        True where nothing can be written: then nothing can be stored either, and that is said elsewhere.
        """
        if one == other:
            return False
        place = self._root / self.INCOMING
        while not place.is_dir():
            place = place.parent
        with suppress(OSError), tempfile.TemporaryDirectory(dir=place, prefix="pixverse-") as folder:
            (Path(folder) / one).mkdir()
            return not (Path(folder) / other).exists()
        return True

    def _make_folder(self, folder: Path) -> None:
        """Create a folder and its parents, and flush their entries to disk so that they survive a power failure."""
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        self._sync_folder(folder.parent)

    def _sync_folder(self, folder: Path) -> None:
        """Flush the entries of a folder to disk, where its file system has that."""
        try:
            self._sync(folder)
        except OSError as error:
            if error.errno not in _NOT_SYNCED:
                raise

    def _incoming(self, path: Path) -> Path:
        """The file itself, if it is on this file system, else a copy that is."""
        if path.is_relative_to(self._root):
            return path
        incoming = self.scratch() / uuid.uuid4().hex
        shutil.copyfile(path, incoming)
        return incoming

    def _path(self, key: str) -> Path:
        path = (self._root / key).resolve()
        if not path.is_relative_to(self._root):
            raise ValueError(f"key {key!r} leads out of the store")
        return path


def _discard(path: Path) -> None:
    """Remove a file that has its final name, or will get none. One that stays is swept later, or is in nobody's way."""
    with suppress(OSError):
        path.unlink()


def _raise_unless_gone(error: OSError) -> None:
    """A folder that cannot be listed is not an empty one."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
