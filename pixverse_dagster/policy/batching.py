"""Which rows to submit and which tasks to collect now."""

from collections.abc import Mapping, Sequence

from pixverse_dagster.core.task import QueuedRow, Task
from pixverse_dagster.policy.timing import Pace


def choose_collect_batch(ready: list[Task], pending: int, now: float, pace: Pace) -> list[Task]:
    """Which ready tasks to collect now. Pure.

    Starting a run takes seconds however few rows it has. So a batch that is not full waits until its oldest task has
    been ready for `collect_after_seconds`, unless no other task is pending.
    """
    if len(ready) >= pace.collect_batch:
        return ready[: pace.collect_batch]
    oldest = min((task.finished_at or now for task in ready), default=now)
    return ready if ready and (not pending or now - oldest >= pace.collect_after_seconds) else []


def choose_submit_batch(
    queued: Sequence[QueuedRow], room: Mapping[str, float], since_last_seconds: float, pace: Pace
) -> list[str]:
    """Which queued rows to submit now, in the order of the queue. Pure.

    `room` is the number of free slots by account, infinite without a limit. `since_last_seconds` is the time since the
    last run was requested. Slots become free one by one, and starting a run takes seconds. So a run is requested at
    most every `collect_after_seconds`, unless there is a slot for every queued row.
    """
    free = dict(room)
    chosen: list[str] = []
    for entry in queued:
        if free.get(entry.provider, 0) >= 1:
            free[entry.provider] -= 1
            chosen.append(entry.row)
    all_fit = len(chosen) == len(queued)
    return chosen[: pace.collect_batch] if all_fit or since_last_seconds >= pace.collect_after_seconds else []
