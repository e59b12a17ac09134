"""A stored clip as it stands in its folder: its manifest, its outputs and its posters."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pixverse_dagster.core.errors import ClipInvalid, StoreConflict
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.manifest import ClipFacts, ClipManifest, ClipOutput
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import Digest
from pixverse_dagster.media.inspect import inspect_clip
from pixverse_dagster.media.probe import look_at
from pixverse_dagster.policy.quality import CheckRules
from pixverse_dagster.reports.verify import kinds
from pixverse_dagster.reports.verify.findings import Discrepancy, Kind
from pixverse_dagster.reports.verify.manifests import Files, Known, compare_manifest
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.reading import copy_hashed, copy_to_file, read_bytes

_FACTS = tuple(name for name in ClipFacts.model_fields if name != "unread")


@dataclass(frozen=True)
class Compared:
    """What was found of one stored clip.

    `sha256` are those of its outputs by its manifest, `keys` the files that it accounts for.
    """

    task: Task
    found: tuple[Discrepancy, ...] = ()
    sha256: tuple[str, ...] = ()
    keys: frozenset[str] = field(default_factory=frozenset[str])
    bytes_read: int = 0


def compare_clip(store: ClipStore, task: Task, known: Known, *, deep: bool) -> Compared:
    """Compare a stored task with its manifest, and that with its files. Raises the store's own error."""
    key = task_folder(task).manifest

    def name(where: str, kind: Kind, words: str) -> Discrepancy:
        return Discrepancy(task.row, store.uri(where), words, kind, task.id, where)

    try:
        text = read_bytes(store, key)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        missing = name(key, kinds.MANIFEST_MISSING, "the ledger says stored, but there is no manifest")
        return Compared(task, (missing,), keys=frozenset(known.files))
    try:
        manifest = ClipManifest.parse(text, store.uri(key))
    except StoreConflict as error:
        unreadable = name(key, kinds.MANIFEST_UNREADABLE, str(error))
        return Compared(task, (unreadable,), keys=frozenset({key, *known.files}))
    found = [name(key, kind, words) for kind, words in compare_manifest(task, text, manifest, known)]
    files = _Files(store, known.files, deep=deep)
    for output in manifest.outputs:
        found += [name(where, kind, words) for where, kind, words in files.compare(output)]
    keys = frozenset({key, *(one for output in manifest.outputs for one in (output.key, output.poster_key))})
    return Compared(
        task, tuple(found), tuple(output.sha256 for output in manifest.outputs), keys, len(text) + files.bytes_read
    )


class _Files:
    """Compares the files of a clip with what its manifest says of them."""

    def __init__(self, store: ClipStore, recorded: Files, *, deep: bool) -> None:
        self._store = store
        self._recorded = recorded
        self._deep = deep
        self.bytes_read = 0

    def compare(self, output: ClipOutput) -> Iterator[tuple[str, Kind, str]]:
        """What is wrong with an output and its poster: the key, the kind and the words."""
        for kind, words in self._compare_poster(output):
            yield output.poster_key, kind, words
        for kind, words in self._compare_video(output):
            yield output.key, kind, words

    def _compare_poster(self, output: ClipOutput) -> Iterator[tuple[Kind, str]]:
        said = Digest(output.poster_sha256, output.poster_size_bytes)
        known = {said} if said.sha256 else set(self._recorded.get(output.poster_key, ()))
        size = self._size(output.poster_key)
        if size is None:
            if said.sha256:
                yield kinds.POSTER_MISSING, "is missing"
            return
        if not known:
            yield kinds.STRAY, "is in the store, but the manifest knows no poster, nor is one on record in the ledger"
        elif size not in {one.size_bytes for one in known}:
            who = "the manifest says" if said.sha256 else "the ledger has on record"
            sizes = " or ".join(sorted(str(one.size_bytes) for one in known))
            yield kinds.POSTER_CHANGED, f"holds {size} bytes, {who} {sizes}"
        elif self._deep and self._digest(output.poster_key) not in known:
            yield kinds.POSTER_CHANGED, "its sha256 is not the manifest's: the bytes were changed"

    def _compare_video(self, output: ClipOutput) -> Iterator[tuple[Kind, str]]:
        size = self._size(output.key)
        if size is None:
            yield kinds.CLIP_MISSING, "is missing"
        elif size != output.size_bytes:
            yield kinds.CLIP_SIZE, f"holds {size} bytes, the manifest says {output.size_bytes}"
        elif self._deep:
            with tempfile.TemporaryDirectory(prefix="pixverse-verify-") as folder:
                path = Path(folder) / "clip"
                read = copy_to_file(self._store, output.key, path)
                self.bytes_read += read.size_bytes
                if read.sha256 != output.sha256:
                    yield kinds.CLIP_CHANGED, "its sha256 is not the manifest's: the bytes were changed"
                else:
                    yield from _compare_facts(path, output)

    def _digest(self, key: str) -> Digest:
        with self._store.open(key) as file:
            read = copy_hashed(file)
        self.bytes_read += read.size_bytes
        return read

    def _size(self, key: str) -> int | None:
        try:
            return self._store.size_bytes(key)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None


def _compare_facts(path: Path, output: ClipOutput) -> Iterator[tuple[Kind, str]]:
    """What the file itself says, whole and decoded. One that could not be decoded when it was stored is as it was."""
    try:
        look = look_at(path)
    except ClipInvalid as error:
        yield kinds.CLIP_FACTS, f"is no clip: {error}"
        return
    if output.unread:
        return
    if problem := look.facts.unread or inspect_clip(path, CheckRules()).problem:
        yield kinds.CLIP_FACTS, f"does not decode to its end: {problem}"
        return
    for name in _FACTS:
        came, said = getattr(look.facts, name), getattr(output, name)
        if came != said:
            yield kinds.CLIP_FACTS, f"its {name} is {came!r}, and {said!r} by the manifest"
