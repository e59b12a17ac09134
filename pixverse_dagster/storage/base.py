"""What a store must do. Keys are relative paths with `/`; objects are written once and never changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol


class ClipStore(Protocol):
    """A place for clips. Writing is atomic and creates only; nothing is overwritten or deleted."""

    def put_new(self, key: str, path: Path, *, sha256: str, content_type: str) -> bool:
        """Store a local file under a key, all of it or nothing. False if the key is taken; what is there stays.

        The file may be moved away. Raises OSError (or the store's own error) if it could not be stored.
        """
        ...

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading. Raises FileNotFoundError."""
        ...

    def size_bytes(self, key: str) -> int:
        """An object's size. Raises FileNotFoundError."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key below a prefix that ends in `/`, in no order."""
        ...

    def uri(self, key: str) -> str:
        """Where the object is, for a person and for `dagster/uri`."""
        ...

    def page(self, key: str) -> str | None:
        """The address of a web page that shows the object to whoever may see it, if there is one. No permission."""
        ...

    def scratch(self) -> Path | None:
        """A folder for files on their way into the store, where one makes storing cheaper."""
        ...
