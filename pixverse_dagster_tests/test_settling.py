"""A person settles by hand what nobody else can know."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixverse_dagster_tests.servers import Simulator
from pixverse_dagster_tests.test_pipeline import finish, materialize, pixverse, project, run_job, states, write_table

__all__ = ["project"]

Home = tuple[Path, dict[str, str], Simulator]


@pytest.fixture
def unknown(tmp_path: Path, project: Callable[..., Home]) -> Home:
    """A home whose single row was submitted to a provider that never answered."""
    table = write_table(tmp_path / "t.csv", 1, ("highway/pixverse-v6-i2v",))
    home, environment, running = project(table, generation_seconds=0.2, faults={"submit.lost_response": 1.0})
    materialize(environment, "demo/prompts")
    log = finish(run_job(environment, "demo_submit", "demo_submit_rows", ["r000"]))
    assert "tasks resolve r000 --adopt TASK_ID | --not-accepted | --abandon" in log
    assert states(home, environment) == {"unknown": 1}
    return home, environment, running


def resolve(home: Home, *arguments: str, code: int = 0) -> str:
    """Run a settling command."""
    done = pixverse("tasks", *arguments, home=home[0], environment=home[1], check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def shown(home: Home) -> list[dict[str, Any]]:
    """The row's tasks."""
    return json.loads(pixverse("tasks", "show", "r000", "--json", home=home[0], environment=home[1]).stdout)


def test_an_adopted_task_is_collected_without_another_charge(unknown: Home) -> None:
    """The console shows it: its id is all that was missing."""
    home, environment, running = unknown
    task_id = running.tasks()[0]["task_id"]
    assert "unknown → submitted" in resolve(unknown, "resolve", "r000", "--adopt", task_id)
    materialize(environment, "demo/clips", "--partition", "r000")
    assert states(home, environment) == {"stored": 1}
    assert len(running.tasks()) == 1
    assert "adopted by hand" not in shown(unknown)[0]["note"], "the note is that of the last poll"


def test_what_was_not_accepted_is_attempted_again_and_both_attempts_are_recorded(unknown: Home) -> None:
    """The console shows nothing: the next submission makes a second attempt, which the lineage shows."""
    _, environment, running = unknown
    assert "unknown → refused" in resolve(unknown, "resolve", "r000", "--not-accepted")
    assert len(running.tasks()) == 1
    finish(run_job(environment, "demo_submit", "demo_submit_rows", ["r000"]))
    assert [(task["attempt"], task["state"]) for task in shown(unknown)] == [(1, "refused"), (2, "unknown")]
    assert "a person found that it was not accepted" in shown(unknown)[0]["reason"]


def test_an_abandoned_task_is_never_submitted_again(unknown: Home) -> None:
    """It stays spent, and a submission says so."""
    _, environment, running = unknown
    resolve(unknown, "resolve", "r000", "--abandon")
    log = finish(run_job(environment, "demo_submit", "demo_submit_rows", ["r000"]))
    assert "was abandoned" in log
    assert len(running.tasks()) == 1
    assert "has no task that is unknown" in resolve(unknown, "resolve", "r000", "--not-accepted", code=2)
    assert "has no task that is unknown or submitted" in resolve(unknown, "abandon", "r000", code=2)


def test_settling_takes_exactly_one_answer(unknown: Home) -> None:
    """None, or two at once, is bad usage and changes nothing."""
    assert "exactly one of" in resolve(unknown, "resolve", "r000", code=2)
    assert "exactly one of" in resolve(unknown, "resolve", "r000", "--abandon", "--adopt", "x", code=2)
    assert states(*unknown[:2]) == {"unknown": 1}
