"""The manifest: where a stored clip came from.

Version 2 is the first that is final. What is added later has a default and keeps the version, for readers ignore what
they do not know; a change that a reader of version 2 would misread raises it.
"""

from __future__ import annotations

import json
from typing import Any, Literal, Self, cast

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from pixverse_dagster.core.errors import StoreConflict
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.values import StoredModel, import_name

MANIFEST_VERSION = 2
EARLIER_FORM = (
    "from before the first release: nothing is read from it, and nothing is paid against it. Keep it as a record, and "
    "give the pipeline a store of its own: another folder, bucket or prefix"
)
"""What is said of a manifest or a store of an earlier form."""
_READ_URI = "pixverse_dagster.storage.reading:read_uri"
World = Literal["live", "simulator"]
"""Whether a provider account is a real one. Nothing made in one world counts in the other."""
SentAs = Literal["url", "inline", "uuid", "staged"]
"""How an input reached the provider: by its own URL, as bytes in the request, as an id there, or from the store."""


class CheckedImage(StoredModel):
    """An image as it was checked: where it came from (without query string) and what its bytes are."""

    source: str
    digest: str = Field(description="sha256:… of the bytes as read; uuid:… or url:… where the bytes cannot be read")
    address: str | None = Field(
        default=None,
        description="url:… of an http(s) URL without its signature, file:…, uuid:…; None for an image in the table",
    )
    format: str | None = None
    width: int | None = None
    height: int | None = None
    size_bytes: int | None = None
    sent_as: SentAs | None = Field(default=None, description="How it is sent, where its source does not say so.")
    sent_digest: str | None = Field(default=None, description="sha256:… of the bytes as sent, where they are known")


class InputImage(CheckedImage):
    """An input image of a row."""

    newer: str | None = Field(
        default=None,
        description="The digest of other bytes that were seen under the address since: such an image is not sent.",
    )


class ManifestImage(CheckedImage):
    """An input image in the place that it had in the request."""

    role: str = Field(description="The column that names it: image, last_image, frames, references …")
    name: str = Field(default="", description="Its name in a list: of a reference image, or of a frame.")


class InputClip(StoredModel):
    """A clip that a request was made from. No model takes one yet."""

    role: str
    source: str
    digest: str


