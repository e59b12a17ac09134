"""What a store must do. Keys are relative paths with `/`; objects are written once and never changed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, Self

from pixverse_dagster.core.values import FrozenModel


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


@dataclass(frozen=True)
class FromVariable:
    """The environment variable that a setting is read from, where it is not `PIXVERSE_<STORE>_<SETTING>`."""

    name: str


class StoreSettings(FrozenModel):
    """How a kind of store is configured; `open_store` makes it."""

    NAME: ClassVar[str]
    CLIENT: ClassVar[str] = ""
    """The Dagster resource that makes the store's client, as `module:class`; none where the store needs none."""
    CLIENT_SETTINGS: ClassVar[type[FrozenModel] | None] = None
    """What that resource is made with."""

    @abstractmethod
    def open_store(self, client: Any = None) -> ClipStore:
        """The store, with its client where it has one. Cheap to call."""

    def below(self, folder: Path) -> Self:
        """The same settings for a project in this folder: where a setting is a path, a relative one is below it."""
        del folder
        return self
