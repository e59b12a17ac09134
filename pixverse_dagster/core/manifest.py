"""The manifest: where a stored clip came from."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.values import FrozenModel

MANIFEST_VERSION = 1


class InputImage(FrozenModel):
    """An input image as it was checked: where it came from (without query string) and what its bytes are."""

    source: str
    digest: str = Field(description="sha256:… of the bytes as read; uuid:… or url:… where the bytes cannot be read")
    address: str | None = Field(
        default=None,
        description="url:… of an http(s) URL without its signature, file:…, uuid:…; None for an image in the table",
    )
    newer: str | None = Field(
        default=None,
        description="The digest of other bytes that were seen under the address since: such an image is not sent.",
    )
    format: str | None = None
    width: int | None = None
    height: int | None = None
    size_bytes: int | None = None


class ClipFacts(FrozenModel):
    """A video as its file has it: sides in pixels, times in seconds."""

    container: Literal["mp4", "webm", "mov"]
    codec: str
    width: int
    height: int
    fps: float
    duration_seconds: float
    audio: bool


class ClipOutput(ClipFacts):
    """One stored video file, described by the file itself."""

    n: int
    key: str
    poster_key: str
    sha256: str
    size_bytes: int
    seed: int | None = None


class Cost(FrozenModel):
    """What a task cost. `source` says whose figure it is; `usd` is None where nobody knows."""

    usd: float | None
    source: Literal["provider", "estimate", "unknown"]


class Attempt(FrozenModel):
    """One paid attempt at a row's request and how it ended. Times are UTC, ISO 8601."""

    attempt: int
    state: TaskState
    kind: FailureKind | None = None
    reason: str | None = None
    task_id: str | None = None
    client_reference: str
    claimed_at: str
    submitted_at: str | None = None
    cost: Cost | None = None
    settled: str | None = Field(default=None, description="What a person decided about it, and when.")


class ClipManifest(FrozenModel):
    """Where a stored clip came from: written last, so that its presence says that the clip is complete."""

    version: Literal[1] = MANIFEST_VERSION
    name: str
    row: str
    take: int
    labels: dict[str, str]
    model: str
    provider: str
    request: dict[str, Any]
    request_digest: str
    images: tuple[InputImage, ...] = ()
    task_id: str
    client_reference: str
    attempts: tuple[Attempt, ...]
    submitted_at: str
    finished_at: str
    stored_at: str
    cost: Cost
    outputs_asked: int
    outputs: tuple[ClipOutput, ...]
    note: str = ""
    dagster_run_id: str
    dagster_asset_key: tuple[str, ...]
    dagster_partition: str
    code_version: str
