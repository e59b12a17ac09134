"""Giving a file its final name in one step that replaces nothing: what file systems have for it, the best first."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

Way = Callable[[Path, Path], None]
"""Gives a file a second name or another one. Raises FileExistsError if that is taken, and then changes nothing."""
NOT_TO_BE_HAD = frozenset({
    errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.ENOLCK,
})  # fmt: skip
"""What an operating system says of a way that this file system does not have."""
_HERE = -100
"""AT_FDCWD: relative paths are relative to the working folder."""
_NO_REPLACE = 1
_EXCLUSIVE = 4


def link(path: Path, target: Path) -> None:
    """A hard link: what most file systems have."""
    os.link(path, target)


def rename_new(path: Path, target: Path) -> None:
    """A rename that fails if the name is taken: `renameat2` of Linux, `renamex_np` of macOS."""
    library = ctypes.CDLL(None, use_errno=True)
    old, new = os.fsencode(path), os.fsencode(target)
    if hasattr(library, "renameat2"):
        failed = library.renameat2(_HERE, old, _HERE, new, _NO_REPLACE)
    elif sys.platform == "darwin" and hasattr(library, "renamex_np"):
        failed = library.renamex_np(old, new, _EXCLUSIVE)
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path), None, str(target))


def rename_locked(path: Path, target: Path) -> None:
    """A rename under a lock that the caller holds, and that every other process takes as well."""
    if target.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    path.rename(target)


WAYS: Sequence[Way] = (link, rename_new, rename_locked)
"""All of them. Where one is not to be had the next one is taken."""
