"""A person resolves by hand what nobody else can know."""

import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pixverse_dagster.core.outcomes import Succeeded
from pixverse_dagster.ledger.engine import sqlite_url
from pixverse_dagster.ledger.ledger import open_ledger
from pixverse_dagster_tests.harness.commands import (
    Home,
    follow,
    make_home,
    materialize,
    pixverse,
    run_rows,
    states,
    tasks_of,
    write_table,
)
from pixverse_dagster_tests.harness.servers import running_simulator


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home whose single row was submitted to a provider that never answered. It is copied, and never changed."""
    folder = tmp_path_factory.mktemp("lost")
    table = write_table(folder / "t.csv", 1, ("highway/pixverse-v6-i2v",))
    with running_simulator(folder, generation_seconds=0.2, faults={"submit.lost_response": 1.0}) as running:
        home, environment, _ = made = make_home(folder / "home", table, running)
        materialize(environment, "demo/prompts")
        log = run_rows(environment, "demo_submit", "demo_submit_rows", ["r000"])
        assert "tasks resolve r000 --adopt TASK_ID" in log
        assert states(home, environment) == {"unknown": 1}
        assert len(running.tasks()) == 1
        yield made


@pytest.fixture
def unknown(lost: Home, tmp_path: Path) -> Home:
    """The same in a home of the test's own; the provider is the same for all."""
    home, environment, running = lost
    shutil.copytree(home, tmp_path / "home")
    return tmp_path / "home", environment | {"DAGSTER_HOME": str(tmp_path / "home")}, running


@pytest.fixture
def charged(lost: Home) -> Callable[[], int]:
    """A function that says how many tasks were charged for since the test began."""
    before = len(lost[2].tasks())
    return lambda: len(lost[2].tasks()) - before


