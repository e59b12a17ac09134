"""Reading ledger and store for the gallery: clips in batches, so that a large pipeline takes bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pixverse_dagster.core.errors import StoreConflict
from pixverse_dagster.core.layout import ImageKey, clips_prefix, encode_row, images_prefix, parse, task_folder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import ClipManifest, ClipOutput
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.reports.gallery.cards import (
    Entry,
    lost_entry,
    open_entry,
    problem_entry,
    stored_entries,
)
from pixverse_dagster.reports.gallery.text import say
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.reading import read_manifest

WORKERS = 8
MAX_OUTPUTS = 4
"""How many clips a task has at most."""
_BATCH = 100
_OPEN_IN_FILE = 64
"""How many rows without a clip have their details in one file, on the average."""


@dataclass(frozen=True)
class StoredClips:
    """The clips of one stored task: what is said of each, and the outputs that have a picture."""

    task: Task
    entries: list[Entry]
    outputs: tuple[ClipOutput, ...] = ()


class Sources:
    """The ledger and the store of a pipeline."""

    def __init__(self, ledger: Ledger, store: ClipStore, pipeline: str) -> None:
        self.ledger = ledger
        self.store = store
        self.pipeline = pipeline
        self.folder_name = encode_row(pipeline)
        self.worlds = ledger.worlds.find(pipeline)
        self._images: frozenset[str] | None = None

    def read_clips(self, ids: Sequence[str]) -> Iterator[StoredClips]:
        """The clips of these tasks in their order, of those that are stored now, and of the pipeline's present world.

        Raises the store's own error where it cannot be read. A manifest that is not there, or none, is on the card.
        """
        with ThreadPoolExecutor(WORKERS) as pool:
            for batch in chunked(ids, _BATCH):
                found = {task.id: task for task in self.ledger.tasks.by_id(batch) if self._is_shown(task)}
                tasks = [found[one] for one in batch if one in found]
                for task, manifest in zip(tasks, pool.map(self._read_manifest, tasks), strict=True):
                    yield self._clips(task, manifest)

    def open_entries(self) -> list[tuple[tuple[str, str], Entry]]:
        """What is said of rows without a clip, by row and digest, and of lines of the table that are no rows."""
        rows, problems = self.ledger.overview.without_clip(self.pipeline), self.ledger.rows.problems(self.pipeline)
        places = {place.row: place for place in self.ledger.queue.find(self.pipeline)} if rows else {}
        buckets = 1 << max(0, (len(rows) + len(problems)) // _OPEN_IN_FILE).bit_length()
        entries = [
            ((one.row, one.digest), open_entry(one, places.get(one.row), _bucket(one.row, buckets))) for one in rows
        ]
        taken = {str(card["id"]) for _, (card, _) in entries}
        for problem in problems:
            entry = problem_entry(problem, taken, _bucket(problem.row, buckets))
            entries.append(((problem.row, ""), entry))
            taken.add(str(entry[0]["id"]))
        return entries

    def failed_checks(self) -> list[tuple[str, list[str]]]:
        """What the checks of each clip found that failed, by its id; of a check of the whole task, at each output."""
        found: dict[str, list[str]] = {}
        for one in self.ledger.checks.failed(self.pipeline):
            folder = str(one.folder).removeprefix(clips_prefix(one.folder.pipeline))
            for n in (one.output,) if one.output else range(1, MAX_OUTPUTS + 1):
                found.setdefault(f"{folder}/{n}", []).append(say(one.detail) or "check failed")
        return sorted(found.items())

    def _is_shown(self, task: Task) -> bool:
        """Whether it is stored, and no simulator's clip among those that were paid for."""
        now_in = self.worlds.get(task.provider, task.world)
        return task.state is TaskState.STORED and task.world in {"live", now_in}

    def _read_manifest(self, task: Task) -> ClipManifest | str:
        try:
            return read_manifest(self.store, task_folder(task).manifest)
        except FileNotFoundError:
            return "its manifest is not in the store"
        except StoreConflict:
            return "its manifest in the store cannot be read"

    def _clips(self, task: Task, manifest: ClipManifest | str) -> StoredClips:
        if isinstance(manifest, str):
            return StoredClips(task, [lost_entry(task, manifest)])
        thumbs = self._input_pictures() if manifest.images else frozenset[str]()
        return StoredClips(task, stored_entries(task, manifest, thumbs), manifest.outputs)

    def _input_pictures(self) -> frozenset[str]:
        """The digests of the input images that have a picture in the store; listed once."""
        if self._images is None:
            keys = map(parse, self.store.keys(images_prefix(self.pipeline)))
            self._images = frozenset(key.sha256 for key in keys if isinstance(key, ImageKey) and not key.ending)
        return self._images


def _bucket(row: str, buckets: int) -> int:
    """The file of a row's details: another row that comes or goes does not change it."""
    return int(hashlib.sha256(row.encode(errors="replace")).hexdigest()[:8], 16) % buckets
