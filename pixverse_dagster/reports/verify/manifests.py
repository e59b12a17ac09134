"""A manifest beside the task of the ledger that it is about: every field that both know."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.manifest import ClipManifest, ManifestImage
from pixverse_dagster.core.old_request import OldRequest
from pixverse_dagster.core.provenance import Origin, build_manifest
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import Digest, from_iso, iso
from pixverse_dagster.reports.verify import kinds
from pixverse_dagster.reports.verify.digests import has_words
from pixverse_dagster.reports.verify.findings import Kind

_OF_LEDGER = {
    "take": "take",
    "model": "model",
    "provider": "provider",
    "account": "account",
    "world": "world",
    "task_id": "task id",
    "request_digest": "digest",
    "digest_version": "digest version",
    "address_digest": "address digest",
    "submitted_at": "time of the submit",
    "finished_at": "time of the result",
    "cost": "cost",
}
_OF_WORDS = {"labels": "labels", "outputs_asked": "outputs asked", "dropped": "dropped", "adjusted": "adjusted"}
"""Not compared where the words were forgotten on demand."""
_OF_CLAIM = {"claim": "claim", "attempt": "attempt", "client_reference": "client reference"}
"""Of a clip that another ledger paid for, these are that ledger's."""
Files = Mapping[str, Collection[Digest]]
"""What is on record for a task, by key."""


@dataclass(frozen=True)
class Known:
    """What the ledger knows that a clip is compared with: its names, the claims of its request, its files on record."""

    ledger_id: str
    called: Collection[tuple[str, str]]
    claims: Sequence[Task]
    files: Files


def compare_manifest(task: Task, text: bytes, manifest: ClipManifest, known: Known) -> Iterator[tuple[Kind, str]]:
    """What is wrong with a manifest, by the ledger."""
    sha256 = hashlib.sha256(text).hexdigest()
    if task.manifest_sha256 is None:
        words = (
            "the ledger keeps no sha256 of it: whether it is as it was written cannot be told, though all that both "
            "know was compared"
        )
        yield kinds.MANIFEST_UNKEPT, words
    elif task.manifest_sha256 != sha256:
        yield kinds.MANIFEST_CHANGED, "its sha256 is not the ledger's: the manifest was changed since it was written"
    for words in _differences(task, manifest, known):
        yield kinds.MANIFEST_FIELD, words


def _differences(task: Task, manifest: ClipManifest, known: Known) -> Iterator[str]:
    if (manifest.name, manifest.row) not in known.called:
        for what, kept, said in (("name", task.pipeline, manifest.name), ("row", task.row, manifest.row)):
            if kept != said:
                yield _differ(what, kept, said)
    origin = Origin(task.paid_by or known.ledger_id, "", "", from_iso(manifest.stored_at))
    kept = build_manifest(task, (), manifest.outputs, origin)
    own = manifest.ledger_id == known.ledger_id
    words = has_words(task)
    names = _OF_LEDGER | (_OF_CLAIM if own and task.found_at is None else {}) | (_OF_WORDS if words else {})
    for name, what in names.items():
        ours, theirs = getattr(kept, name), getattr(manifest, name)
        if ours != theirs:
            yield _differ(what, _plain(ours), _plain(theirs))
    if manifest.ledger_id != kept.ledger_id and (task.found_at is None or task.paid_by):
        yield _differ("ledger id", kept.ledger_id, manifest.ledger_id)
    if words:
        yield from _compare_request(task, kept, manifest)
    if own:
        yield from _compare_attempts(known.claims, task, manifest)
    yield from _compare_outputs(task, manifest, known.files)


def _compare_request(task: Task, kept: ClipManifest, manifest: ClipManifest) -> Iterator[str]:
    """The request and its images. Of a clip that was found, an address may be the table's present one."""
    fields, delivery = type(task.request).model_fields, task.request.delivery_options()
    images = set(task.request.image_columns()) | {task.request.IMAGE_LIST}
    for name in sorted({*kept.request, *manifest.request}):
        ours, theirs = kept.request.get(name), manifest.request.get(name)
        if task.found_at is not None and (name in delivery or name in images):
            continue
        if ours == theirs or (theirs is None and name in fields and ours == fields[name].default):
            continue  # a parameter that a later version added
        yield _differ(f"request {name}", ours, theirs)
    if isinstance(task.request, OldRequest):  # where its images stand is not known
        ours, theirs = ({one.digest for one in of} for of in (task.images.values(), manifest.images))
    else:
        ours, theirs = ([_image(one) for one in of.images] for of in (kept, manifest))
    if ours != theirs and not (task.found_at is not None and not theirs):
        yield _differ("images", ours, theirs)


def _image(image: ManifestImage) -> tuple[str, str, str, str | None]:
    return image.role, image.name, image.digest, image.sent_digest


def _compare_attempts(claims: Sequence[Task], task: Task, manifest: ClipManifest) -> Iterator[str]:
    """Every attempt that the manifest tells of is a claim of the ledger, under the same reference and id."""
    by_reference = {claim.client_reference: claim for claim in claims}
    for attempt in manifest.attempts:
        known = by_reference.get(attempt.client_reference)
        if known is None:
            if task.found_at is None:
                yield f"attempt {attempt.claim}, task {attempt.task_id}, is in the manifest and not in the ledger"
        elif known.found_at is None and attempt.claimed_at != iso(known.claimed_at):
            yield _differ(f"time of claim {attempt.claim}", iso(known.claimed_at), attempt.claimed_at)
        elif attempt.task_id and known.task_id != attempt.task_id:
            yield _differ(f"task id of claim {attempt.claim}", known.task_id, attempt.task_id)
    if all(attempt.client_reference != task.client_reference for attempt in manifest.attempts):
        yield "none of the attempts that the manifest lists is this task's"


def _compare_outputs(task: Task, manifest: ClipManifest, files: Files) -> Iterator[str]:
    """Where the outputs are, their seeds, and that their bytes are on record for the task."""
    if not manifest.outputs:
        yield "the manifest lists no output"
    folder = task_folder(task)
    numbers = [output.n for output in manifest.outputs]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"the manifest's outputs are numbered {numbers}"
    for output in manifest.outputs:
        named = (output.key, output.poster_key)
        if named != (folder.output(output.n, output.container), folder.poster(output.n)):
            yield f"output {output.n} is in {folder} by the ledger and is {named[0]} with {named[1]} by the manifest"
        if output.n <= len(task.seeds) and task.seeds[output.n - 1] != output.seed:
            yield _differ(f"seed of output {output.n}", task.seeds[output.n - 1], output.seed)
        for key, said in (
            (output.key, Digest(output.sha256, output.size_bytes)),
            (output.poster_key, Digest(output.poster_sha256, output.poster_size_bytes)),
        ):
            if said.sha256 and files and said not in files.get(key, ()):
                yield f"{key} has sha256 {said.sha256} by the manifest, and is not on record so in the ledger"


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _differ(what: str, kept: Any, said: Any) -> str:
    return f"{what} is {kept!r} in the ledger and {said!r} in the manifest"
