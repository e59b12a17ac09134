"""Builds the manifest of stored clips from their task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import (
    Attempt,
    ClipManifest,
    ClipOutput,
    Cost,
    InputImage,
    ManifestImage,
    SentAs,
)
from pixverse_dagster.core.redaction import redact_text, redact_url, redact_value
from pixverse_dagster.core.task import Task, task_cost
from pixverse_dagster.core.values import iso


@dataclass(frozen=True)
class Origin:
    """What a manifest says beside its task: who stored the clip and when.

    `now` is in seconds since the epoch. `provider_data` holds no credentials.
    """

    ledger_id: str
    run_id: str
    package_version: str
    now: float
    provider_data: Mapping[str, str] = field(default_factory=dict[str, str])


def build_manifest(task: Task, claims: Sequence[Task], outputs: Sequence[ClipOutput], origin: Origin) -> ClipManifest:
    """The manifest of a task whose outputs are in the store; `claims` are all claims of its request, its own too."""
    return ClipManifest(
        name=task.pipeline,
        row=task.row,
        take=task.take,
        labels=dict(task.labels),
        model=task.request.MODEL,
        provider=task.provider,
        account=task.account,
        world=task.world,
        ledger_id=origin.ledger_id,
        claim=task.claim,
        attempt=task.attempt or 1,
        task_id=task.task_id or "",
        client_reference=task.client_reference,
        request=task.request.public(),
        request_sent=_sent(task),
        request_digest=task.digest,
        digest_version=task.digest_version,
        address_digest=task.address_digest,
        dropped=tuple(one for one in task.differences if one.sent is None),
        adjusted=tuple(one for one in task.differences if one.sent is not None),
        images=_images(task),
        attempts=tuple(_attempt(task if one.id == task.id else one) for one in claims),
        submitted_at=iso(task.submitted_at or task.claimed_at),
        finished_at=iso(task.finished_at or origin.now),
        stored_at=iso(origin.now),
        cost=task_cost(task),
        outputs_asked=task.request.outputs_asked(),
        outputs=tuple(outputs),
        note=redact_text(task.note),
        provider_data={name: redact_text(value) for name, value in origin.provider_data.items()},
        dagster_run_id=origin.run_id,
        dagster_asset_key=(task.pipeline, "clips"),
        dagster_partition=task.row,
        code_version=task.request.CODE_VERSION,
        package_version=origin.package_version,
    )


def _sent(task: Task) -> dict[str, Any]:
    """The body of the submit, with the images named rather than enclosed and without what is a permission."""

    def name_image(reference: str) -> str:
        image = task.images.get(reference)
        if image is None:
            return redact_url(reference)
        enclosed = f" ({_sent_digest(image) or image.digest})" if _sent_as(image) == "inline" else ""
        return image.source + enclosed

    return redact_value(task.request.body(name_image))


def _images(task: Task) -> tuple[ManifestImage, ...]:
    places = [place for place in task.request.image_places() if place[2] in task.images]
    return tuple(_manifest_image(role, name, task.images[reference]) for role, name, reference in places)


def _manifest_image(role: str, name: str, image: InputImage) -> ManifestImage:
    sent = {"sent_as": _sent_as(image), "sent_digest": _sent_digest(image)}
    known: dict[str, Any] = {**dict(image), **sent, "source": redact_value(image.source)}
    return ManifestImage(role=role, name=name, **known)


def _sent_as(image: InputImage) -> SentAs:
    if image.sent_as is not None:
        return image.sent_as
    if image.digest.startswith("uuid:"):
        return "uuid"
    return "url" if image.source.lower().startswith(("http://", "https://")) else "inline"


def _sent_digest(image: InputImage) -> str | None:
    return image.sent_digest or (image.digest if image.digest.startswith("sha256:") else None)


def _attempt(task: Task) -> Attempt:
    return Attempt(
        claim=task.claim,
        attempt=task.attempt,
        state=task.state,
        kind=task.kind,
        reason=redact_text(task.reason) if task.reason else None,
        task_id=task.task_id,
        client_reference=task.client_reference,
        claimed_at=iso(task.claimed_at),
        submitted_at=iso(task.submitted_at) if task.submitted_at else None,
        finished_at=iso(task.finished_at) if task.finished_at else None,
        cost=Cost(usd=0.0, source="provider") if task.state is TaskState.REFUSED else task_cost(task),
        decision=redact_text(task.decision) if task.decision else None,
    )
