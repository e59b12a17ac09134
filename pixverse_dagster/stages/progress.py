"""How rows stand that a run works on, in one line: for a run that takes long, so that nobody has to guess."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.text import shorten
from pixverse_dagster.stages.session import Session

_REASONS_SHOWN = 3
_REASON_CHARACTERS = 200
_BEING_STORED = "being stored now"
_WORDS: Mapping[TaskState, tuple[str, str]] = {
    TaskState.STORED: ("is stored", "are stored"),
    TaskState.SUCCEEDED: ("is ready and not stored yet", "are ready and not stored yet"),
    TaskState.SUBMITTED: ("renders", "render"),
    TaskState.CLAIMED: ("is being submitted", "are being submitted"),
    TaskState.UNKNOWN: ("is of unknown outcome", "are of unknown outcome"),
    TaskState.REFUSED: ("was refused", "were refused"),
    TaskState.FAILED: ("failed", "failed"),
    TaskState.ABANDONED: ("was given up", "were given up"),
    TaskState.FORGOTTEN: ("was deleted on demand", "were deleted on demand"),
}
_WAITS = ("waits for its turn", "wait for their turn")
_UNSENT = ("is not submitted", "are not submitted")
_UNREAD = ("cannot be read at its provider", "cannot be read at their provider")


def describe_progress(session: Session, keys: Sequence[str]) -> str:
    """How these rows stand, by what the ledger says: how many render, are ready, are stored, and what holds up whom."""
    name, ledger = session.pipeline.name, session.ledger
    newest = {task.row: task for task in ledger.tasks.find(name, keys=keys)}
    waits = {entry.row: entry.reason for entry in ledger.queue.find(name, session.worlds)}
    return describe_rows(keys, newest | ledger.tasks.current(name, keys, session.worlds), waits)


def describe_rows(keys: Sequence[str], tasks: Mapping[str, Task], waits: Mapping[str, str]) -> str:
    """The same, given each row's task and why it waits, for those that have one or do."""
    waiting = [key for key in keys if key in waits]
    by_state: dict[TaskState, list[Task]] = {}
    unread: list[Task] = []
    for key in keys:
        if key in tasks and key not in waits:
            task = tasks[key]
            is_unread = task.unread_since is not None and task.state is TaskState.SUBMITTED
            (unread if is_unread else by_state.setdefault(task.state, [])).append(task)
    parts = [_part(words, found, _why(found)) for state, words in _WORDS.items() if (found := by_state.get(state))]
    parts += [_part(_UNREAD, unread, Counter(task.note for task in unread))] if unread else []
    parts += [_part(_WAITS, waiting, Counter(waits[key] for key in waiting))] if waiting else []
    unsent = [key for key in keys if key not in tasks and key not in waits]
    parts += [_part(_UNSENT, unsent, Counter())] if unsent else []
    return f"of {len(keys)} {'row' if len(keys) == 1 else 'rows'}, {', '.join(parts) or 'none is known'}"


def _why(tasks: Iterable[Task]) -> Counter[str]:
    """Why tasks are not stored that are ready."""
    ready = [task for task in tasks if task.state is TaskState.SUCCEEDED]
    return Counter(task.note or _BEING_STORED for task in ready)


def _part(words: tuple[str, str], found: Sequence[object], why: Counter[str]) -> str:
    text = f"{len(found)} {words[0 if len(found) == 1 else 1]}"
    if not why:
        return text
    shown = [f"{count}: {_one_line(reason)}" if len(why) > 1 else _one_line(reason)
             for reason, count in why.most_common(_REASONS_SHOWN)]  # fmt: skip
    more = [f"and {len(why) - len(shown)} other reasons"] if len(why) > len(shown) else []
    return f"{text} ({'; '.join([*shown, *more])})"


def _one_line(reason: str) -> str:
    return shorten(" ".join(redact_text(reason).split()), _REASON_CHARACTERS)