def resolve(home: Home, *arguments: str, code: int = 0) -> str:
    """Run a resolving command."""
    done = pixverse("tasks", *arguments, home=home[0], environment=home[1], check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def shown(home: Home) -> list[dict[str, Any]]:
    """The row's tasks."""
    return json.loads(pixverse("tasks", "show", "r000", "--json", home=home[0], environment=home[1]).stdout)


def latest_check(home: Path) -> dg.AssetCheckEvaluation:
    """What the check on unknown outcomes said last."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        key = dg.AssetCheckKey(dg.AssetKey(["demo", "tasks"]), "outcomes_known")
        record = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
        assert record.event is not None
        assert record.event.dagster_event is not None
        return record.event.dagster_event.asset_check_evaluation_data


def command(home: Path) -> str:
    """What a run's messages say to run: they know the module and the home."""
    found = f"-m pixverse_dagster.definitions --pipeline demo --home {home}"
    return f"pixverse-dagster tasks resolve r000 --adopt TASK_ID {found}"


def test_an_unknown_outcome_fails_a_check_that_names_row_money_and_commands(lost: Home, unknown: Home) -> None:
    """Whoever looks at the asset sees what is at stake, and what to run."""
    check = latest_check(unknown[0])
    assert not check.passed
    assert "1 rows were perhaps paid for" in (check.description or "")
    table = check.metadata["pixverse/unknown"]
    assert isinstance(table, dg.TableMetadataValue)
    assert table.records[0].data["row"] == "r000"
    assert table.records[0].data["resolve"] == command(lost[0])
    materialize(unknown[1], "demo/tasks,demo/clips", "--partition", "r000", fails=True)
    again = latest_check(unknown[0])
    assert not again.passed
    assert again.metadata["pixverse/unknown_rows"].value == 1


def test_an_adopted_task_is_collected_without_another_charge(
    unknown: Home, charged: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The console shows it: its id is all that was missing from the command, which runs from any folder."""
    home, environment, running = unknown
    task_id = running.tasks()[0]["task_id"]
    pasted = command(home).replace("TASK_ID", task_id)
    assert "unknown → submitted" in follow(pasted, tmp_path_factory.mktemp("elsewhere"), environment).output
    materialize(environment, "demo/clips", "--partition", "r000")
    assert states(home, environment) == {"stored": 1}
    assert charged() == 0
    (manifest,) = (home / "clips").rglob("manifest.json")
    (attempt,) = json.loads(manifest.read_text())["attempts"]
    assert attempt["decision"].startswith("by hand, 20")
    assert attempt["decision"].endswith(f"adopted as {task_id}")
    assert latest_check(home).passed


def test_what_was_not_accepted_is_attempted_again_and_both_attempts_are_recorded(
    unknown: Home, charged: Callable[[], int]
) -> None:
    """The console shows nothing: the next submission makes a second attempt, which the lineage shows."""
    environment = unknown[1]
    assert "unknown → refused" in resolve(unknown, "resolve", "r000", "--not-accepted")
    assert charged() == 0
    run_rows(environment, "demo_submit", "demo_submit_rows", ["r000"])
    assert [(task["claim"], task["state"]) for task in shown(unknown)] == [(1, "refused"), (2, "unknown")]
    assert charged() == 1
    assert "a person found that it was not accepted" in shown(unknown)[0]["reason"]


def test_an_abandoned_task_is_never_submitted_again(unknown: Home, charged: Callable[[], int]) -> None:
    """It stays spent, and a submission says so."""
    environment = unknown[1]
    resolve(unknown, "resolve", "r000", "--abandon")
    log = run_rows(environment, "demo_submit", "demo_submit_rows", ["r000"])
    assert "was abandoned" in log
    assert charged() == 0
    assert "has no task that is unknown" in resolve(unknown, "resolve", "r000", "--not-accepted", code=2)
    assert "has no task that is submitted or succeeded or unknown" in resolve(unknown, "abandon", "r000", code=2)


def test_a_clip_that_is_not_to_be_had_is_asked_for_replaced_or_given_up_by_a_person(
    tmp_path: Path, project: Callable[..., Home]
) -> None:
    """Its provider has finished it, and its host gives nothing: what is said, what another costs, what stays spent."""
    table = write_table(tmp_path / "t.csv", 1, ("runware/pixverse-v4.5",))
    made = project(table, generation_seconds=0.1, faults={"media.dropped": 1.0})
    home, environment, running = made
    materialize(environment, "demo/prompts")
    run_rows(environment, "demo_submit", "demo_submit_rows", ["r000"])
    ledger = open_ledger(sqlite_url(home / "storage" / "pixverse" / "ledger.db"))
    (task,) = ledger.tasks.find("demo")
    ledger.succeed(task, Succeeded(("http://127.0.0.1:9/1.mp4",)), time.time())
    assert "its task is succeeded" in resolve(made, "retry", "r000", code=2), "before it was tried"
    (task,) = ledger.tasks.find("demo")
    ledger.retry_collect(task, "not stored yet: its host hangs", time.time() + 900, time.time())
    assert ledger.tasks.ready("demo", time.time(), 10) == []
    said = resolve(made, "resolve", "r000")
    assert "runware answers, and gave fresh links" in said
    assert "output 1: " in said
    assert "could not be read to its end" in said
    assert "Before that: not stored yet: its host hangs" in said
    assert len(ledger.tasks.ready("demo", time.time(), 10)) == 1
    shown = pixverse("tasks", "list", home=home, environment=environment | {"COLUMNS": "250"}).stdout
    assert "unreachable since" in shown
    said = resolve(made, "retry", "r000")
    assert f"in the place of task {task.task_id}, which is given up and stays spent" in said
    assert said.count("about 0.112 USD") == 2, "what it cost, and what the next one will"
    (task,) = ledger.tasks.find("demo")
    assert (task.state, task.released, task.urls, task.stalled_at) == ("abandoned", True, (), None)
    assert len(running.tasks()) == 1
    run_rows(environment, "demo_submit", "demo_submit_rows", ["r000"])
    assert len(running.tasks()) == 2
    task = ledger.tasks.find("demo", keys=["r000"])[1]
    ledger.succeed(task, Succeeded(("http://127.0.0.1:9/1.mp4",)), time.time())
    assert "succeeded → abandoned" in resolve(made, "abandon", "r000")
    assert "abandoned" in run_rows(environment, "demo_submit", "demo_submit_rows", ["r000"])
    assert len(running.tasks()) == 2


def test_resolving_takes_exactly_one_answer(unknown: Home) -> None:
    """None, or two at once, is bad usage and changes nothing."""
    assert "exactly one of" in resolve(unknown, "resolve", "r000", code=2)
    assert "exactly one of" in resolve(unknown, "resolve", "r000", "--abandon", "--adopt", "x", code=2)
    assert states(*unknown[:2]) == {"unknown": 1}


def test_a_failed_row_is_paid_for_again_only_when_a_person_says_so(
    tmp_path: Path, project: Callable[..., Home]
) -> None:
    """`tasks retry` allows one attempt more, `--take` one clip more; both wait for the next submission."""
    table = write_table(tmp_path / "t.csv", 8, ("runware/pixverse-v4.5",))
    made = project(table, generation_seconds=0.2, seed=5, faults={"task.failed": 0.5})
    home, environment, running = made
    materialize(environment, "demo/prompts")
    materialize(environment, "demo/clips", "--partition-range", "r000...r007", fails=True)
    ended = {task["state"]: task["row"] for task in tasks_of(*made[:2])}
    failed, stored = ended["failed"], ended["stored"]
    assert "has nothing to retry: its task is stored" in resolve(made, "retry", stored, code=2)
    assert "not in the table" in resolve(made, "retry", "nobody", code=2)
    assert "attempt 2 was allowed by hand, for about 0.112 USD" in resolve(made, "retry", failed)
    assert "take 2 was asked for by hand" in resolve(made, "retry", stored, "--take")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        asked = dg.AssetRecordsFilter(dg.AssetKey(["demo", "tasks"]), asset_partitions=[stored])
        (record,) = instance.fetch_materializations(asked, limit=1).records
    assert record.asset_materialization
    assert str(record.asset_materialization.description).startswith(f"row {stored!r} is out of date: its take changed")
    planned = json.loads(pixverse("plan", "--json", home=home, environment=environment).stdout)
    verdicts = {line["row"]: line["verdict"] for line in planned["rows"]}
    assert (verdicts[failed], verdicts[stored]) == ("retry", "changed")
    assert len(running.tasks()) == 8
    run_rows(environment, "demo_submit", "demo_submit_rows", [failed, stored])
    assert len(running.tasks()) == 10


def test_a_row_that_waits_can_be_given_up(tmp_path: Path, project: Callable[..., Home]) -> None:
    """Nothing was sent for it and nothing will be."""
    table = write_table(tmp_path / "t.csv", 3, ("runware/pixverse-v4.5",))
    made = project(table, generation_seconds=60)
    home, environment, running = made
    environment["PIXVERSE_ACCOUNTS"] = json.dumps({"runware": {"max_open_tasks": 1, "max_concurrency": 1}})
    materialize(environment, "demo/prompts")
    log = run_rows(environment, "demo_submit", "demo_submit_rows", ["r000", "r001", "r002"])
    assert "2 of 3 rows wait for their turn; the sensor goes on: 1 of 1 slots at runware are taken" in log
    assert "RUN_SUCCESS" in log
    assert "waits no longer" in resolve(made, "abandon", "r002")
    with closing(sqlite3.connect(home / "storage" / "pixverse" / "ledger.db")) as ledger:
        assert ledger.execute("SELECT row FROM pixverse_waiting").fetchall() == [("r001",)]
    assert len(running.tasks()) == 1


def test_what_was_withdrawn_is_not_paid_for(tmp_path: Path, project: Callable[..., Home]) -> None:
    """A take that was asked for and given up: the row is what it was, and the next submission sends nothing."""
    table = write_table(tmp_path / "t.csv", 1, ("pixwith/pixverse-v5",))
    made = project(table, generation_seconds=0.1)
    home, environment, running = made
    materialize(environment, "demo/prompts")
    materialize(environment, "demo/clips", "--partition", "r000")
    resolve(made, "retry", "r000", "--take")
    said = resolve(made, "abandon", "r000")
    assert "Take 2 is withdrawn; the row asks for take 1. Nothing was sent for it, and nothing was spent" in said
    run_rows(environment, "demo_submit", "demo_submit_rows", ["r000"])
    materialize(environment, "demo/prompts")
    run_rows(environment, "demo_submit", "demo_submit_rows", ["r000"])
    assert len(running.tasks()) == 1
    planned = json.loads(pixverse("plan", "--json", home=home, environment=environment).stdout)
    assert [line["verdict"] for line in planned["rows"]] == ["stored"]


def test_a_pause_stops_every_run_until_a_person_resumes(tmp_path: Path, project: Callable[..., Home]) -> None:
    """Rows that are asked for meanwhile are no failure; they keep their places, and go on by themselves."""
    table = write_table(tmp_path / "t.csv", 2, ("pixwith/pixverse-v5",))
    made = project(table, generation_seconds=0.1)
    home, environment, running = made

    def command(*words: str, code: int = 0) -> str:
        done = pixverse(*words, home=home, environment=environment, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    materialize(environment, "demo/prompts")
    assert "paused: all spending" in command("pause", "--reason", "prices went up")
    assert "paused already: all spending" in command("pause")
    assert "paused: spending of account pixwith/simulator" in command("pause", "--account", "pixwith/simulator")
    log = run_rows(environment, "demo_submit", "demo_submit_rows", ["r000", "r001"])
    assert "2 of 2 rows wait for their turn; the sensor goes on: all spending is paused (prices went up)" in log
    assert "RUN_SUCCESS" in log
    assert running.tasks() == []
    assert "Still in force: spending of account 'pixwith/simulator' is paused" in command("resume")
    assert "was not paused" in command("resume", code=1)
    assert "resumed" in command("resume", "--account", "pixwith/simulator")
    run_rows(environment, "demo_submit", "demo_submit_rows", ["r000", "r001"])
    assert len(running.tasks()) == 2


def test_an_id_that_nobody_knows_is_adopted_only_on_a_persons_word(unknown: Home, charged: Callable[[], int]) -> None:
    """The provider is asked, and the message has the command for who has looked."""
    said = resolve(unknown, "resolve", "r000", "--adopt", "no-such-id", code=1)
    assert "highway gives no answer about it" in said
    assert "--adopt no-such-id --unchecked" in said
    assert states(*unknown[:2]) == {"unknown": 1}
    assert "unknown → submitted" in resolve(unknown, "resolve", "r000", "--adopt", "no-such-id", "--unchecked")
    assert charged() == 0
