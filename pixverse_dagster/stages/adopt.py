"""Adopting a task that a person found at the provider: the provider is asked first, which is free."""

from __future__ import annotations

from pixverse_dagster.core.errors import NotSent, PixverseError, ReadFailed
from pixverse_dagster.core.outcomes import Failed, Missing, PollFact
from pixverse_dagster.core.task import Move, Task
from pixverse_dagster.policy.identity import Standing
from pixverse_dagster.providers.base import TaskRef
from pixverse_dagster.stages.repeat import repeat
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.standing import find_standing

_PAUSES_SECONDS = (0.3, 0.3)


class AdoptionRefused(PixverseError):
    """The id is not that of the row's task. Nothing was changed."""


class AdoptionUnanswered(AdoptionRefused):
    """The provider gives no answer about the id, and nobody vouched for it. Nothing was changed."""


def adopt(session: Session, task: Task, task_id: str, decision: str, *, unchecked: bool = False) -> Move:
    """Record that the provider has the task under this id, after it said so.

    Raises AdoptionRefused if the id is another row's task, or if the provider contradicts: it says that the task
    failed. Where it gives no answer about the id, AdoptionUnanswered, unless `unchecked` vouches for it. Free; a result
    that is there is recorded by the next poll.
    """
    owner = session.ledger.tasks.with_task_id(task.account, task_id)
    if owner is not None and owner.id != task.id:
        raise AdoptionRefused(f"it is the task of row {owner.row!r} of {owner.pipeline!r}, which is {owner.state}")
    try:
        # A person waits for the answer, so one slip is no answer.
        answer = repeat(lambda: _ask(session, task, task_id), _PAUSES_SECONDS, (ReadFailed, NotSent))
    except (ReadFailed, NotSent) as error:
        if not unchecked:
            raise AdoptionUnanswered(f"{task.provider} gives no answer about it ({error})") from None
    else:
        _check(task, answer)
    return session.ledger.adopt(task, task_id, session.clock(), decision)


def _check(task: Task, answer: PollFact) -> None:
    if isinstance(answer, Failed):
        raise AdoptionRefused(
            f"{task.provider} says that this task failed ({answer.kind}): {answer.reason}. There is no clip to be had"
        )


def _ask(session: Session, task: Task, task_id: str) -> PollFact:
    client = session.clients.get(task.provider)
    if client is None:
        raise ReadFailed(f"no resource for provider {task.provider!r}")
    if find_standing(session, task) is Standing.FOREIGN:
        raise ReadFailed(f"the row was submitted at account {task.account}, and the present one is {client.account}")
    fact = client.poll([TaskRef(task_id, task.request.outputs_asked())])[task_id]
    if isinstance(fact, Missing):
        raise ReadFailed("it does not show such a task")
    if find_standing(session, task, fact) is not Standing.OWN:
        raise ReadFailed(
            f"the row was submitted with another key of account {task.account}, and only a finished task would show "
            "that the present one is of the same account"
        )
    return fact
