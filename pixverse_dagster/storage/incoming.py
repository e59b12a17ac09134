"""The folders of a local store in which files wait for their final names, and the lock that all its processes take.

What stands in there is nobody's after a day, and is swept. Whatever cannot be swept stays, and is in nobody's way.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

INCOMING = ".incoming"
_NAMES = (INCOMING, f"{INCOMING}-2", f"{INCOMING}-3")
"""Where something else stands in the place of the first folder, or nothing can be written there, the next one is it."""
_LOCKS = ("replace.lock", "replace.lock-2", "replace.lock-3")
_LEFTOVER_SECONDS = 86_400


def incoming_folder(root: Path) -> Path:
    """The folder for files on their way, made and swept. Raises OSError if there is none that can be written to."""
    first: OSError | None = None
    for name in _NAMES:
        folder = root / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            first = first or error
            continue
        if os.access(folder, os.W_OK | os.X_OK):
            sweep(folder)
            return folder
    raise first or PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(root / INCOMING))


def sweep(folder: Path) -> None:
    """Remove downloads that a killed process left unfinished; no download takes a day.

    One that cannot be looked at or removed stays: it is of another owner, or read-only, or still in use.
    """
    try:
        with os.scandir(folder) as found:
            left = [entry for entry in found if entry.name not in _LOCKS]
    except OSError:
        return
    for entry in left:
        try:
            if time.time() - entry.stat(follow_symlinks=False).st_mtime < _LEFTOVER_SECONDS:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink()
        except OSError:
            continue


@contextmanager
def locked(root: Path) -> Generator[None]:
    """The lock that all processes take. Let go when the file is closed, also by the end of the process."""
    descriptor = _open_lock(root)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open_lock(root: Path) -> int:
    """The first of the places that can be a lock at all: which one it is does not depend on who asks.

    A place that only this process may not use is an error, and no reason to take another: two locks are none.
    """
    last: OSError | None = None
    for name in _NAMES:
        folder = root / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            last = error
            continue
        for lock in _LOCKS:
            try:
                return _open_file(folder / lock)
            except OSError as error:
                if error.errno not in {errno.EISDIR, errno.EPERM, errno.ELOOP, errno.ENXIO}:
                    raise
                last = error
    raise last or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(root / INCOMING))


def _open_file(path: Path) -> int:
    flags = os.O_CLOEXEC | os.O_NONBLOCK  # a pipe in its place is not waited for
    try:
        descriptor = os.open(path, flags | os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        descriptor = os.open(path, flags | os.O_RDONLY)  # a file that may only be read can be locked as well
    except FileNotFoundError as error:
        raise OSError(errno.ELOOP, "a link to nowhere", str(path)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return descriptor
