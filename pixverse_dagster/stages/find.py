"""Searching a store for what was paid for before, by whichever ledger. Only reads.

`search_store` answers for rows that are about to be paid for; `read_folders` goes through everything of a pipeline.
Whose a folder is, `storage.names` says: rows and pipelines may have been renamed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from pixverse_dagster.core.errors import PixverseError, StoreConflict
from pixverse_dagster.core.layout import (
    DIGEST_DIGITS,
    ClipFolder,
    ClipKey,
    clips_prefix,
    encode_row,
    parse,
    parse_folder,
)
from pixverse_dagster.core.manifest import CheckedImage, ClipManifest, InputImage, World
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.text import shorten
from pixverse_dagster.core.tombstone import Tombstone
from pixverse_dagster.core.values import chunked
from pixverse_dagster.stages.changed_images import is_behind_url, with_older_images
from pixverse_dagster.stages.waiting import Workers
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.names import Names, read_names

T = TypeVar("T")
R = TypeVar("R")

MAX_ROWS_BY_PREFIX = 200
"""Up to so many rows are looked for in their own folders; more are found in one listing of the pipeline's clips."""
_READERS = 8
_MAX_DOCUMENT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class FolderReading:
    """What stands in the folder of one attempt: a manifest, a tombstone, or neither, and then `problem` says why.

    A manifest or tombstone belongs there: names, take and digest were compared. `row` is what its row is called now.
    """

    folder: ClipFolder
    row: str
    manifest: ClipManifest | None = None
    manifest_sha256: str = ""
    tombstone: Tombstone | None = None
    problem: str = ""


@dataclass(frozen=True)
class StoredClip:
    """A complete clip in the store."""

    folder: ClipFolder
    manifest: ClipManifest
    manifest_sha256: str


@dataclass(frozen=True)
class InStore:
    """The request was paid for and its clip is there; of several attempts every one, the newest last."""

    clips: tuple[StoredClip, ...]

    @property
    def newest(self) -> StoredClip:
        """The clip of the newest attempt."""
        return self.clips[-1]


@dataclass(frozen=True)
class ImageChanged:
    """The request is there with other bytes behind the address of an image; `row` is the row as it was paid for."""

    clip: StoredClip
    row: Row


@dataclass(frozen=True)
class Forgotten:
    """The request was paid for, and its clip was deleted because a person asked for it."""

    folder: ClipFolder
    tombstone: Tombstone


@dataclass(frozen=True)
class Unclear:
    """Something stands in the place of the row's clip that cannot be read: nobody knows whether it was paid for."""

    problem: str


StoreAnswer = InStore | ImageChanged | Forgotten | Unclear
"""What a store holds of a row's request. A row without an answer has nothing there."""


def search_store(
    store: ClipStore,
    pipeline: str,
    rows: Sequence[Row],
    worlds: Mapping[str, World],
    *,
    pay_for_changed_images: bool = False,
) -> dict[str, StoreAnswer]:
    """What the store holds for the present requests of these rows, by row id; rows it has nothing for are absent.

    `worlds` says by provider which world counts: what was made in the other one is passed over, and rows of providers
    that are not in it are not looked for. Up to 200 rows cost a listing each, of the row's folder; more cost one of all
    clips of the pipeline. Besides, every folder of a request is read once. What cannot be read stops no other row.

    Raises the store's own error if a listing fails: then nothing is known of any row.
    """
    wanted = {row.id: row for row in rows if row.request.provider() in worlds}
    names = read_names(store, pipeline)
    matching = [
        (folder, kinds)
        for folder, kinds in _list_rows(store, names, wanted)
        if _may_answer(wanted[names.owner(folder).row], folder, pay_for_changed_images)
    ]
    readings: dict[str, list[FolderReading]] = {}
    for reading in _in_threads(matching, lambda one: read_folder(store, names, *one)):
        readings.setdefault(reading.row, []).append(reading)
    answers = {row: _answer(wanted[row], readings[row], worlds) for row in wanted if row in readings}
    return {row: answer for row, answer in answers.items() if answer is not None}


def read_folders(store: ClipStore, pipeline: str) -> Iterator[FolderReading]:
    """What stands in every folder of the pipeline's clips that has a manifest or a tombstone, in the store's order.

    Reads them one after another, a few ahead: memory does not grow with the store. Damaged, later and misplaced
    documents are readings with a problem. Folders without either, of clips that are not complete, are left out.

    Raises the store's own error if the listing fails.
    """
    names = read_names(store, pipeline)
    folders = ((folder, kinds) for folder, kinds in _list_pipeline(store, names) if kinds)
    yield from _in_threads(folders, lambda one: read_folder(store, names, *one))


def read_folder(store: ClipStore, names: Names, folder: ClipFolder, kinds: Iterable[str]) -> FolderReading:
    """What stands in a folder that has documents of these kinds: `manifest`, `tombstone`. A tombstone counts first."""
    forgotten, row = "tombstone" in kinds, names.owner(folder).row
    key = folder.tombstone if forgotten else folder.manifest
    where = store.uri(key)
    try:
        text = _read(store, key)
        if forgotten:
            tombstone = Tombstone.read(text, where)
            _check_place(
                names, folder, where, (tombstone.pipeline, tombstone.row, tombstone.request_digest, tombstone.take)
            )
            return FolderReading(folder, row, tombstone=tombstone)
        manifest = ClipManifest.parse(text, where)
        _check_place(names, folder, where, (manifest.name, manifest.row, manifest.request_digest, manifest.take))
        return FolderReading(folder, row, manifest, hashlib.sha256(text).hexdigest())
    except FileNotFoundError:
        problem = f"{where} was there and is gone. Run again"
    except PixverseError as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001 - a store's own errors have no common base, and this folder's are its own
        why = shorten(redact_text(f"{type(error).__name__}: {error}"), 300)
        problem = f"{where} cannot be read ({why}). Run again"
    return FolderReading(folder, row, problem=problem)


