"""Tasks of a pipeline that was renamed or removed: named by the project that is left, and settled from there."""

from __future__ import annotations

import json
import time
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from pixverse_dagster.cli import cli
from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.outcomes import Accepted
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import sqlite_url
from pixverse_dagster.ledger.ledger import Ledger, open_ledger
from pixverse_dagster.orchestration.events.tasks import judge_unknown
from pixverse_dagster_tests.harness.commands import prepare_instance
from pixverse_dagster_tests.harness.factories import make_row

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster._utils.warnings.BetaWarning"),
    pytest.mark.filterwarnings("ignore:.*dagster_run:DeprecationWarning"),
]
DEFINITIONS = """
import dagster as dg
from pixverse_dagster import LedgerResource, LocalClipIOManager, RunwareResource, build_clips_definitions

clips = LocalClipIOManager(base_dir="clips", ledger=LedgerResource(url={url!r}))
providers = [RunwareResource(api_key="k", base_url="http://127.0.0.1:1")]
defs = build_clips_definitions("films", [], providers=providers, clips=clips)
"""
ACCOUNT = "runware/simulator"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return open_ledger(sqlite_url(tmp_path / "ledger.db"))


@pytest.fixture
def project(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that has the pipeline `films`; its ledger keeps one called `old` too."""
    assert ledger.id
    home = tmp_path / "home"
    prepare_instance(home, "telemetry:\n  enabled: false\n")
    file = tmp_path / "films.py"
    file.write_text(DEFINITIONS.format(url=sqlite_url(tmp_path / "ledger.db")))
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    return file


def submitted(ledger: Ledger, pipeline: str, row_id: str, *, known: bool = True) -> None:
    """A task at the provider, or one of which nobody knows whether it is."""
    row, now = make_row(row_id), time.time()
    ledger.rows.record(pipeline, [*ledger.rows.find(pipeline).values(), row], [], "run", now)
    terms = ClaimTerms("run", now, 60, account=ACCOUNT, world="simulator", estimate_usd=0.1121)
    task, _ = ledger.claim(pipeline, row, terms)
    if known:
        ledger.accept(task, Accepted(f"id-{row_id}"), now, now)
    else:
        ledger.mark_unknown(task, "no answer came", None)


def run(file: Path, *words: str) -> tuple[int, str]:
    """A command's exit code and what it said, with line ends taken out."""
    done = CliRunner().invoke(cli, [*words, "-f", str(file)])
    return done.exit_code, done.output


def test_what_is_open_is_listed_for_every_pipeline_in_the_ledger(project: Path, ledger: Ledger):
    """Those that the project does not have are marked, with what each task holds and what can be done."""
    submitted(ledger, "films", "kite")
    submitted(ledger, "old", "gone")
    submitted(ledger, "old", "doubtful", known=False)
    code, said = run(project, "tasks", "list", "--all", "--json")
    assert code == 0
    found = {one["row"]: (one["pipeline"], one["in_project"], one["state"], one["holds"]) for one in json.loads(said)}
    assert found == {
        "kite": ("films", True, "submitted", f"a slot of {ACCOUNT}"),
        "gone": ("old", False, "submitted", f"a slot of {ACCOUNT}"),
        "doubtful": ("old", False, "unknown", f"a slot of {ACCOUNT}"),
    }
    code, said = run(project, "tasks", "list", "--all")
    assert code == 0
    assert "Pipeline 'old' is not in this project" in said
    assert "'films' is not" not in said
    assert "tasks abandon ROW" in said
    assert "--pipeline old" in said
    assert [
        one["row"] for one in json.loads(run(project, "tasks", "list", "--all", "--json", "--pipeline", "films")[1])
    ] == ["kite"]


def test_tasks_of_a_pipeline_that_is_gone_are_shown_and_settled_by_its_name(project: Path, ledger: Ledger):
    """Given up, they hold no slot any more."""
    submitted(ledger, "old", "gone")
    submitted(ledger, "old", "doubtful", known=False)
    code, said = run(project, "tasks", "show", "gone", "--json", "--pipeline", "old")
    assert (code, json.loads(said)[0]["task_id"]) == (0, "id-gone")
    assert len(json.loads(run(project, "tasks", "list", "--json", "--pipeline", "old")[1])) == 2
    code, said = run(project, "tasks", "resolve", "doubtful", "--not-accepted", "--pipeline", "old")
    assert (code, "unknown → refused" in said) == (0, True), said
    code, said = run(project, "tasks", "abandon", "gone", "--pipeline", "old")
    assert (code, "submitted → abandoned" in said) == (0, True), said
    states = {task.row: task.state for task in ledger.tasks.find("old")}
    assert states == {"gone": TaskState.ABANDONED, "doubtful": TaskState.REFUSED}
    assert ledger.accounts.open_tasks([ACCOUNT], time.time()) == {}
    code, said = run(project, "tasks", "show", "gone", "--pipeline", "older")
    assert (code, "no pipeline 'older': the project has films, nor has its ledger it" in said) == (2, True), said


def test_the_check_warns_of_slots_that_a_pipeline_holds_that_nobody_asks_about(ledger: Ledger):
    """It fails no more than a warning does, and names the command that tells of them."""
    submitted(ledger, "old", "gone")
    ledger.accounts.see_key(ACCOUNT, "key", time.time())
    held = ledger.accounts.neglected("films", time.time() + 2 * 3600)
    judged = judge_unknown("films", [], CommandLine(pipeline="films"), held=held)
    assert (judged.passed, judged.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert f"1 at {ACCOUNT} by tasks of pipeline 'old'" in (judged.description or "")
    assert "tasks list --all --pipeline films" in (judged.description or "")
    assert judge_unknown("films", [], CommandLine()).passed
