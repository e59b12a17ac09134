"""The files of a gallery in a directory."""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pixverse_dagster.storage.incoming import locked
from pixverse_dagster.storage.naming import NOT_TO_BE_HAD
from pixverse_dagster.storage.pages import PageFile, check_path

_NOT_LINKED = frozenset({*NOT_TO_BE_HAD, errno.EMLINK, errno.EXDEV, errno.EPERM})
"""What a file system says that makes no hard link here."""
_NOT_SYNCED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF})
_UNFINISHED = ".new"


class LocalPages:
    """A gallery in a folder. `root` is that of the store whose pictures it may link to; None for a folder elsewhere.

    A file is written beside its name, flushed, and renamed.
    """

    def __init__(self, folder: Path, root: Path | None) -> None:
        self._folder = folder
        self._root = root
        self._written: set[Path] = set()

    def read(self, path: str) -> PageFile | None:
        """As `PageFiles.read`. The version is the digest of the bytes."""
        try:
            data = self._path(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return PageFile(data, hashlib.sha256(data).hexdigest())

    def write(self, path: str, data: bytes) -> None:
        """As `PageFiles.write`."""
        target = self._path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(f"{target.name}.{uuid.uuid4().hex}{_UNFINISHED}")
        try:
            with new.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new.replace(target)
        except BaseException:
            with suppress(OSError):
                new.unlink()
            raise
        self._written.add(target.parent)

    def write_if(self, path: str, data: bytes, version: str | None) -> bool:
        """As `PageFiles.write_if`, under a lock that all processes take. The names written before are flushed first."""
        self._sync()
        with locked(self._root or self._folder):
            there = self.read(path)
            if (there.version if there else None) != version:
                return False
            self.write(path, data)
        self._sync()
        return True

    def copy(self, key: str, path: str) -> bool:
        """As `PageFiles.copy`, by a hard link: it takes no room, and stays what it was."""
        if self._root is None:
            return False
        source, target = self._root / key, self._path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except FileExistsError:
            return True  # its name says what it holds
        except OSError as error:
            if error.errno not in _NOT_LINKED:
                raise
            return False
        self._written.add(target.parent)
        return True

    def delete(self, path: str) -> None:
        """As `PageFiles.delete`. Also what a killed writer left, by the name that `list` gives."""
        target = self._path(path) if not path.endswith(_UNFINISHED) else self._left(path)
        with suppress(FileNotFoundError, NotADirectoryError):
            target.unlink()

    def list(self) -> Iterator[tuple[str, float]]:
        """As `PageFiles.list`."""
        for folder in ("", "data", "thumbs"):
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._folder / folder) as found:
                for entry in found:
                    if entry.is_file(follow_symlinks=False):
                        yield f"{folder}/{entry.name}".lstrip("/"), entry.stat(follow_symlinks=False).st_mtime

    def uri(self, path: str) -> str:
        """The file's path."""
        return str(self._path(path))

    def _path(self, path: str) -> Path:
        return self._folder / check_path(path)

    def _left(self, path: str) -> Path:
        name, _, rest = path.removesuffix(_UNFINISHED).rpartition(".")
        check_path(name)
        return self._folder / f"{name}.{uuid.UUID(rest).hex}{_UNFINISHED}"

    def _sync(self) -> None:
        """Flush the entries of the folders that were written to, where their file system has that."""
        folders, self._written = self._written, set()
        for folder in folders:
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            except OSError as error:
                if error.errno not in _NOT_SYNCED:
                    raise
            finally:
                os.close(descriptor)
