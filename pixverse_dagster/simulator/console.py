"""What the web console of a provider shows a customer: the tasks of an account, and of each what a page has room for.

It is for the person in a test, who may know no more than a customer does. What was charged and made is in the audit.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from pixverse_dagster.simulator.faults import KEY
from pixverse_dagster.simulator.state import Task

_WORDS_SHOWN: Final = 80


def list_tasks(tasks: Iterable[Task], account: str = KEY) -> list[dict[str, Any]]:
    """The tasks of the account at every provider, the newest first. Changes nothing.

    Times are to the second, and of the prompt there are the first words.
    """
    return [_shown(task) for task in reversed([task for task in tasks if task.order.account == account])]


def _shown(task: Task) -> dict[str, Any]:
    order, accepted = task.order, datetime.fromisoformat(task.accepted_at).astimezone(UTC)
    prompt = str(order.request.get("prompt") or order.request.get("positivePrompt") or "").strip()
    return {
        "provider": order.provider,
        "submitted_at": accepted.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "prompt": prompt if len(prompt) <= _WORDS_SHOWN else f"{prompt[:_WORDS_SHOWN]}…",
        "task_id": order.task_id,
        "status": task.status,
    }
