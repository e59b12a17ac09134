"""Whom to submit and what to collect now."""

from collections.abc import Mapping, Sequence

from pixverse_dagster.core.task import QueuedRow, Task
from pixverse_dagster.policy.timing import Pace


def choose_collect_batch(ready: list[Task], pending: int, now: float, pace: Pace) -> list[Task]:
    """Which ready tasks to collect now. Pure.

    A run costs seconds however few rows it has, so a small batch waits `collect_after_seconds` for company, unless
    nothing else is under way.
    """
    if len(ready) >= pace.collect_batch:
        return ready[: pace.collect_batch]
    oldest = min((task.finished_at or now for task in ready), default=now)
    return ready if ready and (not pending or now - oldest >= pace.collect_after_seconds) else []


def choose_submit_batch(
    waiting: Sequence[QueuedRow], room: Mapping[str, float], since_last_seconds: float, pace: Pace
) -> list[str]:
    """Which waiting rows to submit now, in the order of their waiting. Pure.

    Slots become free one by one, and a run costs seconds: so one is asked for at most every `collect_after_seconds`,
    unless all who wait have room.
    """
    left = dict(room)
    turn: list[str] = []
    for entry in waiting:
        if left.get(entry.account, 0) >= 1:
            left[entry.account] -= 1
            turn.append(entry.row)
    everybody = len(turn) == len(waiting)
    return turn[: pace.collect_batch] if everybody or since_last_seconds >= pace.collect_after_seconds else []
