"""The layout of a store: how keys are built and parsed. Keys are relative paths with `/`.

pixverse-store.json                                                 names the store; created once
ledgers/<id>.json                                                   a ledger that wrote here, and the pipelines it kept
<pipeline>/clips/<row>/<digest12>-t<take>/1.mp4  1.jpg  manifest.json  tombstone.json
<pipeline>/clips/<row>/<digest12>-t<take>-a<attempt>/…              the same, from the second attempt on
<pipeline>/images/<sha256>.<ending>  <sha256>-thumb.jpg             input images that were converted or staged
<pipeline>/names/<n>.json                                           what was renamed
<pipeline>/gallery/…                                                the page of the clips
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, unquote

from pixverse_dagster.core.task import Task

DIGEST_DIGITS = 12
MARKER = "pixverse-store.json"
"""The key of the document that names the store."""
LEDGERS_PREFIX = "ledgers/"
"""The prefix of the keys of all ledgers that wrote to the store."""
_LEDGER = re.compile(r"ledgers/(?P<ledger>[^/]+)\.json")
_FOLDER = re.compile(
    r"(?P<pipeline>[^/]+)/clips/(?P<row>[^/]+)/"
    r"(?P<digest>[0-9a-f]{12})-t(?P<take>[1-9][0-9]{0,8})(?:-a(?P<attempt>[1-9][0-9]{0,8}))?"
)
_FILE = re.compile(r"(?P<document>manifest|tombstone)\.json|(?P<n>[1-4])\.(?P<ending>mp4|webm|mov|jpg)")
_IMAGE = re.compile(r"(?P<pipeline>[^/]+)/images/(?P<sha256>[0-9a-f]{64})(?:\.(?P<ending>[a-z0-9]{1,8})|-thumb\.jpg)")
_NAMES = re.compile(r"(?P<pipeline>[^/]+)/names/(?P<n>[1-9][0-9]{0,8})\.json")
_GALLERY = re.compile(r"(?P<pipeline>[^/]+)/gallery/(?P<path>.+)", re.DOTALL)


@dataclass(frozen=True)
class ClipFolder:
    """The folder of one attempt's clips: `<pipeline>/clips/<row>/<digest12>-t<take>`, names percent-encoded.

    Attempts never share a folder: the second one's ends in `-a2`.
    """

    pipeline: str
    row: str
    digest12: str
    take: int
    attempt: int = 1

    def __str__(self) -> str:
        name = f"{self.digest12}-t{self.take}" + (f"-a{self.attempt}" if self.attempt > 1 else "")
        return f"{clips_prefix(self.pipeline)}{encode_row(self.row)}/{name}"

    @property
    def manifest(self) -> str:
        """The key of the manifest. It is written last: where it exists, the clip is complete."""
        return f"{self}/manifest.json"

    @property
    def tombstone(self) -> str:
        """The key of the document that says what was deleted here on demand."""
        return f"{self}/tombstone.json"

    def output(self, n: int, container: str) -> str:
        """The key of video file `n`, counted from 1."""
        return f"{self}/{n}.{container}"

    def poster(self, n: int) -> str:
        """The key of the poster frame of video file `n`."""
        return f"{self}/{n}.jpg"


@dataclass(frozen=True)
class ClipKey:
    """The key of a file in a clip folder. `n` is the number of the output; 0 for the manifest and the tombstone."""

    folder: ClipFolder
    kind: Literal["output", "poster", "manifest", "tombstone"]
    n: int = 0
    container: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "output":
                return self.folder.output(self.n, self.container)
            case "poster":
                return self.folder.poster(self.n)
            case "manifest":
                return self.folder.manifest
            case "tombstone":
                return self.folder.tombstone


@dataclass(frozen=True)
class MarkerKey:
    """The key of the document that names the store."""

    def __str__(self) -> str:
        return MARKER


@dataclass(frozen=True)
class LedgerKey:
    """The key of the document about a ledger that wrote to the store."""

    ledger_id: str

    def __str__(self) -> str:
        return f"{LEDGERS_PREFIX}{encode_row(self.ledger_id)}.json"


@dataclass(frozen=True)
class ImageKey:
    """The key of an input image that was converted or staged; of its thumbnail, a JPEG, if `ending` is empty."""

    pipeline: str
    sha256: str
    ending: str = ""

    def __str__(self) -> str:
        return f"{images_prefix(self.pipeline)}{self.sha256}" + (f".{self.ending}" if self.ending else "-thumb.jpg")


@dataclass(frozen=True)
class NamesKey:
    """The key of a document that says what rows and the pipeline are called now; the highest number holds."""

    pipeline: str
    n: int

    def __str__(self) -> str:
        return f"{names_prefix(self.pipeline)}{self.n}.json"


@dataclass(frozen=True)
class GalleryKey:
    """The key of a file of the page of the clips; `path` is relative to the page."""

    pipeline: str
    path: str

    def __str__(self) -> str:
        return f"{gallery_prefix(self.pipeline)}{self.path}"


Key = ClipKey | MarkerKey | LedgerKey | ImageKey | NamesKey | GalleryKey
"""What a key of a store is. Its text is the key."""


def clip_folder(pipeline: str, row: str, digest: str, take: int, attempt: int = 1) -> ClipFolder:
    """The folder of the clips of one attempt at a request."""
    return ClipFolder(pipeline, row, digest[:DIGEST_DIGITS], take, attempt)


def task_folder(task: Task) -> ClipFolder:
    """The folder of a task's clips: the one that it was given with its acceptance, else that of its attempt."""
    given = parse_folder(task.folder)
    return given or clip_folder(task.pipeline, task.row, task.digest, task.take, task.attempt or 1)


