"""What a person is told about a task: why, what it means for the money, and the command to run."""

from __future__ import annotations

from typing import Any

import pytest

from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.policy.advice import describe_trouble
from pixverse_dagster_tests.harness.factories import make_task

ROW = "it's a kite"
WHO = f'row "{ROW}" (runware/pixverse-v4.5, attempt 1)'
FILMS = CommandLine(module="films.definitions", pipeline="films", home="/srv/a home")
FOUND = "-m films.definitions --pipeline films --home '/srv/a home'"
QUOTED = """'it'"'"'s a kite'"""

TOLD: list[tuple[dict[str, Any], str]] = [
    (
        {"state": TaskState.REFUSED, "reason": "no such style."},
        f"{WHO} was not accepted: no such style. Fix the cause and run the row again",
    ),
    (
        {"state": TaskState.FAILED, "kind": FailureKind.MODERATED, "reason": "declined", "task_id": "t1"},
        (
            f"{WHO} failed at the provider (moderated): declined. Task t1 may have been charged (a price that nobody "
            f"publishes). It is not submitted again by itself; to pay for another attempt: "
            f"pixverse-dagster tasks retry {QUOTED} {FOUND}"
        ),
    ),
    (
        {"state": TaskState.UNKNOWN, "reason": "no answer", "estimate_usd": 0.25},
        (
            f"{WHO} has an unknown outcome: no answer. At stake: about 0.250 USD; it counts as spent and is never sent "
            f"again. Look for it in runware's console, then, with its id for TASK_ID: pixverse-dagster tasks resolve "
            f"{QUOTED} --adopt TASK_ID {FOUND} (if it is not there: --not-accepted in the place of --adopt TASK_ID; to "
            "give it up: --abandon)"
        ),
    ),
    (
        {"state": TaskState.CLAIMED},
        f"{WHO} is being submitted by run run-1; run it again when that run has ended",
    ),
    ({"state": TaskState.ABANDONED, "reason": "given up"}, f"{WHO} was abandoned: given up"),
    (
        {"state": TaskState.FORGOTTEN, "decision": "by hand"},
        (
            f"{WHO} was deleted on demand (by hand) and is not paid for again. For another clip of it: "
            f"pixverse-dagster tasks retry {QUOTED} --take {FOUND}"
        ),
    ),
    ({"state": TaskState.SUBMITTED}, ""),
    ({"state": TaskState.SUCCEEDED}, ""),
    ({"state": TaskState.STORED}, ""),
]


@pytest.mark.parametrize(("values", "words"), TOLD, ids=[values["state"] for values, _ in TOLD])
def test_trouble_is_told_with_its_stake_and_its_remedy(values: dict[str, Any], words: str):
    """And of what goes well there is nothing to say."""
    assert describe_trouble(make_task(row=ROW, **values), FILMS) == words


def test_every_state_has_its_words():
    """A new state is a line in the table above."""
    assert {values["state"] for values, _ in TOLD} == set(TaskState)
