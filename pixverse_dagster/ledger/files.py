"""The files of clips as they landed in the store, and what their checks found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import Digest
from pixverse_dagster.ledger.engine import reading
from pixverse_dagster.ledger.schema import outputs


@dataclass(frozen=True)
class LandedFile:
    """A file of a clip in the store: the number of its output, its key, and the digest of what was streamed there."""

    n: int
    key: str
    digest: Digest


_FIND = sa.select(outputs).where(outputs.c.task == sa.bindparam("of_task")).order_by(outputs.c.n, outputs.c.key)
_ADD = sa.text(
    f"INSERT INTO {outputs.name} (task, key, n, sha256, size_bytes, stored_at) "  # noqa: S608 - our constant
    "VALUES (:task, :key, :n, :sha256, :size_bytes, :stored_at) ON CONFLICT (task, key) DO NOTHING"
)


class Files:
    """Reads and writes what landed. Every method is one transaction; safe to use from many threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def landed(self, task: Task, files: Sequence[LandedFile], now: float) -> list[LandedFile]:
        """Remember files of the task's clips. Repeatable: the first record of a key stays, and is what is returned."""
        values = [
            {"task": task.id, "key": file.key, "n": file.n, "stored_at": now}
            | {"sha256": file.digest.sha256, "size_bytes": file.digest.size_bytes}
            for file in files
        ]
        with self._engine.begin() as connection:
            connection.execute(_ADD, values)
            found = {file.key: file for file in map(_read, connection.execute(_FIND, {"of_task": task.id}))}
        return [found[file.key] for file in files]

    def find(self, task: Task) -> list[LandedFile]:
        """The files of a task's clips that landed, by number."""
        with reading(self._engine) as connection:
            return [_read(record) for record in connection.execute(_FIND, {"of_task": task.id})]


def _read(record: Any) -> LandedFile:
    return LandedFile(record.n, record.key, Digest(record.sha256, record.size_bytes))