def _check_place(names: Names, folder: ClipFolder, where: str, says: tuple[str, str, str, int]) -> None:
    """Raise StoreConflict where a document says that it is of another row, request or take than its folder is."""
    pipeline, row, digest, take = says
    if (pipeline, row) in names.called(folder) and (digest[:DIGEST_DIGITS], take) == (folder.digest12, folder.take):
        return
    raise StoreConflict(
        f"{where} says that it is of row {row!r} of {pipeline!r}, take {take}, digest {digest[:DIGEST_DIGITS]}, which "
        f"is not what belongs there. {_REMEDY}"
    )


_REMEDY = "Nothing was overwritten, and nothing is paid for; put the file back as it was"


def images_of(manifest: ClipManifest, request: Request) -> dict[str, InputImage]:
    """The manifest's images as they were paid for, by the references that this request has in the same places."""
    places = request.image_places()
    if [(role, name) for role, name, _ in places] != [(image.role, image.name) for image in manifest.images]:
        return {}
    known = CheckedImage.model_fields
    return {
        reference: InputImage(**{name: getattr(image, name) for name in known})
        for (_, _, reference), image in zip(places, manifest.images, strict=True)
    }


def _may_answer(row: Row, folder: ClipFolder, pay_for_changed_images: bool) -> bool:  # noqa: FBT001 - passed on
    """Whether the folder may hold the row's request, or the same one with other bytes behind an image's address."""
    if folder.take != row.take:
        return False
    changed = not pay_for_changed_images and any(map(is_behind_url, row.images.values()))
    return changed or folder.digest12 == row.digest[:DIGEST_DIGITS]


def _answer(row: Row, readings: Sequence[FolderReading], worlds: Mapping[str, World]) -> StoreAnswer | None:
    world = worlds[row.request.provider()]
    same = [one for one in readings if one.folder.digest12 == row.digest[:DIGEST_DIGITS]]
    for one in same:
        if one.tombstone and (one.tombstone.request_digest, one.tombstone.world) == (row.digest, world):
            return Forgotten(one.folder, one.tombstone)
    clips = [
        StoredClip(one.folder, one.manifest, one.manifest_sha256)
        for one in readings
        if one.manifest and (one.manifest.world, one.manifest.take) == (world, row.take)
    ]
    clips.sort(key=lambda clip: (clip.folder.attempt, clip.manifest.stored_at))
    if found := tuple(clip for clip in clips if clip.manifest.request_digest == row.digest):
        return InStore(found)
    if problems := [one.problem for one in same if one.problem]:
        return Unclear(problems[0])
    for clip in reversed(clips):
        if kept := with_older_images(row, images_of(clip.manifest, row.request), clip.manifest.request_digest):
            return ImageChanged(clip, kept)
    return None


def _list_rows(store: ClipStore, names: Names, rows: Collection[str]) -> Iterator[tuple[ClipFolder, frozenset[str]]]:
    """The folders of these rows that have a manifest or a tombstone. Where a row's folders are is decided here."""
    if len(rows) <= MAX_ROWS_BY_PREFIX:
        prefixes = [f"{clips_prefix(names.pipeline)}{encode_row(row)}/" for row in rows]
        elsewhere = (folder for row in rows for folder in names.elsewhere(row))
        # Those that stand under the name of another row that is looked for are listed with it.
        prefixes += [f"{one}/" for one in elsewhere if one.pipeline != names.pipeline or one.row not in rows]
        listed = _in_threads(dict.fromkeys(prefixes), lambda prefix: list(_list_folders(store, prefix)))
        found = (one for of_row in listed for one in of_row if names.owner(one[0]).pipeline == names.pipeline)
    else:
        found = _list_pipeline(store, names)
    return (one for one in found if one[1] and names.owner(one[0]).row in rows)


def _list_pipeline(store: ClipStore, names: Names) -> Iterator[tuple[ClipFolder, frozenset[str]]]:
    """Every folder with clips of a pipeline, or with what is left of them."""
    elsewhere = (folder.pipeline for folder in map(parse_folder, names.folders) if folder)
    for pipeline in dict.fromkeys([names.pipeline, *elsewhere]):
        for folder, kinds in _list_folders(store, clips_prefix(pipeline)):
            if names.owner(folder).pipeline == names.pipeline:
                yield folder, kinds


def _list_folders(store: ClipStore, prefix: str) -> Iterator[tuple[ClipFolder, frozenset[str]]]:
    """Every clip folder below a prefix, and which documents it has. A store lists the keys of a folder together."""
    parsed = (found for key in store.keys(prefix) if isinstance(found := parse(key), ClipKey))
    for folder, keys in groupby(parsed, lambda key: key.folder):
        yield folder, frozenset(key.kind for key in keys) & {"manifest", "tombstone"}


def _read(store: ClipStore, key: str) -> bytes:
    with store.open(key) as file:
        text = file.read(_MAX_DOCUMENT_BYTES + 1)
    if len(text) > _MAX_DOCUMENT_BYTES:
        raise StoreConflict(f"{store.uri(key)} is too large for what it should be. {_REMEDY}")
    return text


def _in_threads(items: Iterable[T], call: Callable[[T], R]) -> Iterator[R]:
    """The results in order, a bounded number of calls at the same time and ahead of the caller."""
    workers = Workers(_READERS)
    try:
        for batch in chunked(items, _READERS * 4):
            for asked in [workers.submit(call, item) for item in batch]:
                yield asked.result()
    finally:
        workers.leave()
