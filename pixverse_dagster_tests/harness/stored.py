"""What a store has, compared with what the provider made."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pixverse_dagster.core.manifest import ClipManifest
from pixverse_dagster.core.task import Task
from pixverse_dagster.media.probe import probe
from pixverse_dagster.stages.collect import Collected, collect_tasks
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster_tests.harness.servers import Simulator


def collect_all(session: Session, store: ClipStore, tasks: Sequence[Task]) -> dict[str, Collected]:
    return {one.task.row: one for one in collect_tasks(session, store, tasks)}


def manifest_of(found: Collected) -> ClipManifest:
    assert found.manifest is not None, found.problem
    return found.manifest


def read(store: ClipStore, key: str) -> bytes:
    with store.open(key) as file:
        return file.read()


def produced(server: Simulator, task_id: str) -> list[str]:
    """The digests of what the provider made, by its own books."""
    (task,) = (one for one in server.tasks() if one["task_id"] == task_id)
    return [output["sha256"] for output in task["outputs"]]


def check_manifest(server: Simulator, store: ClipStore, manifest: ClipManifest, folder: Path) -> None:
    """The manifest describes the stored files, and these are what the provider made."""
    assert [output.sha256 for output in manifest.outputs] == produced(server, manifest.task_id)
    for output in manifest.outputs:
        data, poster = read(store, output.key), read(store, output.poster_key)
        assert hashlib.sha256(data).hexdigest() == output.sha256
        assert len(data) == output.size_bytes
        assert poster.startswith(b"\xff\xd8")
        copy = folder / "copy"
        copy.write_bytes(data)
        facts, _ = probe(copy)
        for name in ("container", "codec", "width", "height", "fps", "duration_seconds", "audio"):
            assert getattr(output, name) == getattr(facts, name), name
