"""Where everything is in a store: every key, said once."""

from __future__ import annotations

from urllib.parse import quote

from pixverse_dagster.core.task import Task

DIGEST_DIGITS = 12


def clip_folder(pipeline: str, row: str, digest: str, take: int) -> str:
    """`<name>/clips/<row>/<digest12>-t<take>`: the folder of one request's clips, below the store's root."""
    return f"{encode_row(pipeline)}/clips/{encode_row(row)}/{digest[:DIGEST_DIGITS]}-t{take}"


def task_folder(task: Task) -> str:
    """The folder of a task's clips."""
    return clip_folder(task.pipeline, task.row, task.digest, task.take)


def manifest_key(folder: str) -> str:
    """The manifest in a clip folder: its presence is the commit mark."""
    return f"{folder}/manifest.json"


def encode_row(row: str) -> str:
    """The row id as one folder name: percent-encoded outside `A-Za-z0-9._-`, and `.` and `..` as well."""
    return quote(row, safe="").replace("~", "%7E") if row.strip(".") else row.replace(".", "%2E")
