"""What the clips of a pipeline are called, by the store's `names/` and by the ledger."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from pixverse_dagster.core.layout import (
    ClipFolder,
    ClipKey,
    clips_prefix,
    names_prefix,
    parse,
    pipeline_prefix,
    task_folder,
)
from pixverse_dagster.core.task import Task
from pixverse_dagster.reports.verify.findings import Discrepancy
from pixverse_dagster.reports.verify.kinds import NAMES_DIFFER
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.names import Names, RowName, read_names


class PipelineNames:
    """The names of a pipeline's clips. Raises StoreConflict where the store's documents cannot be read."""

    def __init__(self, store: ClipStore, pipeline: str, trees: Collection[str]) -> None:
        self.pipeline = pipeline
        self.trees = sorted({pipeline, *trees})
        """The pipelines, by the names that they once had, in whose folders the clips are."""
        self._store = store
        self._by_tree: dict[str, Names] = {tree: read_names(store, tree) for tree in self.trees}

    def keys(self) -> Iterator[str]:
        """Every key of the pipeline: what is below its own name, and its clips below its former names."""
        for tree in self.trees:
            for key in self._store.keys(pipeline_prefix(tree) if tree == self.pipeline else clips_prefix(tree)):
                known = parse(key)
                if isinstance(known, ClipKey) and self.owner(known.folder).pipeline != self.pipeline:
                    continue
                if isinstance(known, ClipKey) or tree == self.pipeline:
                    yield key

    def owner(self, folder: ClipFolder) -> RowName:
        """Whose clips a folder has, as they are called now by the store."""
        return self._of(folder.pipeline).owner(folder)

    def called(self, task: Task) -> set[tuple[str, str]]:
        """What the manifest may call the task's pipeline and row."""
        folder = task_folder(task)
        return {(task.pipeline, task.row)} | self._of(folder.pipeline).called(folder)

    def compare(self, tasks: Sequence[Task]) -> Iterator[Discrepancy]:
        """Where the ledger calls the clips of these tasks otherwise than the store does."""
        for task in tasks:
            folder, name = task_folder(task), RowName(pipeline=task.pipeline, row=task.row)
            for tree in dict.fromkeys((folder.pipeline, self.pipeline)):
                owner = self._of(tree).owner(folder)
                if owner != name:
                    message = (
                        f"{folder} has clips of row {task.row!r} by the ledger, and of {owner.row!r} of "
                        f"{owner.pipeline!r} by the store's names: a `ledger rename` did not come to its end, or is "
                        "unknown to the one of them"
                    )
                    where = self._store.uri(names_prefix(tree))
                    yield Discrepancy(task.row, where, message, NAMES_DIFFER, task.id)

    def _of(self, tree: str) -> Names:
        if tree not in self._by_tree:
            self._by_tree[tree] = read_names(self._store, tree)
        return self._by_tree[tree]
