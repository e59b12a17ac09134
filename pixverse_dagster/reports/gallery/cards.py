"""What the gallery says of a clip, and of a row without one: the card on the sheet, and the details of its own page.

Everything is text of other people's, or made from it: known secrets, query strings and local paths are cut here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, cast

from pixverse_dagster.core.layout import ClipFolder, clips_prefix, encode_row, task_folder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import CheckedImage, ClipManifest, ClipOutput, InputImage
from pixverse_dagster.core.redaction import redact_value
from pixverse_dagster.core.row import Problem
from pixverse_dagster.core.task import QueuedRow, Task, task_cost
from pixverse_dagster.core.values import from_iso
from pixverse_dagster.ledger.overview import RowWithoutClip
from pixverse_dagster.policy.endings import condition
from pixverse_dagster.reports.gallery.chunks import Card
from pixverse_dagster.reports.gallery.details import (
    image_details,
    parameters,
    prompt_of,
    share_of,
    stored_details,
    task_details,
)
from pixverse_dagster.reports.gallery.text import say, say_why, trim

PROMPT_CHARACTERS = 4_000
"""How much of a prompt is on a card; the whole is in its details."""
_STATES = {
    TaskState.CLAIMED: "sending",
    TaskState.SUBMITTED: "rendering",
    TaskState.SUCCEEDED: "ready",
}
"""States in words for people who wait for clips; the others are words already."""

Entry = tuple[Card, dict[str, Any]]
"""A card, and the details of the same clip."""


def stored_entries(task: Task, manifest: ClipManifest, thumbs: Collection[str] = ()) -> list[Entry]:
    """What is said of each clip of a stored task. `thumbs` are the digests of input images that have a picture."""
    request = cast("dict[str, Any]", redact_value(manifest.request))
    return [
        (_stored_card(task, manifest, request, output), stored_details(manifest, request, output, thumbs))
        for output in manifest.outputs
    ]


def lost_entry(task: Task, why: str) -> Entry:
    """What is said of a clip that is stored by the ledger, and whose manifest cannot be read."""
    folder = task_folder(task)
    request = task.request.public()
    card = {
        **_place(folder, task.pipeline, 1),
        "row": say(task.row),
        "state": "stored",
        "reason": say_why(why),
        **_words(request, task.images.values()),
        "model": task.request.MODEL,
        "take": task.take,
        **_attempt_number(task.attempt),
        **share_of(task_cost(task)),
        "labels": _labels(task.labels),
        "at": int(task.stored_at or task.claimed_at),
    }
    return trim(card), task_details(task, request)


def open_entry(row: RowWithoutClip, place: QueuedRow | None, bucket: int) -> Entry:
    """What is said of a row that has no clip. `bucket` is the file that has its details."""
    task = row.task
    request = cast("dict[str, Any]", redact_value(dict(row.request)))
    images = [InputImage.model_validate(image) for image in row.images.values()] if row.images else []
    card = {
        "id": encode_row(row.row),
        "row": say(row.row),
        **_standing(task, place),
        "model": row.model,
        **_words(request, images),
        "take": row.take,
        **(_attempt_number(task.attempt) if task else {}),
        **(share_of(task_cost(task)) if task and task.attempt else {}),
        "labels": _labels(row.labels),
        **({"at": int(task.claimed_at)} if task else {}),
        "d": bucket,
    }
    details = task_details(task, request) if task else {"prompt": prompt_of(request), "parameters": parameters(request)}
    return trim(card), trim(
        {**details, "digest": row.digest, "images": [image_details("", "", one, ()) for one in images]}
    )


def problem_entry(problem: Problem, taken: Collection[str], bucket: int) -> Entry:
    """What is said of a line of the table that cannot be generated. No row has such an id: `~` is encoded in one."""
    # Somebody's key may stand in the wrong column.
    own = encode_row(say(problem.row)) if problem.row else ""
    card_id = own if own and own not in taken else f"{own}~{problem.line}"
    card = {
        "id": card_id,
        "row": say(problem.row or f"line {problem.line}"),
        "state": "invalid",
        "reason": say_why(str(problem)),
        "d": bucket,
    }
    return card, {}


def group_of(prompt: str, images: Iterable[CheckedImage]) -> str:
    """What clips of the same words and pictures have in common, whatever their model."""
    text = "\n".join([prompt, *sorted(image.digest for image in images)])
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]


def _stored_card(task: Task, manifest: ClipManifest, request: Mapping[str, Any], output: ClipOutput) -> Card:
    return trim({
        **_place(task_folder(task), task.pipeline, output.n),
        "row": say(task.row),
        "state": "stored",
        "model": manifest.model,
        **_words(request, manifest.images),
        "take": manifest.take,
        **_attempt_number(manifest.attempt),
        "ending": output.container,
        **_facts(output),
        **share_of(manifest.cost, len(manifest.outputs)),
        "labels": _labels(manifest.labels),
        "at": int(from_iso(manifest.stored_at)),
        "thumb": thumb_name(output),
    })  # fmt: skip


def thumb_name(output: ClipOutput) -> str:
    """The name of the small picture of a clip, without its ending; empty where none could be made."""
    return output.sha256[:20] if output.poster_sha256 else ""


def _place(folder: ClipFolder, pipeline: str, n: int) -> Card:
    """The id, by which the clip's address is made, and the folder that it is in, where that has another name."""
    card_id = f"{str(folder).removeprefix(clips_prefix(folder.pipeline))}/{n}"
    return {"id": card_id, **({"tree": encode_row(folder.pipeline)} if folder.pipeline != pipeline else {})}


def _words(request: Mapping[str, Any], images: Iterable[CheckedImage]) -> Card:
    prompt = prompt_of(request)
    return {"prompt": prompt[:PROMPT_CHARACTERS], "group": group_of(prompt, images)}


def _facts(output: ClipOutput) -> Card:
    if output.unread:
        return {"reason": say_why(f"the file could not be decoded: {output.unread}")}
    return {
        "seconds": round(output.duration_seconds, 2),
        "width": output.width,
        "height": output.height,
        "fps": round(output.fps, 2),
        "audio": output.audio,
    }


def _attempt_number(attempt: int | None) -> Card:
    return {"attempt": attempt} if attempt and attempt > 1 else {}


def _labels(labels: Mapping[str, str]) -> list[list[str]]:
    return [[say(column), say(value)] for column, value in labels.items()]


def _standing(task: Task | None, place: QueuedRow | None) -> Card:
    """Where a row without a clip stands, and why."""
    if task is None or (task.state is TaskState.REFUSED and place):
        return {"state": "waiting", "reason": say_why(place.reason)} if place else {"state": "new"}
    state, why = _STATES.get(task.state, str(task.state)), task.reason or ""
    whole = condition(task)
    if whole != task.state:
        words = whole.removeprefix(f"{task.state}, ").removeprefix(f"{task.state} ").strip("()").replace("_", " ")
        why = f"{words}: {why or task.note}".rstrip(": ")
    return {"state": state, "reason": say_why(why)}
