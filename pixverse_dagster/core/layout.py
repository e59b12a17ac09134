"""The layout of a store: how keys are built and parsed. Keys are relative paths with `/`.

<pipeline>/clips/<row>/<digest12>-t<take>/1.mp4  1.jpg  manifest.json
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, unquote

from pixverse_dagster.core.task import Task

DIGEST_DIGITS = 12
_CLIP_KEY = re.compile(
    r"(?P<pipeline>[^/]+)/clips/(?P<row>[^/]+)/(?P<digest>[0-9a-f]{12})-t(?P<take>[1-9]\d*)/"
    r"(?P<file>manifest\.json|(?P<n>[1-4])\.(?P<kind>mp4|webm|mov|jpg))"
)


@dataclass(frozen=True)
class ClipFolder:
    """The folder of one request's clips: `<pipeline>/clips/<row>/<digest12>-t<take>`, names percent-encoded."""

    pipeline: str
    row: str
    digest12: str
    take: int

    def __str__(self) -> str:
        return f"{clips_prefix(self.pipeline)}{encode_row(self.row)}/{self.digest12}-t{self.take}"

    @property
    def manifest(self) -> str:
        """The key of the manifest. It is written last: where it exists, the clip is complete."""
        return f"{self}/manifest.json"

    def output(self, n: int, container: str) -> str:
        """The key of video file `n`, counted from 1."""
        return f"{self}/{n}.{container}"

    def poster(self, n: int) -> str:
        """The key of the poster frame of video file `n`."""
        return f"{self}/{n}.jpg"


@dataclass(frozen=True)
class ClipKey:
    """A parsed key of a file in a clip folder. `n` is the number of the output, or 0 for the manifest."""

    folder: ClipFolder
    kind: Literal["output", "poster", "manifest"]
    n: int = 0
    container: str = ""


def clip_folder(pipeline: str, row: str, digest: str, take: int) -> ClipFolder:
    """The folder of a request's clips."""
    return ClipFolder(pipeline, row, digest[:DIGEST_DIGITS], take)


def task_folder(task: Task) -> ClipFolder:
    """The folder of a task's clips."""
    return clip_folder(task.pipeline, task.row, task.digest, task.take)


def clips_prefix(pipeline: str) -> str:
    """The prefix of the keys of all clips of a pipeline."""
    return f"{encode_row(pipeline)}/clips/"


def parse(key: str) -> ClipKey | None:
    """Parse a key. None if it is not exactly a key that `ClipFolder` builds."""
    found = _CLIP_KEY.fullmatch(key)
    if not found:
        return None
    folder = ClipFolder(unquote(found["pipeline"]), unquote(found["row"]), found["digest"], int(found["take"]))
    if found["n"] is None:
        parsed = ClipKey(folder, "manifest")
        rebuilt = folder.manifest
    elif found["kind"] == "jpg":
        parsed = ClipKey(folder, "poster", int(found["n"]))
        rebuilt = folder.poster(parsed.n)
    else:
        parsed = ClipKey(folder, "output", int(found["n"]), found["kind"])
        rebuilt = folder.output(parsed.n, parsed.container)
    return parsed if rebuilt == key else None


def encode_row(row: str) -> str:
    """The row id as one folder name: percent-encoded outside `A-Za-z0-9._-`. Ids of dots only are encoded too."""
    return quote(row, safe="").replace("~", "%7E") if row.strip(".") else row.replace(".", "%2E")
