"""A pipeline of a few dozen clips in a store, with all that a gallery has to show; made from files, in a second or two.

The clips are small and real: one film for each shape, to each of which bytes of its own are added, so that no two are
alike. The ledger has the tasks that their manifests tell of, and rows in every other state.
"""

from __future__ import annotations

import hashlib
import json
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from mimetypes import guess_type
from pathlib import Path
from typing import Any

from pixverse_dagster.core.layout import ClipFolder, task_folder
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.manifest import ClipFacts, ClipManifest, ClipOutput
from pixverse_dagster.core.outcomes import Accepted, Failed, Succeeded
from pixverse_dagster.core.provenance import Found, Origin, build_manifest, restore_tasks
from pixverse_dagster.core.row import Problem, RawRow, Row
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.media.probe import look_at
from pixverse_dagster.reports.gallery.writer import WrittenGallery, write_gallery
from pixverse_dagster.stages.store import enter_store
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.tables.parse import Draft, TableRules, parse_row
from pixverse_dagster_tests.harness.factories import (
    CELLS,
    HIGHWAY,
    LABELS,
    NAME,
    NOW,
    PIXWITH,
    RUN,
    RUNWARE,
    make_row,
    moved,
)
from pixverse_dagster_tests.harness.films import Film, film
from pixverse_dagster_tests.harness.hostile import IDS
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.manifests import task_of

CANARY = "canary-8d1f70c2b4e94d5f"  # in every place where a secret may come in; it must come out nowhere
CANARY_LINK = f"https://results.example.org/clip.mp4?X-Amz-Signature={CANARY}"
PROMPT = "A violinist plays on a rooftop at dusk, slow dolly in, film grain"
"""The prompt that most clips have in common."""
_IMAGE = f"https://assets.example.org/kite.png?X-Amz-Signature={CANARY}"
SHAPES: Mapping[str, Film] = {
    **{f"{seconds} s": Film(seconds=seconds, size=(640, 360), sound=seconds == 8) for seconds in (3, 4, 5, 6, 8)},
    "wide": Film(seconds=1.2, size=(320, 180)),
    "tall": Film(seconds=2, size=(180, 320)),
    "square": Film("fading", seconds=0.8, size=(240, 240)),
    "sound": Film(seconds=1.5, size=(320, 180), sound=True),
    "webm": Film(seconds=0.6, size=(320, 180), container="webm"),
    "mov": Film(seconds=1, size=(320, 180), container="mov"),
}
HOSTILE: Sequence[str] = (
    "<script>window.ran = 1</script>",
    "<img src=x onerror='window.ran = 2'>",
    '"><svg onload="window.ran = 3">',
    "</script><script>window.ran = 4</script>",
    "<!--<script>",
    "javascript:window.ran = 5",
    "{{constructor.constructor('window.ran = 6')()}} ${window.ran = 7} <%= 7 * 7 %>",
    "'); window.ran = 8; gallery('index', '{}",
    "\\'); window.ran = 9; //",
    "a\u2028b\u2029c",
    "right \u202eto left\u202c and \u2066isolated",
    "a NUL \x00, an escape \x1b[31m, a bell \x07",
    "half of a pair \ud83d end",
    "__proto__",
    "constructor",
    '=HYPERLINK("http://evil.example.org","x")',
    "+1+cmd|' /C calc'!A0",
    "-5",
    "@SUM(A1)",
    "\ttab first",
    "line\nfeed\r\nand return",
    "x" * 7_500,
    "שלום عليكم שלום",
    "👩‍👩‍👧‍👦 é e\u0301 \ufb01 \uff26",
    "&lt;b&gt; &amp; &#x27;",
    "url(javascript:alert(1)) expression(1) @import 'x'",
    "http://evil.example.org/x.png https://evil.example.org/?q=1",
    "",
    "   ",
)
"""Texts that stand for prompts and labels, whatever wrote them into the manifest."""
ODD_ROWS: Sequence[str] = (
    "a/b", "what?", "#1", "50%", "%2F", "a&b=c", "it's \"so\"", "..", ".", "a b", "-5", "=1+1", "__proto__",
    "<b>bold</b>", "é", "🪁", "a\\b", "C:\\x", "sc01/sh004 [a, \"b\"] 'c' #1", "~root", "x" * 120, "a+b", "a,b", "a;b",
)  # fmt: skip
"""Names of rows that a link could lead astray."""


@dataclass(frozen=True)
class Shot:
    """A row, and what it becomes: a shape for each clip, and what its manifest says instead of what the row says."""

    row: Row
    shapes: tuple[str, ...] = ("wide",)
    claim: int = 1
    failed_before: bool = False
    words: Mapping[str, Any] = field(default_factory=dict[str, Any])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    at: float = NOW


