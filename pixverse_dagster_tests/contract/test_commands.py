"""Every command that a message names is one: the real parser takes it, and finds in it what was put in."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

import pixverse_dagster
from pixverse_dagster.cli import cli
from pixverse_dagster.cli.project import ProjectChoice
from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.orchestration.events.tasks import judge_unknown
from pixverse_dagster.policy.advice import describe_trouble, resolve_command
from pixverse_dagster_tests.harness.factories import NOW, make_task

PACKAGE = Path(pixverse_dagster.__file__).parent
ROWS = ["kite", "it's a kite", "$(id); x", "-a", "--help", "--", "a b/ü", "😀", "a\nb", "#1", "*", "~", "a=b", "'", '"']
VERBS = [
    ["show"],
    ["abandon"],
    ["retry"],
    ["retry", "--take"],
    ["resolve", "--adopt", "-t 1"],
    ["resolve", "--not-accepted"],
]
LINES = {
    "module": CommandLine(module="films.definitions", pipeline="films", home="/srv/a home"),
    "file": CommandLine(
        python_file="/srv/it's here/defs.py", working_directory="/srv/it's here", pipeline="p", home="/h"
    ),
    "folder": CommandLine(working_directory="/srv/films", pipeline="films", home="/srv/$HOME"),
    "nothing known": CommandLine(),
}


def parse(said: str) -> tuple[str, dict[str, Any]]:
    """The command that a line is for, and the parameters that the parser gives to it. Nothing is run."""
    program, *words = shlex.split(said)
    assert program == "pixverse-dagster"
    command: click.Command = cli
    path: list[str] = []
    while isinstance(command, click.Group):
        path.append(words.pop(0))
        command = command.commands[path[-1]]
    return " ".join(path), command.make_context(path[-1], words, **cli.context_settings).params


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("line", LINES)
def test_a_row_and_a_project_come_out_as_they_went_in(line: str, row: str):
    """Whatever they are called: a dash at the front, quotes, spaces, what a shell would expand."""
    commands = LINES[line]
    for verb, *options in VERBS:
        name, given = parse(commands.tasks(verb, row, *options))
        assert (name, given["row"]) == (f"tasks {verb}", row)
        assert given.get("adopt") in {None, "-t 1"}
        found = {
            "module": given["module"], "python_file": given["python_file"], "pipeline": given["pipeline"],
            "working_directory": given["working_directory"], "home": given["home"],
        }  # fmt: skip
        assert CommandLine(**{name: str(value or "") for name, value in found.items()}) == commands


TROUBLE: list[dict[str, Any]] = [
    {"state": TaskState.FAILED, "kind": FailureKind.MODERATED, "reason": "declined", "task_id": "t1"},
    {"state": TaskState.UNKNOWN, "reason": "no answer", "estimate_usd": 0.25},
]


@pytest.mark.parametrize("values", TROUBLE, ids=[values["state"] for values in TROUBLE])
def test_the_command_in_a_message_is_one(values: dict[str, Any]):
    """As it stands there: up to the bracket or the end."""
    said = describe_trouble(make_task(row="it's a kite", **values), LINES["module"])
    (command,) = re.findall(r"pixverse-dagster .*?(?= \(|$)", said)
    assert parse(command)[1]["row"] == "it's a kite"


def test_the_check_on_unknown_outcomes_has_a_command_for_each_row():
    """That says which of the other two ways there are."""
    tasks = [make_task(row=row, state=TaskState.UNKNOWN, reason="no answer") for row in ROWS]
    judged = judge_unknown("films", tasks, LINES["module"])
    assert resolve_command(tasks[0], LINES["module"]) in str(judged.description)
    assert "--not-accepted" in str(judged.description)
    table: Any = judged.metadata["pixverse/unknown"]
    assert [parse(record.data["resolve"])[1]["row"] for record in table.records] == ROWS


def test_the_check_on_outcomes_names_what_does_not_come_on_beside_what_is_unknown():
    """Each with its number, a table and the first row's commands; it fails for either, and passes for none."""
    stalled = [make_task(row=row, state=TaskState.SUCCEEDED, stalled_at=NOW, note="HTTP 407") for row in ROWS]
    unknown = [make_task(row="u", state=TaskState.UNKNOWN, reason="no answer")]
    alone, both = (judge_unknown("films", some, LINES["module"], stalled) for some in ([], unknown))
    assert (alone.passed, both.passed, judge_unknown("films", [], LINES["module"]).passed) == (False, False, True)
    assert str(alone.description).startswith(f"{len(ROWS)} rows are paid for and do not come on")
    assert str(both.description).startswith("1 rows were perhaps paid for")
    assert "do not come on" in str(both.description)
    table: Any = alone.metadata["pixverse/stalled"]
    assert [parse(record.data["show"])[1]["row"] for record in table.records] == ROWS
    assert all("HTTP 407" in record.data["why"] for record in table.records)


def test_no_command_is_written_by_hand():
    """A message that names one has it from `CommandLine`, which knows the project."""
    by_hand = re.compile(r"pixverse-dagster (demo|dev|simulator|plan|tasks|verify)|`tasks \w+ \{")
    assert [str(path) for path in PACKAGE.rglob("*.py") if by_hand.search(path.read_text())] == []


def test_a_choice_is_what_a_command_line_carries():
    """What finds the project in the one finds it in the other."""
    assert set(ProjectChoice.__dataclass_fields__) == set(CommandLine.__dataclass_fields__) - {"program"}
