"""Whose a task is: of the account that the present key opens, perhaps of it, or of another. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from pixverse_dagster.core.manifest import World
from pixverse_dagster.core.outcomes import Failed, PollFact, Succeeded

ASIDE_NOTE = "set aside: it was submitted with another key than the present one"
"""What is noted of a task that is left alone until its key is there again, or known to be of the same account."""


class Holder(NamedTuple):
    """An account as it is known: its name, its world, and the fingerprint of a key, which is empty if not known."""

    account: str
    world: World
    key: str


class Standing(StrEnum):
    """What may be done with a task."""

    OWN = "own"
    """Everything: it is of the present key's account for certain."""
    UNPROVEN = "unproven"
    """It may be asked about, which is free, and nothing else: it has the account's name and another key."""
    FOREIGN = "foreign"
    """Nothing: it is of another account, or of the other world."""


def judge_standing(
    task: Holder, present: Holder, identities: Mapping[str, str], answer: PollFact | None = None
) -> Standing:
    """Whose the task is. `identities` are those of the keys seen for the task's account: equal ones are of one account.

    The key decides, and not the name: a renamed account is the same one. Under another key of the same name, only a
    terminal answer about the task shows that the account is the same: finished, or failed with the task's own id.
    "Processing" and "not known" show nothing, and nor does an answer under another name, which nobody asks for.
    """
    if task.world != present.world:
        return Standing.FOREIGN
    if task.key and _identity(task.key, identities) == _identity(present.key, identities):
        return Standing.OWN
    if task.account != present.account:
        return Standing.FOREIGN
    shown = isinstance(answer, Succeeded) or (isinstance(answer, Failed) and answer.names_task)
    return Standing.OWN if shown else Standing.UNPROVEN


def _identity(key: str, identities: Mapping[str, str]) -> str:
    return identities.get(key) or key
