"""New bytes under an unchanged address of an image: named, and paid for only if somebody says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import InputImage
from pixverse_dagster.core.row import Problem, Row, retake
from pixverse_dagster.core.task import Task
from pixverse_dagster.media.images import WEB_ADDRESS
from pixverse_dagster.stages.session import Session

_MAY_BE_PAID = tuple(state for state in TaskState if state is not TaskState.REFUSED)
_MESSAGE = (
    "image changed: this address has other bytes than those that the row was submitted with. The row keeps its task "
    "and its clip, and nothing is paid. For a clip of the new image: {retry}, then "
    "read the table again. Or set pay_for_changed_images, and every change counts"
)


def keep_paid_images(session: Session, rows: Sequence[Row]) -> tuple[list[Row], list[Problem]]:
    """The rows as they are to be recorded, and a caution for each image that changed under its address.

    A row that was submitted and differs from that request only in the bytes behind http(s) addresses keeps the request:
    its images have the digests that were paid for, and `newer` says what is there now. A request that was refused cost
    nothing, and one that a person released may be paid for again: there the new bytes count. A replaced local file is
    meant, and always counts.

    Where `read_image_urls` was turned on or off in between, nobody knows whether the bytes changed: the row keeps its
    request all the same, and there is nothing to say.
    """
    keys = [row.id for row in rows if any(map(is_behind_url, row.images.values()))]
    found = session.ledger.tasks.find(session.pipeline.name, _MAY_BE_PAID, keys=keys) if keys else []
    tasks: dict[str, list[Task]] = {}
    for task in filter(session.counts, found):
        tasks.setdefault(task.row, []).insert(0, task)
    kept: list[Row] = []
    cautions: list[Problem] = []
    for row in rows:
        attempts = tasks.get(row.id, [])
        paid = None if any(task.digest == row.digest for task in attempts) else with_paid_images(row, attempts)
        kept.append(paid or row)
        columns = dict.fromkeys(row.request.image_column(r) for r, i in paid.images.items() if i.newer) if paid else ()
        cautions += [Problem(row.line, row.id, column, say_changed(session.commands, row.id)) for column in columns]
    return kept, cautions


def say_changed(commands: CommandLine, row: str) -> str:
    """That an image of a row changed under its address, what it means for the money, and what can be done."""
    return _MESSAGE.format(retry=commands.tasks("retry", row, "--take"))


def with_paid_images(row: Row, attempts: Sequence[Task]) -> Row | None:
    """The row with the images of the newest of these tasks from which nothing else distinguishes it.

    `attempts` are tasks of the row that may be paid for, the newest first. None if there is none, or if a person
    released it: then the new bytes count.
    """
    for task in attempts:
        before = dict(zip(row.request.images(), (task.images.get(r) for r in task.request.images()), strict=False))
        if found := with_older_images(row, before, task.digest):
            return None if task.released else found
    return None


def with_older_images(row: Row, before: Mapping[str, InputImage | None], digest: str) -> Row | None:
    """The row with these earlier images, by its own references, if that is the request with this digest."""
    found = retake(replace(row, images=_older(row.images, before)), row.take)
    return found if found.digest == digest else None


def _older(images: Mapping[str, InputImage], before: Mapping[str, InputImage | None]) -> dict[str, InputImage]:
    """The images, but those behind an http(s) address as they were before, if their bytes are others now."""
    found = dict(images)
    for reference, image in images.items():
        old = before.get(reference)
        if old and is_behind_url(image) and old.address == image.address and old.digest != image.digest:
            both_read = image.address not in {image.digest, old.digest}
            found[reference] = old.model_copy(update={"newer": image.digest if both_read else None})
    return found


def is_behind_url(image: InputImage) -> bool:
    """Whether the image is read from an http(s) address, where others may change it."""
    return (image.address or "").startswith(WEB_ADDRESS)
