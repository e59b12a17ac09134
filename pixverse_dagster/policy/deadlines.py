"""When waiting for a provider becomes an end."""

from __future__ import annotations

from pixverse_dagster.core.lifecycle import FailureKind
from pixverse_dagster.core.outcomes import Failed, Missing, PollFact, Running
from pixverse_dagster.core.task import Task
from pixverse_dagster.policy.timing import Pace

MISSING_NOTE = "the provider does not show the task"


def judge_answer(task: Task, fact: PollFact, now: float, pace: Pace) -> PollFact:
    """What a poll fact means at this age of the task: past its limits, waiting becomes an end. Pure.

    Once is not enough for a task to be missing: after a long outage of ours, the first answer may be a provider's slip.
    """
    age = now - (task.submitted_at or task.claimed_at)
    if isinstance(fact, Running) and fact.so_far and age > pace.partial_seconds:
        return fact.so_far
    missed_before = task.note == MISSING_NOTE
    if isinstance(fact, Missing) and missed_before and age > min(pace.missing_seconds, pace.task_deadline_seconds):
        return Failed(FailureKind.LOST, f"the provider has not known the task for {age / 60:.0f} min")
    if isinstance(fact, Running) and age > pace.task_deadline_seconds:
        return Failed(FailureKind.LOST, f"still unfinished after {age / 3600:.1f} h")
    return fact
