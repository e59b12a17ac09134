"""When a task that its provider does not finish counts as ended."""

from __future__ import annotations

from pixverse_dagster.core.lifecycle import FailureKind
from pixverse_dagster.core.outcomes import Failed, Missing, PollFact, Running
from pixverse_dagster.core.task import Task
from pixverse_dagster.policy.timing import Pace

MISSING_NOTE = "the provider does not show the task"


def judge_answer(task: Task, fact: PollFact, now: float, pace: Pace) -> PollFact:
    """The poll fact, or the final outcome if the task has passed one of its time limits. Pure.

    A missing task is lost only if two polls in a row did not find it: a single answer, such as the first one after a
    long outage on our side, may be an error of the provider.
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
