"""Manifests as another ledger left them in a store, without a provider and without a clip's bytes."""

from __future__ import annotations

import hashlib
import json
import tempfile
import uuid
from pathlib import Path
from typing import Any

from pixverse_dagster.core.layout import ClipFolder, task_folder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import ClipManifest
from pixverse_dagster.core.provenance import Origin, build_manifest
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Task
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster_tests.harness.factories import NOW, make_task

GOLDEN = Path(__file__).parents[1] / "data" / "manifest.json"
LEDGER = "another-ledger"


def task_of(row: Row, **values: Any) -> Task:
    """A task of this row that another ledger finished."""
    number = values.get("claim", 1)
    fields: dict[str, Any] = {
        "row": row.id,
        "digest": row.digest,
        "address_digest": row.address_digest,
        "take": row.take,
        "request": row.request,
        "images": row.images,
        "labels": row.labels,
        "task_id": f"task-{row.id}-{row.take}-{number}",
        "client_reference": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{row.id}/{row.digest}/{number}")),
        "account": f"{row.request.provider()}/simulator",
        "world": "simulator",
        "state": TaskState.SUCCEEDED,
        "submitted_at": NOW + 1,
        "finished_at": NOW + 2,
        "cost_usd": 0.1,
    }
    return make_task(**fields | values)


def manifest_for(row: Row, *earlier: Task, ledger: str = LEDGER, **values: Any) -> ClipManifest:
    """The manifest of a task of this row; `earlier` are its earlier claims."""
    task = task_of(row, **values)
    outputs = ClipManifest.model_validate_json(GOLDEN.read_bytes()).outputs[:1]
    folder = task_folder(task)
    here = [one.model_copy(update={"key": folder.output(1, "mp4"), "poster_key": folder.poster(1)}) for one in outputs]
    return build_manifest(task, [*earlier, task], here, Origin(ledger, "run-of-another", "1.0", NOW + 3))


def put_manifest(store: ClipStore, manifest: ClipManifest, folder: ClipFolder | None = None) -> str:
    """Put a manifest where it belongs, or into another folder; returns its key."""
    name = ClipFolder(manifest.name, manifest.row, manifest.request_digest[:12], manifest.take, manifest.attempt)
    key = (folder or name).manifest
    assert put_document(store, key, manifest.model_dump_json().encode())
    return key


def put_document(store: ClipStore, key: str, document: Any) -> bool:
    """Put bytes, or what becomes JSON, under a new key."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "document"
        path.write_bytes(data)
        return store.put_new(key, path, sha256=hashlib.sha256(data).hexdigest(), content_type="application/json")
