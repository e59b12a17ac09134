"""Stored clips without a provider: the ledger's own moves, and a store with the files and manifests that they name.

For views of many clips, where generating them would be most of the time. The bytes of a clip are as given; what its
manifest says of them is made up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.manifest import ClipOutput
from pixverse_dagster.core.outcomes import Accepted, Succeeded
from pixverse_dagster.core.provenance import Origin, build_manifest
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.files import clip_files
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.stages.landing import CONTENT_TYPES
from pixverse_dagster.stages.store import enter_store
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.documents import scratch_folder
from pixverse_dagster_tests.harness.factories import NAME, NOW, RUN, moved, put_row

JPEG = b"\xff\xd8\xff\xe0 a poster of "
"""What a made-up poster begins with."""


@dataclass(frozen=True)
class ClipBytes:
    """The files of a clip, and what is said of them; by default made up from the name of the row."""

    video: bytes = b""
    poster: bytes = b""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


def store_row(  # noqa: PLR0913 - what a clip is made of
    ledger: Ledger,
    store: ClipStore,
    row: Row,
    clips: Sequence[ClipBytes] = (ClipBytes(),),
    *,
    now: float = NOW,
    pipeline: str = NAME,
    cost_usd: float | None = 0.1,
    recorded: bool = False,
) -> Task:
    """A stored task of this row: claimed, accepted, succeeded and stored by the ledger, its files in the store.

    The row is put into the table first, unless it was `recorded` there.
    """
    if not recorded:
        put_row(ledger, row, pipeline)
    task, _ = ledger.claim(pipeline, row, ClaimTerms(RUN, now, 60, account="account", world="simulator"))
    task = ledger.accept(task, Accepted(f"task-{task.id}"), now + 1, now + 2).task
    task = moved(
        ledger.succeed(task, Succeeded(tuple("http://127.0.0.1/1" for _ in clips), cost_usd=cost_usd), now + 3)
    )
    return moved(ledger.store(task, now + 4, put_clips(ledger, store, task, clips, now + 4)))


def put_clips(ledger: Ledger, store: ClipStore, task: Task, clips: Sequence[ClipBytes], now: float) -> str:
    """Put the files of a succeeded task, its manifest last; the digest of the manifest."""
    enter_store(store, ledger.id, task.pipeline)
    with scratch_folder(store) as scratch:
        outputs = [_put_clip(store, task, n, clip, scratch) for n, clip in enumerate(clips, start=1)]
        origin = Origin(ledger.id, RUN, "1.0", now)
        manifest = build_manifest(task, ledger.tasks.claims(task), outputs, origin)
        ledger.files.record(task, clip_files(manifest), now)
        text = manifest.model_dump_json(indent=2).encode()
        return _put(store, task_folder(task).manifest, text, scratch, "application/json")


def _put_clip(store: ClipStore, task: Task, n: int, clip: ClipBytes, scratch: Path) -> ClipOutput:
    folder = task_folder(task)
    video = clip.video or f"clip {n} of {task.row}, take {task.take}".encode()
    poster = clip.poster or JPEG + f"{task.row}, {task.take}, {n}".encode()
    facts: dict[str, Any] = {
        "container": task.request.container(), "codec": "h264", "width": 640, "height": 360, "fps": 24.0,
        "duration_seconds": 5.0, "audio": False, **clip.facts,
    }  # fmt: skip
    key = folder.output(n, facts["container"])
    return ClipOutput(
        n=n,
        key=key,
        poster_key=folder.poster(n),
        sha256=_put(store, key, video, scratch, CONTENT_TYPES[facts["container"]]),
        size_bytes=len(video),
        poster_sha256=_put(store, folder.poster(n), poster, scratch, "image/jpeg"),
        poster_size_bytes=len(poster),
        seed=n,
        **facts,
    )


def _put(store: ClipStore, key: str, data: bytes, scratch: Path, content_type: str) -> str:
    path = scratch / "file"
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    assert store.put_new(key, path, sha256=sha256, content_type=content_type), key
    return sha256
