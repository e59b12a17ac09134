"""The files of a gallery: the only ones of a store that are replaced. Paths are relative to the gallery's folder.

A page can be read at any time, so that each file is replaced in one step, and `index.js` last.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

_PATH = re.compile(r"(?:(?:data|thumbs)/)?[A-Za-z0-9][A-Za-z0-9-]{0,80}\.(?P<ending>html|js|css|jpg)")
_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "jpg": "image/jpeg",
}
_REPLACED = frozenset({"index.html", "data/index.js"})
"""The files that are written again under the same name; every other one is named by what it holds."""


@dataclass(frozen=True)
class PageFile:
    """A file as it was read, and its version: what `write_if` compares."""

    data: bytes
    version: str


class PageFiles(Protocol):
    """The files of one gallery. A path that leads out of its folder is refused with ValueError.

    Every method raises OSError, or the store's own error, if the file could not be read or written.
    """

    def read(self, path: str) -> PageFile | None:
        """A file with its version; None if it is not there."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a file, or replace it, in one step: a reader sees the old bytes or the new ones."""
        ...

    def write_if(self, path: str, data: bytes, version: str | None) -> bool:
        """As `write`, if the file still has this version, or, with None, is not there; else change nothing.

        Of several that have read the same version exactly one succeeds, where the store has conditions. What was
        written before is then in place.
        """
        ...

    def copy(self, key: str, path: str) -> bool:
        """Copy an object of the store that the gallery stands in, without reading it. False if that cannot be done.

        Raises FileNotFoundError if there is no such object.
        """
        ...

    def delete(self, path: str) -> None:
        """Delete a file; one that is not there is deleted already."""
        ...

    def list(self) -> Iterator[tuple[str, float]]:
        """Every file, also what a killed writer left, and when it was written (seconds since the epoch)."""
        ...

    def uri(self, path: str) -> str:
        """The address of a file, for people."""
        ...


def content_type(path: str) -> str:
    """What a browser is told that a file is. Raises ValueError for a path that no gallery has."""
    return _TYPES[_match(path)["ending"]]


def cache_control(path: str) -> str:
    """For how long a browser keeps a file. Raises ValueError for a path that no gallery has."""
    _match(path)
    return "no-cache" if path in _REPLACED else "public, max-age=31536000, immutable"


def check_path(path: str) -> str:
    """The path. Raises ValueError if no gallery has such a file."""
    return _match(path).group()


def is_path(path: str) -> bool:
    """Whether a gallery may have such a file."""
    return _PATH.fullmatch(path) is not None


def _match(path: str) -> re.Match[str]:
    found = _PATH.fullmatch(path)
    if found is None:
        raise ValueError(f"{path!r} is no file of a gallery")
    return found


@dataclass
class MemoryPages:
    """The files of a gallery in memory, for who makes something else of them. It has no pictures but those put."""

    files: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def read(self, path: str) -> PageFile | None:
        """As `PageFiles.read`."""
        data = self.files.get(check_path(path))
        return None if data is None else PageFile(data, _version(data))

    def write(self, path: str, data: bytes) -> None:
        """As `PageFiles.write`."""
        self.files[check_path(path)] = data

    def write_if(self, path: str, data: bytes, version: str | None) -> bool:
        """As `PageFiles.write_if`."""
        there = self.read(path)
        if (there.version if there else None) != version:
            return False
        self.write(path, data)
        return True

    def copy(self, key: str, path: str) -> bool:
        """Pictures are left out, and count as there."""
        del key
        check_path(path)
        return True

    def delete(self, path: str) -> None:
        """As `PageFiles.delete`."""
        self.files.pop(path, None)

    def list(self) -> Iterator[tuple[str, float]]:
        """As `PageFiles.list`."""
        yield from ((path, 0.0) for path in sorted(self.files))

    def uri(self, path: str) -> str:
        """The path."""
        return path


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
