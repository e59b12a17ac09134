"""Clips in one SQLite file: a kind of store that nobody has yet, in one file, as somebody would add it."""

from __future__ import annotations

import hashlib
import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

from pydantic import Field

from pixverse_dagster.storage.base import StoreSettings


class DatabaseSettings(StoreSettings):
    """Clips in a SQLite file."""

    NAME: ClassVar[str] = "database"

    file: str = Field(description="The SQLite file; made if it is not there.")

    def open_store(self, client: Any = None) -> DatabaseStore:
        """The file as a store."""
        del client
        return DatabaseStore(self.file)

    def below(self, folder: Path) -> Self:
        """A relative file is below the project's folder."""
        return self.model_copy(update={"file": str(folder / self.file)})


class DatabaseStore:
    """A table of objects. Writing is one INSERT, which fails where the key is taken."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._ask("CREATE TABLE IF NOT EXISTS objects (key TEXT PRIMARY KEY, data BLOB NOT NULL)")

    def put_new(self, key: str, path: Path, *, sha256: str, content_type: str) -> bool:
        """As `ClipStore.put_new`."""
        del sha256, content_type
        try:
            self._ask("INSERT INTO objects VALUES (?, ?)", key, path.read_bytes())
        except sqlite3.IntegrityError:
            return False
        return True

    def replace(self, key: str, path: Path, *, was: str, sha256: str, content_type: str) -> bool:
        """As `ClipStore.replace`."""
        del sha256, content_type
        found = self._ask("SELECT data FROM objects WHERE key = ?", key)
        if not found or hashlib.sha256(found[0][0]).hexdigest() != was:
            return False
        update = "UPDATE objects SET data = ? WHERE key = ? AND data = ? RETURNING key"
        return bool(self._ask(update, path.read_bytes(), key, found[0][0]))

    def delete(self, key: str) -> bool:
        """As `ClipStore.delete`."""
        self._ask("DELETE FROM objects WHERE key = ?", key)
        return False

    def open(self, key: str) -> BinaryIO:
        """As `ClipStore.open`."""
        found = self._ask("SELECT data FROM objects WHERE key = ?", key)
        if not found:
            raise FileNotFoundError(self.uri(key))
        return io.BytesIO(found[0][0])

    def size_bytes(self, key: str) -> int:
        """As `ClipStore.size_bytes`."""
        with self.open(key) as data:
            return len(data.read())

    def keys(self, prefix: str) -> Iterator[str]:
        """As `ClipStore.keys`."""
        found = self._ask("SELECT key FROM objects WHERE substr(key, 1, ?) = ?", len(prefix), prefix)
        return (row[0] for row in found)

    def told_apart(self, one: str, other: str) -> bool:
        """As `ClipStore.told_apart`."""
        return one != other

    def uri(self, key: str) -> str:
        """The file and the key."""
        return f"{self._file}#{key}"

    def page(self, key: str) -> None:
        """None."""

    def scratch(self) -> None:
        """None."""

    def _ask(self, statement: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self._file, timeout=60)) as connection, connection:
            return connection.execute(statement, values).fetchall()
