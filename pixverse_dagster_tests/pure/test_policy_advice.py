"""What a person is told about a task: why, what it means for the money, and the command to run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.policy.advice import describe_end, describe_stall, describe_trouble
from pixverse_dagster_tests.harness.factories import NOW, make_task

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
            f"{WHO} failed at the provider (moderated) and may have been charged (a price that nobody publishes); it "
            f"is not submitted again by itself. Task t1: declined. To pay for another attempt: "
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


STALLED = {"stalled_at": NOW, "task_id": "t1", "estimate_usd": 0.25}


@pytest.mark.parametrize(
    ("values", "begins", "commands"),
    [
        (
            {"state": TaskState.SUCCEEDED, "note": "not stored yet: clips.example answered HTTP 407"},
            f"{WHO} is paid for and not paid again: its clip is ready at runware and could not be stored since",
            ("resolve", "retry", "abandon"),
        ),
        (
            {"state": TaskState.SUBMITTED, "note": "last poll failed: HTTP 500"},
            f"{WHO} is paid for (about 0.250 USD) and not paid again: no answer of runware about task t1",
            ("retry", "abandon"),
        ),
    ],
)
def test_what_does_not_come_on_is_named_with_every_way_out(
    values: dict[str, Any], begins: str, commands: tuple[str, ...]
):
    """With what was said last and what another attempt costs; it is no end, and of a task that comes on nothing."""
    task = make_task(row=ROW, **STALLED | values)
    said = describe_trouble(task, FILMS)
    assert said.startswith(begins)
    assert values["note"] in said
    assert "about 0.250 USD" in said
    for command in commands:
        assert f"pixverse-dagster tasks {command} {QUOTED} {FOUND}" in said
    assert describe_end(task, FILMS) == ""
    assert values["note"] in describe_stall(task)
    assert (
        describe_trouble(replace(task, stalled_at=None), FILMS) == describe_stall(replace(task, stalled_at=None)) == ""
    )


def test_every_state_has_its_words():
    """A new state is a line in the table above."""
    assert {values["state"] for values, _ in TOLD} == set(TaskState)
