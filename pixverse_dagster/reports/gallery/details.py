"""The page of one clip: what it was made from, and how it came to be."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pixverse_dagster.core.manifest import Attempt, CheckedImage, ClipManifest, ClipOutput, Cost
from pixverse_dagster.core.task import Task, task_cost
from pixverse_dagster.core.values import from_iso
from pixverse_dagster.reports.gallery.text import say, say_why, trim

_SHA256 = "sha256:"


def stored_details(
    manifest: ClipManifest, request: Mapping[str, Any], output: ClipOutput, thumbs: Collection[str]
) -> dict[str, Any]:
    """What is said of one clip of a manifest; `request` is its request as it may be shown."""
    images = [image_details(image.role, image.name, image, thumbs) for image in manifest.images]
    return trim({
        "prompt": prompt_of(request),
        "parameters": parameters(request, {image.role for image in manifest.images}),
        "images": images,
        "account": manifest.account,
        "provider": manifest.provider,
        "task_id": manifest.task_id,
        "digest": manifest.request_digest,
        "client_reference": manifest.client_reference,
        "sha256": output.sha256,
        "size_bytes": output.size_bytes,
        "codec": output.codec,
        "container": output.container,
        "seed": output.seed,
        "steps": [*_attempt_steps(manifest), *_last_steps(manifest)],
        "dagster": {
            "run_id": manifest.dagster_run_id,
            "asset": "/".join(manifest.dagster_asset_key),
            "partition": say(manifest.dagster_partition),
        },
        "code_version": manifest.code_version,
        "package_version": manifest.package_version,
    })  # fmt: skip


def task_details(task: Task, request: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a task that has no clip; `request` is its request as it may be shown."""
    steps: list[dict[str, Any]] = [{"at": int(task.claimed_at), "what": "sent"}]
    if task.submitted_at:
        cost = share_of(task_cost(task))
        steps.append({"at": int(task.submitted_at), "what": "accepted", "text": task.task_id or "", **cost})
    if task.finished_at:
        steps.append({"at": int(task.finished_at), "what": str(task.state), "text": say_why(task.reason or "")})
    return trim({
        "prompt": prompt_of(request),
        "parameters": parameters(request),
        "account": task.account,
        "provider": task.provider,
        "task_id": task.task_id,
        "digest": task.digest,
        "client_reference": task.client_reference,
        "steps": steps,
        "dagster": {"run_id": task.run_id, "asset": f"{task.pipeline}/tasks", "partition": say(task.row)},
    })  # fmt: skip


def _attempt_steps(manifest: ClipManifest) -> Iterator[dict[str, Any]]:
    """Every claim of the request, and how it ended."""
    for attempt in manifest.attempts:
        yield from _steps_of(attempt, is_own=attempt.client_reference == manifest.client_reference)


def _steps_of(attempt: Attempt, *, is_own: bool) -> Iterator[dict[str, Any]]:
    name = f"attempt {attempt.attempt}" if attempt.attempt else "submit"
    yield {"at": _epoch(attempt.claimed_at), "what": f"{name} sent"}
    if attempt.submitted_at:
        cost = share_of(attempt.cost) if attempt.cost else {}
        yield {"at": _epoch(attempt.submitted_at), "what": f"{name} accepted", "text": attempt.task_id or "", **cost}
    if not is_own:
        kind = f" ({attempt.kind})".replace("_", " ") if attempt.kind else ""
        why = say_why(". ".join(filter(None, (attempt.reason, attempt.decision))))
        ended = attempt.finished_at or attempt.submitted_at or attempt.claimed_at
        yield {"at": _epoch(ended), "what": f"{name} {attempt.state}{kind}", **({"text": why} if why else {})}


def _last_steps(manifest: ClipManifest) -> Iterator[dict[str, Any]]:
    yield {"at": _epoch(manifest.finished_at), "what": "finished"}
    yield {"at": _epoch(manifest.stored_at), "what": "stored"}


def _epoch(text: str) -> int:
    return int(from_iso(text))


def parameters(request: Mapping[str, Any], images: Collection[str] = ()) -> list[list[str]]:
    """The parameters as text, without the prompt and the columns of images."""
    shown = ((name, value) for name, value in request.items() if name != "prompt" and name not in images)
    return [[name, say(value if isinstance(value, str) else _text(value))] for name, value in shown if _is_set(value)]


def _is_set(value: Any) -> bool:
    return value is not None and value not in ([], "")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return json.dumps(value, ensure_ascii=False)


def image_details(role: str, name: str, image: CheckedImage, thumbs: Collection[str]) -> dict[str, Any]:
    """An input image by its role, its name and its digest: never by its address, which may be a permission."""
    sha256 = image.digest.removeprefix(_SHA256) if image.digest.startswith(_SHA256) else ""
    shown = {"role": role, "name": name or _file_name(image.source), "digest": say(image.digest)}
    return trim({**shown, "thumb": f"{sha256}-thumb.jpg" if sha256 in thumbs else ""})


def _file_name(source: str) -> str:
    """The last part of where an image came from."""
    if source.startswith("data:") or "… (" in source:
        return ""
    return say(source.split("?", 1)[0].rstrip("/").replace("\\", "/").rsplit("/", 1)[-1])


def prompt_of(request: Mapping[str, Any]) -> str:
    """The prompt of a request."""
    return say(str(request.get("prompt") or ""))


def share_of(cost: Cost, clips: int = 1) -> dict[str, Any]:
    """A clip's share of what its task cost; nothing where nobody knows."""
    if cost.usd is None:
        return {}
    return {"cost": round(cost.usd / max(clips, 1), 6), "estimated": cost.source != "provider"}