class ClipFacts(StoredModel):
    """A video as its file has it: sides in pixels, times in seconds."""

    container: Literal["mp4", "webm", "mov"]
    codec: str
    width: int
    height: int
    fps: float
    duration_seconds: float
    audio: bool
    unread: str | None = Field(
        default=None,
        description="Why the file could not be decoded when it was stored: its other facts, but for the container, are "
        "then unknown and stand as empty, 0 or false. Left out where they were read.",
    )

    @model_serializer(mode="wrap")
    def _leave_out(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A manifest says what its writer knew, in the same bytes as ever.
        document: dict[str, Any] = serialize(self)
        return {name: value for name, value in document.items() if name != "unread" or value is not None}


class ClipOutput(ClipFacts):
    """One stored video file, described by the file itself, and its poster frame, if one could be made."""

    n: int
    key: str
    poster_key: str
    sha256: str
    size_bytes: int
    poster_sha256: str = Field(description="Empty if no poster could be made when the clip was stored.")
    poster_size_bytes: int
    seed: int | None = None


class Cost(StoredModel):
    """What a task cost. `source` says whose figure it is; `usd` is None where nobody knows."""

    usd: float | None
    source: Literal["provider", "estimate", "unknown"]


class Attempt(StoredModel):
    """One claim of a row's request and how it ended. Times are UTC, ISO 8601."""

    claim: int
    attempt: int | None = Field(description="The number of the paid attempt; null where the submit was not accepted.")
    # A state or kind that a later release adds is read as its text.
    state: TaskState | str = Field(
        union_mode="left_to_right",
        description="As it was when the manifest was written; the clip's own is not stored yet.",
    )
    kind: FailureKind | str | None = Field(default=None, union_mode="left_to_right")
    reason: str | None = None
    task_id: str | None = None
    client_reference: str
    claimed_at: str
    submitted_at: str | None = None
    finished_at: str | None = None
    cost: Cost | None = None
    decision: str | None = Field(default=None, description="What a person decided about it, and when.")


class Difference(StoredModel):
    """A parameter that did not reach the provider as it was asked for; `sent` is None where it was not sent at all."""

    field: str
    asked: Any
    sent: Any = None


class ClipManifest(StoredModel):
    """Where a stored clip came from: written last, so that its presence says that the clip is complete."""

    version: Literal[2] = MANIFEST_VERSION
    name: str = Field(description="The pipeline.")
    row: str
    take: int
    labels: dict[str, str]
    model: str
    provider: str
    account: str = Field(description="Whom the provider billed.")
    world: World
    ledger_id: str
    claim: int
    attempt: int
    task_id: str
    client_reference: str
    request: dict[str, Any] = Field(description="The parameters as resolved, under the names that tables use.")
    request_sent: dict[str, Any] = Field(description="The parameters as the provider got them; permissions are cut.")
    request_digest: str
    digest_version: int
    address_digest: str = Field(default="", description="The digest by the addresses of the images, not their bytes.")
    dropped: tuple[Difference, ...] = Field(default=(), description="Parameters that were asked for and not sent.")
    adjusted: tuple[Difference, ...] = Field(default=(), description="Parameters that were sent with another value.")
    images: tuple[ManifestImage, ...] = ()
    input_clips: tuple[InputClip, ...] = ()
    attempts: tuple[Attempt, ...] = Field(description="Every claim of the request, the first one first.")
    submitted_at: str
    finished_at: str
    stored_at: str
    cost: Cost
    outputs_asked: int
    outputs: tuple[ClipOutput, ...]
    note: str = ""
    provider_data: dict[str, str] = Field(default_factory=dict, description="For its support, such as a trace id.")
    dagster_run_id: str
    dagster_asset_key: tuple[str, ...]
    dagster_partition: str
    code_version: str = Field(description="The version of the model's code.")
    package_version: str

    @model_validator(mode="before")
    @classmethod
    def _check_version(cls, document: Any) -> Any:
        if complaint := _version_complaint(version_of(document)):
            raise ValueError(complaint)
        return document

    @classmethod
    def parse(cls, text: bytes, where: str) -> Self:
        """The manifest with this text. Raises StoreConflict, which says `where`, if it is none or of another form."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            (first, *_) = error.errors(include_url=False, include_input=False, include_context=False)
            if first["type"] == "value_error" and not first["loc"]:
                words = first["msg"].removeprefix("Value error, ")
                raise StoreConflict(f"{where} is {words}") from None
            raise StoreConflict(f"{where} is not a manifest this version can read; nothing was overwritten") from None

    @classmethod
    def load(cls, uri: str) -> Self:
        """Read a manifest by its address: a path, a `file://` or an `s3://` URL. Needs no Dagster.

        S3's region, endpoint and credentials are found as by AWS's own tools. Raises FileNotFoundError, StoreConflict
        if it is not a manifest of this version, or the store's own error.
        """
        return cls.parse(import_name(_READ_URI)(uri), uri)


def version_of(document: Any) -> int | None:
    """The version that a document, or its text, says it has; None if it says none."""
    if isinstance(document, bytes):
        try:
            document = json.loads(document)
        except ValueError:
            return None
    version = cast("dict[str, Any]", document).get("version") if isinstance(document, dict) else None
    return version if type(version) is int else None


def _version_complaint(version: int | None) -> str:
    if version is None or version == MANIFEST_VERSION:
        return ""
    if version < MANIFEST_VERSION:
        return f"a manifest of version {version}, {EARLIER_FORM}"
    return (
        f"a manifest of version {version}, and this pixverse-dagster reads version {MANIFEST_VERSION}: nothing was "
        "changed, and nothing is paid again for it. Upgrade pixverse-dagster to read it"
    )
