"""Clips in one SQLite file: a kind of store that nobody has yet, in one file, as somebody would add it."""

from __future__ import annotations

import hashlib
import io
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

from pydantic import Field

from pixverse_dagster.core.layout import gallery_prefix
from pixverse_dagster.storage.base import StoreSettings
from pixverse_dagster.storage.pages import PageFile, check_path


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
        self.ask("CREATE TABLE IF NOT EXISTS objects (key TEXT PRIMARY KEY, data BLOB NOT NULL)")

    def put_new(self, key: str, path: Path, *, sha256: str, content_type: str) -> bool:
        """As `ClipStore.put_new`."""
        del sha256, content_type
        try:
            self.ask("INSERT INTO objects VALUES (?, ?)", key, path.read_bytes())
        except sqlite3.IntegrityError:
            return False
        return True

    def replace(self, key: str, path: Path, *, was: str, sha256: str, content_type: str) -> bool:
        """As `ClipStore.replace`."""
        del sha256, content_type
        found = self.ask("SELECT data FROM objects WHERE key = ?", key)
        if not found or hashlib.sha256(found[0][0]).hexdigest() != was:
            return False
        update = "UPDATE objects SET data = ? WHERE key = ? AND data = ? RETURNING key"
        return bool(self.ask(update, path.read_bytes(), key, found[0][0]))

    def delete(self, key: str) -> bool:
        """As `ClipStore.delete`."""
        self.ask("DELETE FROM objects WHERE key = ?", key)
        return False

    def open(self, key: str) -> BinaryIO:
        """As `ClipStore.open`."""
        found = self.ask("SELECT data FROM objects WHERE key = ?", key)
        if not found:
            raise FileNotFoundError(self.uri(key))
        return io.BytesIO(found[0][0])

    def size_bytes(self, key: str) -> int:
        """As `ClipStore.size_bytes`."""
        with self.open(key) as data:
            return len(data.read())

    def keys(self, prefix: str) -> Iterator[str]:
        """As `ClipStore.keys`."""
        found = self.ask("SELECT key FROM objects WHERE substr(key, 1, ?) = ?", len(prefix), prefix)
        return (row[0] for row in found)

    def told_apart(self, one: str, other: str) -> bool:
        """As `ClipStore.told_apart`."""
        return one != other

    def uri(self, key: str) -> str:
        """The file and the key."""
        return f"{self._file}#{key}"

    def pages(self, pipeline: str) -> DatabasePages:
        """As `ClipStore.pages`."""
        return DatabasePages(self, gallery_prefix(pipeline))

    def page(self, key: str) -> None:
        """None."""

    def scratch(self) -> None:
        """None."""

    def ask(self, statement: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self._file, timeout=60)) as connection, connection:
            return connection.execute(statement, values).fetchall()


class DatabasePages:
    """A gallery in the same table, below a prefix."""

    def __init__(self, store: DatabaseStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    def read(self, path: str) -> PageFile | None:
        """As `PageFiles.read`."""
        found = self._store.ask("SELECT data FROM objects WHERE key = ?", self._prefix + check_path(path))
        return PageFile(found[0][0], hashlib.sha256(found[0][0]).hexdigest()) if found else None

    def write(self, path: str, data: bytes) -> None:
        """As `PageFiles.write`."""
        self._store.ask("INSERT OR REPLACE INTO objects VALUES (?, ?)", self._prefix + check_path(path), data)

    def write_if(self, path: str, data: bytes, version: str | None) -> bool:
        """As `PageFiles.write_if`."""
        key, there = self._prefix + check_path(path), self.read(path)
        if (there.version if there else None) != version:
            return False
        if there is None:
            return bool(self._store.ask("INSERT OR IGNORE INTO objects VALUES (?, ?) RETURNING key", key, data))
        update = "UPDATE objects SET data = ? WHERE key = ? AND data = ? RETURNING key"
        return bool(self._store.ask(update, data, key, there.data))

    def copy(self, key: str, path: str) -> bool:
        """Never: pictures are read and written."""
        del key, path
        return False

    def delete(self, path: str) -> None:
        """As `PageFiles.delete`."""
        self._store.delete(self._prefix + path)

    def list(self) -> Iterator[tuple[str, float]]:
        """As `PageFiles.list`; nothing is old."""
        yield from ((key.removeprefix(self._prefix), time.time()) for key in self._store.keys(self._prefix))

    def uri(self, path: str) -> str:
        """The file and the key."""
        return self._store.uri(self._prefix + path)