@dataclass(frozen=True)
class Films:
    """A pipeline's ledger and store, and where its clips are."""

    root: Path
    store: LocalStore
    ledger: Ledger
    pipeline: str = NAME

    @property
    def folder(self) -> Path:
        """The gallery's folder."""
        return self.root / self.pipeline / "gallery"

    @property
    def page(self) -> Path:
        """The page."""
        return self.folder / "index.html"

    def clip(self, card_id: str, ending: str) -> Path:
        """A file of a clip, by the clip's id on the page."""
        return self.root / self.pipeline / "clips" / f"{card_id}.{ending}"

    def write(self, **options: Any) -> WrittenGallery:
        """Write the gallery."""
        return write_gallery(self.ledger, self.store, self.pipeline, **options)

    def add(self, *shots: Shot) -> list[Task]:
        """Store these clips, as a collect run leaves them."""
        return [self._add(shot) for shot in shots]

    def _add(self, shot: Shot) -> Task:
        earlier = [_failed(shot)] if shot.failed_before else []
        task = task_of(shot.row, **_given(shot))
        folder = task_folder(task)
        outputs = [self._put(folder, n, shape, f"{shot.row.id}/{n}") for n, shape in enumerate(shot.shapes, 1)]
        manifest = build_manifest(task, [*earlier, task], outputs, Origin("a-ledger", RUN, "1.0", shot.at + 3))
        manifest = _reworded(manifest, shot)
        data = json.dumps(manifest.model_dump(mode="json")).encode()
        self._write(folder.manifest, data)
        found = Found(self.ledger.id, str(folder), hashlib.sha256(data).hexdigest(), shot.at + 4)
        return moved(self.ledger.take_in(restore_tasks(manifest, shot.row.request, shot.row.images, found))[-1])

    def _put(self, folder: ClipFolder, n: int, shape: str, own: str) -> ClipOutput:
        facts, data, poster = _clip(shape)
        data += _padding(facts.container, own)
        output = ClipOutput(
            **facts.model_dump(),
            n=n,
            key=folder.output(n, facts.container),
            poster_key=folder.poster(n),
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            poster_sha256=hashlib.sha256(poster).hexdigest(),
            poster_size_bytes=len(poster),
            seed=42,
        )
        self._write(output.key, data)
        self._write(output.poster_key, poster)
        return output

    def _write(self, key: str, data: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def make_films(folder: Path, pipeline: str = NAME) -> Films:
    """An empty ledger and store in this folder."""
    ledger, store = Ledger(open_engine(ledger_in(folder))), LocalStore(folder / "store")
    enter_store(store, ledger.id, pipeline)
    return Films(folder / "store", store, ledger, pipeline)


def fill(films: Films) -> None:
    """Everything that the browser tests look at."""
    shots = [*compared(), *ordinary(), *hostile(), *odd()]
    waiting = [make_row(f"open-{state}", prompt=f"A row that is {state}", campaign="rain-series") for state in _OPEN]
    films.ledger.rows.record(films.pipeline, [*(shot.row for shot in shots), *waiting], list(_problems()), RUN, NOW)
    films.add(*shots)
    for row, state in zip(waiting, _OPEN, strict=True):
        _bring_about(films, row, state)


def compared() -> Iterator[Shot]:
    """Eight clips of one prompt: several models and takes, unequal lengths, and one that had to be tried twice."""
    given = [
        (RUNWARE, 1, "wide"),
        (RUNWARE, 2, "tall"),
        (RUNWARE, 3, "sound"),
        (PIXWITH, 1, "wide"),
        (PIXWITH, 2, "webm"),
    ]
    for n, (model, take, shape) in enumerate(given):
        yield Shot(_row(f"violin-{n}", model, PROMPT, take=take), (shape,), at=NOW + 1000 + n)
    yield Shot(_row("violin-two", PIXWITH, PROMPT, take=3), ("mov",), claim=2, failed_before=True, at=NOW + 1010)
    yield Shot(_row("violin-gone", PIXWITH, PROMPT, take=4), ("square",), at=NOW + 1011)
    yield Shot(_row("violin-pair", PIXWITH, PROMPT, take=5), ("wide", "tall"), at=NOW + 1012)


def ordinary() -> Iterator[Shot]:
    """Clips with labels, for filters and search, and one from an image."""
    words = (
        "A kite festival on a windy beach",
        "A blacksmith at the forge",
        "A café at dawn, Zürich",
        "Fog over a lake",
    )
    campaigns = ("spring-launch", "rain-series", "café-menu")
    for n in range(24):
        row = _row(f"shot-{n:02}", (RUNWARE, PIXWITH)[n % 2], f"{words[n % 4]}, {n}", campaign=campaigns[n % 3])
        yield Shot(row, (("wide", "tall", "square", "sound")[n % 4],), at=NOW + 86_400 * (n // 6) + n)
    yield Shot(make_row("from-image", HIGHWAY, prompt="The picture comes alive", image=_IMAGE), at=NOW + 900)


def hostile() -> Iterator[Shot]:
    """Each hostile text as prompt, label, account and note."""
    for n, text in enumerate(HOSTILE):
        row = _row(f"hostile-{n:02}", RUNWARE, f"hostile {n}")
        labels = {"campaign": text, "__proto__": text} if n % 2 else {"campaign": text, text[:40] or "empty": "x"}
        yield Shot(row, words={"prompt": text}, labels=labels, at=NOW + 500 + n)


def odd() -> Iterator[Shot]:
    """Rows with odd names, as far as a table may have them; and names of the hostile tables."""
    for n, name in enumerate(dict.fromkeys([*ODD_ROWS, *IDS[:12]])):
        cells = {**CELLS[RUNWARE], "id": name, "model": RUNWARE, "prompt": f"odd row {n}"}
        drafted = parse_row(RawRow(2, cells), TableRules(labels=LABELS))
        if isinstance(drafted, Draft):
            yield Shot(drafted.complete({}), at=NOW + 100 + n)


def _row(name: str, model: str, prompt: str, **cells: Any) -> Row:
    return make_row(name, model, prompt=prompt, **cells)


def _given(shot: Shot) -> dict[str, Any]:
    return {
        "claim": shot.claim,
        "attempt": shot.claim,
        "claimed_at": shot.at,
        "submitted_at": shot.at + 1,
        "finished_at": shot.at + 2,
        "cost_usd": 0.1 + 0.01 * (int(shot.at) % 7),
    }


def _failed(shot: Shot) -> Task:
    return task_of(
        shot.row,
        id="earlier",
        claim=1,
        attempt=1,
        state=TaskState.FAILED,
        kind=FailureKind.PROVIDER_ERROR,
        reason=f"internal error, see {CANARY_LINK}",
        finished_at=NOW + 3,
    )


def _reworded(manifest: ClipManifest, shot: Shot) -> ClipManifest:
    """The manifest as other software might have written it."""
    return manifest.model_copy(
        update={
            "request": {**manifest.request, **shot.words},
            "labels": {**manifest.labels, **shot.labels},
            "note": f"from {CANARY_LINK}",
        }
    )


_OPEN = (*(state for state in TaskState if state not in {TaskState.STORED, TaskState.FORGOTTEN}), "new")


def _bring_about(films: Films, row: Row, state: str) -> None:
    """A task of the row in this state, by the ledger's own moves; none for a row that is new."""
    if state == "new":
        return
    ledger = films.ledger
    task, _ = ledger.claim(
        films.pipeline, row, ClaimTerms(RUN, NOW, 60, account="runware/simulator", world="simulator")
    )
    if state in {TaskState.SUBMITTED, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.ABANDONED}:
        task = ledger.accept(task, Accepted(f"task-{row.id}"), NOW + 1, NOW + 9).task
    match state:
        case TaskState.SUCCEEDED:
            moved(ledger.succeed(task, Succeeded((CANARY_LINK,), cost_usd=0.1), NOW + 2))
        case TaskState.FAILED:
            moved(
                ledger.fail(task, Failed(FailureKind.MODERATED, f"refused by <b>moderation</b> {CANARY_LINK}"), NOW + 2)
            )
        case TaskState.ABANDONED:
            moved(ledger.abandon(task, "given up", "by hand"))
        case TaskState.REFUSED:
            moved(ledger.refuse(task, "the account has no credit"))
        case TaskState.UNKNOWN:
            moved(ledger.mark_unknown(task, "no answer came", None))
        case _:
            pass


def _problems() -> Iterator[Problem]:
    yield Problem(7, "", "prompt", "a prompt is missing <script>window.ran = 10</script>")
    yield Problem(8, "bad/row", "resolution", "'4k' is not one of 360p, 540p, 720p, 1080p")


@cache
def _clip(shape: str) -> tuple[ClipFacts, bytes, bytes]:
    """The facts, the bytes and the poster of a clip of this shape."""
    with tempfile.TemporaryDirectory() as folder:
        path = film(Path(folder) / f"clip.{SHAPES[shape].container}", SHAPES[shape])
        look = look_at(path)
        return look.facts, path.read_bytes(), look.poster


def _padding(container: str, own: str) -> bytes:
    """What players skip, with bytes of the clip's own: a box of MP4, a Void of WebM."""
    unique = hashlib.sha256(own.encode(errors="replace")).digest()
    if container == "webm":
        return b"\xec" + bytes([0x80 | len(unique)]) + unique
    return struct.pack(">I4s16s", 8 + 16 + len(unique), b"uuid", bytes(16)) + unique


def put_all(films: Films, store: ClipStore) -> None:
    """Copy the clips of a folder into another store."""
    for path in sorted(films.root.rglob("*")):
        if path.is_file():
            key, data = path.relative_to(films.root).as_posix(), path.read_bytes()
            with tempfile.NamedTemporaryFile() as file:
                Path(file.name).write_bytes(data)
                store.put_new(
                    key, Path(file.name), sha256=hashlib.sha256(data).hexdigest(), content_type=guess_type(key)[0] or ""
                )
