"""Giving a row or a pipeline another name, in the ledger and in the store's index of names. Clips stay where they are.

The store is told first what will be, then the ledger renames in one transaction, then the store is told again what came
in between. A run that was killed is repeated, and goes on where it was; `verify` names what it left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.layout import NamesKey, parse_folder, task_folder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import iso
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.renaming import Renaming
from pixverse_dagster.stages.store import enter_store
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.documents import put_document
from pixverse_dagster.storage.names import NamesDocument, RowName, own_name, read_names

_MAX_ATTEMPTS = 50


def rename(ledger: Ledger, store: ClipStore, renaming: Renaming, now: float) -> list[Task]:
    """Make a renaming, or bring it to its end; returns the tasks that have the new name. Repeatable.

    Raises PixverseError where it cannot be made, or the store's own error; then nothing was renamed in the ledger.
    """
    made = ledger.names.was_made(renaming)
    if not made:
        ledger.names.check(renaming, now)
        tasks = ledger.tasks.find(renaming.pipeline, keys=[renaming.row] if renaming.row else None)
        enter_store(store, ledger.id, _pipeline(renaming))
        write_names(store, renaming, [(task, _renamed(task, renaming)) for task in tasks], now)
        ledger.names.make(renaming, now)
    tasks = ledger.tasks.find(_pipeline(renaming), keys=[renaming.new] if renaming.row else None)
    enter_store(store, ledger.id, _pipeline(renaming))
    write_names(store, renaming, [(task, RowName(pipeline=task.pipeline, row=task.row)) for task in tasks], now)
    return tasks


def write_names(store: ClipStore, renaming: Renaming, named: Sequence[tuple[Task, RowName]], now: float) -> None:
    """Have the store's index say what the clips of these tasks are called. Writes only what it does not say yet."""
    # Where two tasks have a folder, it is that one's whose clip is there: the other one's goes beside it.
    ordered = sorted(named, key=lambda one: one[0].state in {TaskState.STORED, TaskState.FORGOTTEN})
    owners = {str(task_folder(task)): name for task, name in ordered if task.attempt}
    trees = {folder.pipeline for text in owners if (folder := parse_folder(text))}
    for pipeline in sorted({*trees, renaming.pipeline, _pipeline(renaming)}):
        _write(store, pipeline, owners, now)


def _write(store: ClipStore, pipeline: str, owners: Mapping[str, RowName], now: float) -> None:
    for _ in range(_MAX_ATTEMPTS):
        names = read_names(store, pipeline)
        folders = _with(names.folders, pipeline, owners.items())
        if folders == dict(names.folders):
            return
        number = 1 + max(names.documents, default=0)
        document = NamesDocument(pipeline=pipeline, at=iso(now), folders=folders)
        if put_document(store, str(NamesKey(pipeline, number)), document):
            return
    raise PixverseError(f"other writers kept renaming in {store.uri(pipeline)}. Run it again; nothing is paid for")


def _with(known: Mapping[str, RowName], pipeline: str, owners: Iterable[tuple[str, RowName]]) -> dict[str, RowName]:
    """What a pipeline's document has to say: of its own folders that are another's, and of others' that are its own."""
    found = dict(known)
    for text, owner in owners:
        folder = parse_folder(text)
        found.pop(text, None)
        if folder and owner != own_name(folder) and pipeline in {folder.pipeline, owner.pipeline}:
            found[text] = owner
    return dict(sorted(found.items()))


def _pipeline(renaming: Renaming) -> str:
    return renaming.new_names["pipeline"]


def _renamed(task: Task, renaming: Renaming) -> RowName:
    return RowName(pipeline=_pipeline(renaming), row=renaming.new if renaming.row else task.row)
