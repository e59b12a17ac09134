"""Builds the manifest of stored clips from their task, and the task again from its manifest."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
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
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.task import Task, task_cost
from pixverse_dagster.core.values import from_iso, iso


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


@dataclass(frozen=True)
class Found:
    """Where a manifest was found, when (seconds since the epoch), and by which ledger.

    `pipeline` and `row` are what these are called now, where that is not what the manifest says.
    """

    ledger_id: str
    folder: str
    manifest_sha256: str
    at: float
    pipeline: str = ""
    row: str = ""


_ENDED = frozenset({TaskState.REFUSED, TaskState.FAILED, TaskState.ABANDONED})


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


def restore_tasks(
    manifest: ClipManifest, request: Request, images: Mapping[str, InputImage], found: Found
) -> list[Task]:
    """The tasks that a manifest tells of, as a ledger has them that never saw them: the inverse of `build_manifest`.

    The stored one comes last. Earlier claims of the request are among them if they had ended without a clip; what was
    open when the manifest was written is left out, because nothing is known of how it went on.
    """
    own = (one for one in manifest.attempts if one.client_reference == manifest.client_reference)
    stored = next(own, None) or _own_attempt(manifest)
    ended = [one for one in manifest.attempts if one is not stored and one.state in _ENDED]
    tasks = [_restored(manifest, one, request, images, found) for one in ended]
    clip = replace(
        _restored(manifest, stored, request, images, found),
        state=TaskState.STORED,
        kind=None,
        reason=None,
        task_id=manifest.task_id,
        attempt=manifest.attempt,
        folder=found.folder,
        manifest_sha256=found.manifest_sha256,
        cost_usd=manifest.cost.usd if manifest.cost.source == "provider" else None,
        estimate_usd=manifest.cost.usd,
        note=manifest.note,
        seeds=tuple(output.seed for output in manifest.outputs),
        submitted_at=from_iso(manifest.submitted_at),
        finished_at=from_iso(manifest.finished_at),
        stored_at=from_iso(manifest.stored_at),
    )
    return [*tasks, clip]


def _own_attempt(manifest: ClipManifest) -> Attempt:
    """The attempt of the clip itself, where the list of attempts leaves it out: the rest of the manifest tells it."""
    return Attempt(
        claim=manifest.claim,
        attempt=manifest.attempt,
        state=TaskState.SUCCEEDED,
        task_id=manifest.task_id,
        client_reference=manifest.client_reference,
        claimed_at=manifest.submitted_at,
        submitted_at=manifest.submitted_at,
        finished_at=manifest.finished_at,
        cost=manifest.cost,
    )


def _restored(
    manifest: ClipManifest, attempt: Attempt, request: Request, images: Mapping[str, InputImage], found: Found
) -> Task:
    cost = attempt.cost or Cost(usd=None, source="unknown")
    return Task(
        id=uuid.uuid4().hex,
        pipeline=found.pipeline or manifest.name,
        row=found.row or manifest.row,
        digest=manifest.request_digest,
        digest_version=manifest.digest_version,
        address_digest=manifest.address_digest,
        claim=attempt.claim,
        take=manifest.take,
        request=request,
        images=images,
        labels=manifest.labels,
        differences=(*manifest.dropped, *manifest.adjusted),
        client_reference=attempt.client_reference,
        account=manifest.account,
        world=manifest.world,
        state=TaskState(attempt.state) if attempt.state in _ENDED else TaskState.STORED,
        run_id=manifest.dagster_run_id,
        claimed_at=from_iso(attempt.claimed_at),
        attempt=attempt.attempt,
        kind=FailureKind(attempt.kind) if attempt.kind in set(FailureKind) else None,
        reason=attempt.reason,
        decision=attempt.decision,
        task_id=attempt.task_id,
        cost_usd=cost.usd if cost.source == "provider" else None,
        estimate_usd=cost.usd,
        submitted_at=from_iso(attempt.submitted_at) if attempt.submitted_at else None,
        finished_at=from_iso(attempt.finished_at) if attempt.finished_at else None,
        found_at=found.at,
        paid_by=manifest.ledger_id if manifest.ledger_id != found.ledger_id else None,
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
