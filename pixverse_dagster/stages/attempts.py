"""The folder of an attempt: where something else stands in a task's own, its clips go to the next free one."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from pixverse_dagster.core.errors import StoreConflict
from pixverse_dagster.core.layout import ClipFolder, ClipKey, parse, task_folder
from pixverse_dagster.core.lifecycle import HAS_RESULT, TaskState
from pixverse_dagster.core.task import Applied, Task, latest
from pixverse_dagster.ledger.files import ClipFile
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.transport.logs import get_logger

_log = get_logger()


class FolderTaken(StoreConflict):
    """Something that is not the task's own stands in its folder. Nothing was overwritten."""


def check_folder(store: ClipStore, folder: ClipFolder, present: Sequence[str], recorded: Sequence[ClipFile]) -> None:
    """Raise FolderTaken if files of clips are there that are not on record for the task.

    Whether those that are on record have the bytes that they should have is seen when they are read.
    """
    own = {file.key for file in recorded}
    for key in sorted(present):
        if key != folder.manifest and key not in own and isinstance(parse(key), ClipKey):
            raise FolderTaken(f"{store.uri(key)} is not of this task: it is not on record for it in the ledger")


def lost_file(session: Session, task: Task, what: str) -> StoreConflict:
    """An error that says which file of a clip is gone, and what a person can do."""
    return StoreConflict(
        f"{what}. The clip is paid for, and is not paid for again by itself. Put the file back, from a backup or an "
        "earlier version of the object, and run this again, which is free: with all videos there, a manifest and "
        "posters are made again. If it is lost, another take is another clip, and is paid for: "
        f"{session.commands.tasks('retry', task.row, '--take')}"
    )


@contextmanager
def inside(store: ClipStore, folder: ClipFolder) -> Generator[None]:
    """A directory where a file should be, or a file where the folder should be, takes the folder like any other."""
    try:
        yield
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        if not str(error.filename).startswith(store.uri(str(folder))):
            raise
        raise FolderTaken(f"{error.filename} is not of this task ({error.strerror})") from None


def move_on(session: Session, store: ClipStore, task: Task, taken: FolderTaken) -> Task:
    """The task with another folder: the next free one, or the one that another collector has moved it to.

    Raises StoreConflict for a task that is stored already: its clip stays where the ledger says that it is.
    """
    if task.state is not TaskState.SUCCEEDED:
        raise StoreConflict(
            f"{taken}. Nothing was overwritten. The clip is paid for, and is not paid for again by itself. Put the "
            "clip's own file back there, or take away what stands there: a manifest is written again, free, as long as "
            f"the clip's files are in the store. All that differs: {session.commands.render('verify')}"
        )
    move = session.ledger.relocate(task, str(_next_folder(session, store, task)))
    after = latest(move)
    if after.state not in HAS_RESULT:
        raise taken
    if isinstance(move, Applied):
        _log.warning(
            "row %r: %s. Nothing was overwritten; the clip of task %s goes to %s",
            task.row, taken, task.task_id, store.uri(after.folder),
        )  # fmt: skip
    return after


def _next_folder(session: Session, store: ClipStore, task: Task) -> ClipFolder:
    """The first folder after the task's own that has no file of a clip and is not another claim's."""
    own = task_folder(task)
    of_row = str(own).rpartition("/")[0]
    keys = (parse(key) for key in store.keys(f"{of_row}/"))
    taken = {str(key.folder) for key in keys if isinstance(key, ClipKey)}
    taken |= {one.folder for one in session.ledger.tasks.claims(task)}
    later = (replace(own, attempt=number) for number in itertools.count(own.attempt + 1))
    return next(folder for folder in later if str(folder) not in taken)
