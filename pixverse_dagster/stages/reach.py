"""Asking at once about what does not come on: fresh links from the provider, and what their hosts say. Free."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pixverse_dagster.core.errors import ClipInvalid, NotSent, ReadFailed
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.task import Task
from pixverse_dagster.media.probe import find_container
from pixverse_dagster.stages.poll import refresh
from pixverse_dagster.stages.session import Session
from pixverse_dagster.transport.download import TooLarge

_LOOK_BYTES = 512 * 1024
"""As much of a file is read as shows whether it is a clip."""


def reach(session: Session, task: Task) -> tuple[Task, list[str]]:
    """Ask for fresh links to a task's clips, look at the start of each, and have a finished one collected soon.

    Returns the task as it is then, and what was said, one sentence for each party. Nothing is stored or paid for.
    """
    try:
        after = refresh(session, task)
    except (ReadFailed, NotSent) as error:
        after, said = task, [f"{task.provider} could not be asked about it: {error}"]
    else:
        fresh = after is not task and after.state is TaskState.SUCCEEDED
        said = [f"{task.provider} answers, and {'gave fresh links' if fresh else 'has no links to give'}"]
    if after.state is not TaskState.SUCCEEDED:
        return after, said
    said += [f"output {n}: {_look(session, url)}" for n, url in enumerate(after.urls, start=1)]
    session.ledger.collecting.lease([after], session.clock())
    return after, said


def _look(session: Session, url: str) -> str:
    with tempfile.TemporaryDirectory(prefix="pixverse-") as folder:
        path = Path(folder) / "start"
        try:
            with path.open("w+b") as file:
                session.downloader.fetch(url, file, max_bytes=_LOOK_BYTES, max_attempts=1)
        except TooLarge:
            pass  # as a clip is
        except ReadFailed as error:
            return str(error)
        try:
            return f"its host answers with a file of kind {find_container(path)}"
        except ClipInvalid as error:
            return f"its host answers, but not with the clip: {error}"
