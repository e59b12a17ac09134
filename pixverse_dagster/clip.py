"""The vocabulary: task states, what the providers' answers mean, and the manifest that says where a clip came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, BinaryIO, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

MANIFEST_VERSION = 1


class TaskState(StrEnum):
    """Where a task is. `claimed → submitted → succeeded → stored`; the others are ends."""

    CLAIMED = "claimed"
    SUBMITTED = "submitted"
    SUCCEEDED = "succeeded"
    STORED = "stored"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"
    ABANDONED = "abandoned"


PENDING = (TaskState.CLAIMED, TaskState.SUBMITTED, TaskState.SUCCEEDED)


class FailureKind(StrEnum):
    """Why an accepted task produced no clip."""

    MODERATED = "moderated"
    PROVIDER_ERROR = "provider_error"
    EXPIRED = "expired"
    LOST = "lost"


@dataclass(frozen=True)
class Accepted:
    """The provider took the task. `wait_seconds` is its own estimate, where it gives one."""

    task_id: str
    wait_seconds: float | None = None


@dataclass(frozen=True)
class Missing:
    """The provider does not know the task. True for a moment after a submit; later it may be lost."""


@dataclass(frozen=True)
class Finished:
    """The clips are ready. `cost_usd` is the provider's own figure, None where it gives none (never 0 for unknown)."""

    urls: tuple[str, ...]
    cost_usd: float | None = None
    seeds: tuple[int | None, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Ended:
    """The provider ended the task without a clip."""

    kind: FailureKind
    reason: str


@dataclass(frozen=True)
class Running:
    """The provider is at it, or says something nobody knows yet (`note`): keep polling.

    `so_far` is what to make of the task if nothing more ever comes: some outputs ended, the rest are silent.
    """

    note: str = ""
    so_far: Finished | Ended | None = None


PollFact = Running | Missing | Finished | Ended


class Record(BaseModel):
    """A frozen document that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class InputImage(Record):
    """An input image as it was checked: where it came from (without query string) and what its bytes are."""

    source: str
    digest: str = Field(description="sha256:… of the bytes; uuid:… or url:… where the bytes cannot be read")
    format: str | None = None
    width: int | None = None
    height: int | None = None
    size_bytes: int | None = None


class ClipFacts(Record):
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


class Cost(Record):
    """What a task cost. `source` says whose figure it is; `usd` is None where nobody knows."""

    usd: float | None
    source: Literal["provider", "estimate", "unknown"]


class Attempt(Record):
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


class ClipManifest(Record):
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


class ClipReader(Protocol):
    """What a clip needs of a store to be read."""

    def uri(self, key: str) -> str:
        """Where the object is, for a person."""
        ...

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading; raises FileNotFoundError."""
        ...


@dataclass(frozen=True)
class Clip:
    """A stored clip, as a downstream asset receives it: its manifest, and its bytes on demand."""

    manifest: ClipManifest
    store: ClipReader

    def open(self, n: int = 1) -> BinaryIO:
        """Open output `n` (1 to 4) for reading. Raises FileNotFoundError if the task has no such output."""
        return self.store.open(self._output(n).key)

    def open_poster(self, n: int = 1) -> BinaryIO:
        """Open the JPEG poster frame of output `n`. Raises FileNotFoundError if there is none."""
        return self.store.open(self._output(n).poster_key)

    def uri(self, n: int = 1) -> str:
        """Where output `n` is: a path or an `s3://` address."""
        return self.store.uri(self._output(n).key)

    @property
    def labels(self) -> Mapping[str, str]:
        """The row's label columns."""
        return self.manifest.labels

    def _output(self, n: int) -> ClipOutput:
        for output in self.manifest.outputs:
            if output.n == n:
                return output
        raise FileNotFoundError(f"row {self.manifest.row!r} has no output {n}: it has {len(self.manifest.outputs)}")
