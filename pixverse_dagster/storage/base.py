"""The interface of a store. Keys are relative paths with `/`; a clip's files are written once and never changed.

What is written in which order is in `stages.collect`, under which keys in `core.layout`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, Self, runtime_checkable

from pydantic.fields import FieldInfo

from pixverse_dagster.core.values import FrozenModel
from pixverse_dagster.storage.pages import PageFiles


class ClipStore(Protocol):
    """A place for clips. Writes are atomic. Nothing is overwritten but by `replace`, or deleted but by `delete`.

    What stands in a gallery is apart from that: see `pages`.
    """

    def put_new(self, key: str, path: Path, *, sha256: str, content_type: str) -> bool:
        """Store a local file under a new key, atomically. If the key exists, change nothing and return False.

        `sha256` is the file's digest in hex. The store may move the file away. Raises OSError, or the store's own
        error, if the file could not be stored.
        """
        ...

    def replace(self, key: str, path: Path, *, was: str, sha256: str, content_type: str) -> bool:
        """Replace an object atomically, if the digest of its bytes is still `was`; else change nothing, return False.

        So of several that have read the same bytes exactly one succeeds. Only what a ledger says of itself is written
        so (`stages.store`), never a file of a clip. Digests and errors are as for `put_new`.
        """
        ...

    def delete(self, key: str) -> bool:
        """Delete an object; one that is not there is deleted already. Returns whether the store keeps its old bytes.

        Only `recovery.forget` deletes, what a person has named. Raises OSError, or the store's own error; then the
        object may still be there.
        """
        ...

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading. Raises FileNotFoundError."""
        ...

    def size_bytes(self, key: str) -> int:
        """The size of an object. Raises FileNotFoundError."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key below a prefix that ends in `/`; those of one folder follow each other, in any order otherwise.

        Raises OSError, or the store's own error, if it cannot be listed: what is not shown is not there.
        """
        ...

    def told_apart(self, one: str, other: str) -> bool:
        """Whether these two names of folders are two folders here. Leaves nothing behind.

        A local directory may not tell upper and lower case apart, or leave out dots at the end of a name.
        """
        ...

    def uri(self, key: str) -> str:
        """The address of an object, for people and for `dagster/uri`."""
        ...

    def page(self, key: str) -> str | None:
        """The URL of a web page that shows the object to a person who has access, or None. It grants no access."""
        ...

    def pages(self, pipeline: str) -> PageFiles:
        """The files of the pipeline's gallery, `<pipeline>/gallery/`: the only ones that are replaced."""
        ...

    def scratch(self) -> Path | None:
        """A folder for downloads, if files from there are stored more cheaply than from elsewhere; else None."""
        ...


@runtime_checkable
class SignsLinks(Protocol):
    """A store that makes links by which others may read one of its objects for some time."""

    def sign(self, key: str, seconds: int) -> str:
        """The link by which everybody may read the object for so long. Asks nobody; the object need not be there.

        The link is a permission, and is never shown.
        """
        ...


@dataclass(frozen=True)
class FromVariable:
    """The environment variable of a setting, if it is not `PIXVERSE_<STORE>_<SETTING>`."""

    name: str


class StoreSettings(FrozenModel):
    """The configuration of a store. `open_store` makes the store from it."""

    NAME: ClassVar[str]
    CLIENT: ClassVar[str] = ""
    """The Dagster resource that makes the store's client, as `module:class`; empty if the store needs no client."""
    CLIENT_SETTINGS: ClassVar[type[FrozenModel] | None] = None
    """The configuration of that resource."""

    @classmethod
    def all_fields(cls) -> dict[str, FieldInfo]:
        """The settings of the store and of its client, by name: what a person sets."""
        client = cls.CLIENT_SETTINGS
        return {**cls.model_fields, **(client.model_fields if client else {})}

    @abstractmethod
    def open_store(self, client: Any = None) -> ClipStore:
        """Make the store, with the client of `CLIENT` if it needs one. Cheap to call."""

    @classmethod
    def read_uri(cls, uri: str) -> bytes:
        """The bytes at an address that this kind of store gives out. Raises FileNotFoundError."""
        raise ValueError(f"{uri} cannot be read by its address alone: {cls.NAME} stores are opened by their settings")

    def below(self, folder: Path) -> Self:
        """The same settings, with relative paths taken from this folder, the root of a project."""
        del folder
        return self
