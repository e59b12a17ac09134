"""The files of clips: which bytes a task has put, or is about to put, under which key of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from pixverse_dagster.core.manifest import ClipManifest
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import Digest
from pixverse_dagster.ledger.engine import reading
from pixverse_dagster.ledger.schema import files


@dataclass(frozen=True)
class ClipFile:
    """A file of a clip: the number of its output, its key, and the digest of what was streamed."""

    n: int
    key: str
    digest: Digest


def clip_files(manifest: ClipManifest) -> list[ClipFile]:
    """The files that a manifest describes: what goes on record for a task that was found by its manifest."""
    return [
        ClipFile(output.n, key, digest)
        for output in manifest.outputs
        for key, digest in (
            (output.key, Digest(output.sha256, output.size_bytes)),
            (output.poster_key, Digest(output.poster_sha256, output.poster_size_bytes)),
        )
        if digest.sha256
    ]


_FIND = (
    sa.select(files)
    .where(files.c.task == sa.bindparam("of_task"))
    .order_by(files.c.n, files.c.key, files.c.recorded_at, files.c.sha256)
)
_ADD = sa.text(
    f"INSERT INTO {files.name} (task, key, n, sha256, size_bytes, recorded_at) "  # noqa: S608 - our constant
    "VALUES (:task, :key, :n, :sha256, :size_bytes, :recorded_at) ON CONFLICT (task, key, sha256) DO NOTHING"
)


class Files:
    """Reads and writes which files are a task's. Every method is one transaction; safe to use from many threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def record(self, task: Task, new: Sequence[ClipFile], now: float) -> list[ClipFile]:
        """Write down files before they are put, and return all that are on record for the task. Repeatable.

        What stands under a key is the task's own if, and only if, these bytes are on record for it. A record stays, so
        that of two processes that bring other bytes of the same output, each knows what the other may have put.
        """
        values = [
            {"task": task.id, "key": file.key, "n": file.n, "recorded_at": now}
            | {"sha256": file.digest.sha256, "size_bytes": file.digest.size_bytes}
            for file in new
        ]
        with self._engine.begin() as connection:
            connection.execute(_ADD, values)
            return [_read(record) for record in connection.execute(_FIND, {"of_task": task.id})]

    def find(self, task: Task) -> list[ClipFile]:
        """The files on record for a task, by number."""
        with reading(self._engine) as connection:
            return [_read(record) for record in connection.execute(_FIND, {"of_task": task.id})]


def _read(record: Any) -> ClipFile:
    return ClipFile(record.n, record.key, Digest(record.sha256, record.size_bytes))
