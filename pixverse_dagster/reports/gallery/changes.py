"""What happened to the clips of a pipeline since a gallery was written, as the ledger's history tells it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pixverse_dagster.core.lifecycle import Event, TaskState
from pixverse_dagster.ledger.history import RENAME, HistoryEntry
from pixverse_dagster.ledger.ledger import Ledger

_PAGE = 1_000
_FIRST = frozenset({Event.STORE, Event.FIND, Event.RESTORE})
"""What a task is stored by, once."""


@dataclass(frozen=True)
class Changes:
    """The tasks that were stored since, in that order; those whose clips are others, or gone; the last position."""

    new: tuple[str, ...]
    touched: frozenset[str]
    position: int
    forgotten: bool = False
    """Whether a clip was forgotten: then nothing of it may be left anywhere."""
    renamed: bool = False
    """Whether rows or the pipeline have other names: then all cards are made anew."""


def find_changes(ledger: Ledger, pipeline: str, after: int) -> Changes:
    """What happened after a position of the history. A task that was stored and forgotten since is only touched."""
    new: dict[str, None] = {}
    touched: set[str] = set()
    position, renamed, forgotten = after, False, False
    for entry in _entries(ledger, pipeline, after):
        position, renamed = entry.position, renamed or entry.event == RENAME
        if entry.state == TaskState.STORED and entry.event in _FIRST:
            new[entry.task] = None
        elif entry.state == TaskState.FORGOTTEN:
            forgotten = True
            new.pop(entry.task, None)
            touched.add(entry.task)
        elif entry.state == TaskState.STORED and entry.task not in new:
            touched.add(entry.task)
    return Changes(tuple(new), frozenset(touched), position, forgotten, renamed)


def stored_now(ledger: Ledger, pipeline: str) -> tuple[list[str], int]:
    """Every stored task, the oldest first, and a position of the history up to which the list is whole.

    The list is read after one position and before another; what is between them is added, so that the next writer
    neither misses a clip nor meets one twice.
    """
    before = ledger.overview.position()
    ids = [one.id for one in ledger.overview.stored(pipeline)]
    known = set(ids)
    changes = find_changes(ledger, pipeline, before)
    return [*ids, *(one for one in changes.new if one not in known)], max(before, changes.position)


def _entries(ledger: Ledger, pipeline: str, after: int) -> Iterator[HistoryEntry]:
    while page := ledger.history.after(after, _PAGE, pipeline):
        yield from page
        after = page[-1].position
