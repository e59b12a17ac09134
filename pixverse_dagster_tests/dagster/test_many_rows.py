"""`tasks retry`, `abandon` and `resolve` on many rows: the price and a question first, and each row by itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import pytest

from pixverse_dagster.cli import decide
from pixverse_dagster.cli.decide import Answer
from pixverse_dagster.cli.many import Decision, Target, carry_out
from pixverse_dagster.cli.project import Project, ProjectChoice
from pixverse_dagster.core.lifecycle import FailureKind
from pixverse_dagster.core.outcomes import Accepted
from pixverse_dagster.core.task import QueuedRow, Task
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.stages.session import Session
from pixverse_dagster_tests.harness.factories import NAME, NOW, PIXWITH, RUN, make_row, moved, put_row
from pixverse_dagster_tests.harness.operated import (
    Operated,
    accepted,
    claimed,
    failed,
    make_project,
    stored,
    terminal,
    unknown,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster._utils.warnings.BetaWarning"),
    pytest.mark.filterwarnings("ignore:.*dagster_run:DeprecationWarning"),
]
RETRY = ("tasks", "retry", "--state", "failed")


@pytest.fixture
def project(tmp_path: Path) -> Operated:
    """Three rows that failed, of which one left the table; one that is moderated; one that waits; one unknown."""
    made = make_project(tmp_path)
    ledger = made.ledger
    ledger.worlds.set(NAME, {"runware": "simulator", "pixwith": "simulator"})
    failed(ledger, make_row("gone"))
    for row in ("boat", "kite"):
        failed(ledger, make_row(row))
    failed(ledger, make_row("moon", PIXWITH), None, FailureKind.MODERATED, "declined")
    unknown(ledger, make_row("lost"))
    accepted(ledger, make_row("star"))
    waits = put_row(ledger, make_row("waits"))
    ledger.queue.add(NAME, [QueuedRow(waits.id, waits.digest, "runware", RUN, "no slot", NOW)], NOW)
    rows = [row for row in ledger.rows.find(NAME).values() if row.id != "gone"]
    ledger.rows.record(NAME, rows, [], RUN, NOW + 1)
    return made


def queued(project: Operated) -> list[str]:
    return sorted(entry.row for entry in project.ledger.queue.find(NAME))


def states(project: Operated) -> dict[str, str]:
    return {task.row: str(task.state) for task in project.ledger.tasks.find(NAME)}


def test_without_a_terminal_and_without_yes_nothing_is_done(project: Operated):
    """The price, the question and the command that does it are said; the code is 2."""
    before = states(project), queued(project)
    for words, said in (
        (RETRY, "Allow one more paid attempt of 3 rows, for about 0.224 USD plus 1 row whose price is not public?"),
        (("tasks", "abandon", "--state", "waiting"), "Withdraw 1 row of the queue, for which nothing was paid?"),
        (("tasks", "abandon", "--state", "unknown"), "What they cost stays spent: about 0.250 USD."),
        (("tasks", "resolve", "--state", "unknown", "--not-accepted"), "is paid for again; at stake: about 0.250 USD"),
    ):
        done = project.run(*words, answer="y\n")
        assert (done.code, said in done.text, "Nothing was done" in done.text) == (2, True, True), done.text
        assert f"{' '.join(words[:2])} " in done.errors
        assert "--yes" in done.errors
    assert (states(project), queued(project)) == before


def test_many_are_retried_once_and_what_cannot_be_stops_no_other(project: Operated):
    """A row that left the table is left out and named; asked again, the same command asks for nothing."""
    done = project.run(*RETRY, "--kind", "provider_error", "--yes")
    assert done.code == 0
    assert "left out: row 'gone' (failed): it left the table" in done.text
    assert "row 'kite': attempt 2 was allowed by hand, for about 0.112 USD." in done.text
    assert "2 of 2 rows are done." in done.text
    assert queued(project) == ["boat", "kite", "waits"]
    again = project.run(*RETRY, "--yes", "--kind", "provider_error")
    assert (again.code, "nothing was changed, and nothing is spent" in again.text) == (0, True)
    assert "row 'boat': a further attempt was asked for already" in again.text
    assert queued(project) == ["boat", "kite", "waits"]


def test_one_more_take_of_many_is_asked_for_once(project: Operated):
    """Only of rows that have a clip, and only while that is what they ask for."""
    stored(project.ledger, make_row("kite", prompt="another kite", campaign="winter"))
    words = ("tasks", "retry", "--take", "--label", "campaign=winter", "--yes")
    assert "take 2 was asked for by hand" in project.run(*words).text
    assert project.ledger.rows.find(NAME)["kite"].take == 2
    assert "nothing was changed" in project.run(*words).text
    assert project.ledger.rows.find(NAME)["kite"].take == 2


def test_many_are_given_up_withdrawn_and_resolved(project: Operated):
    """What waited costs nothing; what is under way stays spent; each row says what became of it."""
    done = project.run("tasks", "abandon", "--state", "waiting", "--state", "rendering", "--yes")
    assert done.code == 0
    assert "row 'star': submitted → abandoned" in done.text
    assert "row 'waits' waits no longer" in done.text
    assert queued(project) == []
    done = project.run("tasks", "resolve", "--state", "unknown", "--not-accepted", "--yes")
    assert (done.code, "row 'lost': unknown → refused" in done.text) == (0, True)


@pytest.mark.parametrize(("answer", "code", "rows"), [("n", 1, ["waits"]), ("y", 0, ["boat", "kite", "moon", "waits"])])
def test_a_person_at_a_terminal_is_asked(
    answer: str, code: int, rows: list[str], project: Operated, monkeypatch: pytest.MonkeyPatch
):
    """The answer decides, and no is no."""
    seen = ""

    def reply(master: int) -> None:
        nonlocal seen
        while "USD" not in seen or "[y/N]" not in seen:
            seen += os.read(master, 4096).decode(errors="replace")
        os.write(master, f"{answer}\n".encode())
        while "rows are done" not in seen and "Nothing was done" not in seen:
            seen += os.read(master, 4096).decode(errors="replace")

    with terminal(monkeypatch) as master:
        person = threading.Thread(target=partial(reply, master))
        person.start()
        with pytest.raises(SystemExit) as ended:
            project.main(*RETRY)
        person.join(60)
    assert (ended.value.code, queued(project)) == (code, rows)


def test_what_goes_wrong_with_one_row_is_said_and_stops_no_other(capsys: pytest.CaptureFixture[str]):
    """Whatever it is; the code tells."""

    def fail() -> str:
        raise OSError("the disk is full")

    acts = {"a": lambda: "a is done", "b": fail, "c": lambda: "c is done"}
    targets = [Target(row, "failed", None, "", act) for row, act in acts.items()]
    assert carry_out(Decision("Retried", "Go on", targets), "again", yes=True) == 1
    said = capsys.readouterr()
    assert "not done: row 'b': OSError: the disk is full" in said.err
    assert said.out.endswith("a is done\nc is done\n2 of 3 rows are done. What was not done is as it was.\n")


Step = Callable[[Project, Session, Task], str]
ACTS: dict[str, tuple[str, Step, Callable[[Ledger, Task], object]]] = {
    "a retry of what somebody allowed already": (
        "kite",
        lambda project, session, shown: decide.retry_row(project, session, shown.row, shown=shown),
        lambda ledger, task: moved(ledger.release(task, "by another")),
    ),
    "a further take of what somebody retook": (
        "kept",
        lambda project, session, shown: decide.retry_row(project, session, shown.row, another_take=True, shown=shown),
        lambda ledger, task: ledger.rows.raise_take(NAME, task.row),
    ),
    "giving up what was unknown and is at the provider": (
        "lost",
        lambda project, _, shown: decide.abandon_task(project, shown),
        lambda ledger, task: ledger.accept(task, Accepted("late"), NOW, NOW),
    ),
    "not accepted, of what was accepted": (
        "lost",
        lambda project, session, shown: decide.resolve_row(
            project, session, shown.row, Answer(not_accepted=True), shown
        ),
        lambda ledger, task: ledger.accept(task, Accepted("late"), NOW, NOW),
    ),
    "withdrawing what was sent": (
        "waits",
        lambda project, session, _: decide.withdraw_shown(project, session, "waits"),
        lambda ledger, _: claimed(ledger, ledger.rows.find(NAME)["waits"]),
    ),
}


@pytest.mark.parametrize("act", ACTS)
def test_what_changed_after_it_was_shown_is_left_as_it_is(act: str, project: Operated):
    """Somebody was faster: the person agreed to something else, which is said, and nothing is paid or given up."""
    row, step, meanwhile = ACTS[act]
    stored(project.ledger, make_row("kept"))
    shown = next((task for task in project.ledger.tasks.find(NAME) if task.row == row), None)
    task = shown or project.ledger.tasks.find(NAME)[0]
    meanwhile(project.ledger, task)
    before = states(project), queued(project), project.ledger.rows.takes(NAME)
    choice = ProjectChoice(home=project.folder / "home", python_file=project.folder / "films.py")
    with choice.open() as opened, opened.open() as session, pytest.raises(click.ClickException) as error:
        step(opened, session, task)
    assert "Nothing was changed" in error.value.format_message()
    assert (states(project), queued(project), project.ledger.rows.takes(NAME)) == before