def pipeline_prefix(pipeline: str) -> str:
    """The prefix of all keys of a pipeline."""
    return f"{encode_row(pipeline)}/"


def clips_prefix(pipeline: str) -> str:
    """The prefix of the keys of all clips of a pipeline."""
    return f"{pipeline_prefix(pipeline)}clips/"


def names_prefix(pipeline: str) -> str:
    """The prefix of the keys of what was renamed of a pipeline."""
    return f"{pipeline_prefix(pipeline)}names/"


def images_prefix(pipeline: str) -> str:
    """The prefix of the keys of a pipeline's input images."""
    return f"{pipeline_prefix(pipeline)}images/"


def gallery_prefix(pipeline: str) -> str:
    """The prefix of the keys of a pipeline's gallery, whose files are replaced."""
    return f"{pipeline_prefix(pipeline)}gallery/"


def parse(key: str) -> Key | None:
    """What a key is. None if it is not exactly a key that this layout builds."""
    found = _parse_loosely(key)
    return found if found is not None and str(found) == key else None


def parse_folder(text: str) -> ClipFolder | None:
    """The clip folder with this text, without a slash at its end. None if it is not exactly one of this layout."""
    folder = _folder(text)
    return folder if folder is not None and str(folder) == text else None


def _parse_loosely(key: str) -> Key | None:
    """What a key may be; another spelling of the same names is seen by comparing it with what they build."""
    if key == MARKER:
        return MarkerKey()
    if found := _LEDGER.fullmatch(key):
        return LedgerKey(unquote(found["ledger"]))
    return _parse_clip(key) or _parse_other(key)


def _parse_other(key: str) -> Key | None:
    if found := _IMAGE.fullmatch(key):
        return ImageKey(unquote(found["pipeline"]), found["sha256"], found["ending"] or "")
    if found := _NAMES.fullmatch(key):
        return NamesKey(unquote(found["pipeline"]), int(found["n"]))
    if found := _GALLERY.fullmatch(key):
        whole = all(part.strip(".") for part in found["path"].split("/"))
        return GalleryKey(unquote(found["pipeline"]), found["path"]) if whole else None
    return None


def _parse_clip(key: str) -> ClipKey | None:
    place, _, name = key.rpartition("/")
    folder, file = _folder(place), _FILE.fullmatch(name)
    if folder is None or file is None:
        return None
    if file["document"]:
        return ClipKey(folder, "manifest" if file["document"] == "manifest" else "tombstone")
    n, ending = int(file["n"]), str(file["ending"])
    return ClipKey(folder, "poster", n) if ending == "jpg" else ClipKey(folder, "output", n, ending)


def _folder(text: str) -> ClipFolder | None:
    found = _FOLDER.fullmatch(text)
    if not found:
        return None
    take, attempt = int(found["take"]), int(found["attempt"] or 1)
    return ClipFolder(unquote(found["pipeline"]), unquote(found["row"]), found["digest"], take, attempt)


def encode_row(row: str) -> str:
    """The row id as one folder name: percent-encoded outside `A-Za-z0-9._-`. Ids of dots only are encoded too."""
    return quote(row, safe="").replace("~", "%7E") if row.strip(".") else row.replace(".", "%2E")
