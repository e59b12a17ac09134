"""`tasks list`, `show` and `--watch`: how rows stand, what it means for the money, and what to do."""

from __future__ import annotations

import io
import os
import re
import signal
import threading
import time

import pytest
from rich.console import Console

from pixverse_dagster.cli.watch import render
from pixverse_dagster.core.lifecycle import FailureKind
from pixverse_dagster.core.row import Problem
from pixverse_dagster.core.row_state import RowState
from pixverse_dagster.core.task import QueuedRow
from pixverse_dagster.reports.status import AccountStatus, StateCount, Status
from pixverse_dagster_tests.harness.factories import NAME, NOW, PIXWITH, RUN, make_row, moved
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
SLOTS = "8 of 8 slots at runware are taken"
HOUR = 3600.0


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Operated:
    """A row in each state. The tests look at it, and change nothing."""
    made = make_project(tmp_path_factory.mktemp("states"))
    ledger, now = made.ledger, time.time()
    ledger.worlds.set(NAME, {"runware": "simulator", "pixwith": "simulator"})
    failed(ledger, make_row("boat", campaign="winter"), at=now - 2 * HOUR)
    failed(ledger, make_row("moon", PIXWITH), None, FailureKind.MODERATED, "declined by the provider")
    unknown(ledger, make_row("lost"), 1.5)
    accepted(ledger, make_row("star", campaign="summer"))
    again = make_row("again")
    moved(ledger.release(failed(ledger, again, 0.25), "by hand"))
    stored(ledger, again, 0.25)
    # What was charged corrects the estimates that follow, so it comes last.
    stored(ledger, make_row("kite", campaign="winter"), 0.5, 0.57, at=now - 30 * 24 * HOUR)
    refused = make_row("refused")
    moved(ledger.refuse(claimed(ledger, refused), "no credit"))
    waits = make_row("waits", campaign="winter")
    rows = [*ledger.rows.find(NAME).values(), waits, make_row("new")]
    ledger.rows.record(NAME, rows, [Problem(9, "odd", "prompt", "it is empty")], RUN, now)
    entries = [QueuedRow(one.id, one.digest, "runware", RUN, SLOTS, now - HOUR) for one in (waits, refused)]
    ledger.queue.add(NAME, entries, now)
    return made


def listed(project: Operated, *words: str) -> list[tuple[str, str]]:
    """The rows that a list has, and their states."""
    output = project.run("tasks", "list", *words).output
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in output.splitlines() if line[:1] == "│"]
    return [(row, state) for row, state, *_ in cells if row]


EVERY = [
    ("kite", "stored"), ("boat", "failed"), ("moon", "failed"), ("lost", "unknown"), ("star", "rendering"),
    ("again", "failed"), ("again", "stored"), ("refused", "waiting"), ("waits", "waiting"),
]  # fmt: skip


def test_tasks_and_what_waits_are_listed(project: Operated):
    """A refused row that waits has one line; what nobody asked for, and what is invalid, has none by itself."""
    assert listed(project) == EVERY


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        ("--state rendering", ["star"]),
        ("--state submitted", ["star"]),
        ("--state FAILED --kind moderated", ["moon"]),
        ("--state waiting --state unknown", ["lost", "refused", "waits"]),
        ("--state new", ["new"]),
        ("--state invalid", ["odd"]),
        ("--state trouble", ["boat", "moon", "lost", "odd"]),
        ("--label campaign=winter", ["kite", "boat", "waits"]),
        ("--label campaign=winter --since 1d", ["boat", "waits"]),
        ("--label campaign= --state failed", ["moon", "again"]),
        ("--provider pixwith", ["moon"]),
    ],
)
def test_a_list_has_what_was_chosen(project: Operated, words: str, rows: list[str]):
    """By a task's state or by a person's word for it; all that is chosen has to hold."""
    assert [row for row, _ in listed(project, *words.split())] == rows


@pytest.mark.parametrize("width", [40, 80, 160])
def test_what_is_said_of_money_is_whole_at_any_width(project: Operated, width: int):
    """At 80 columns in a table of four; narrower, line below line. No id is shown."""
    output = project.run("tasks", "list", width=width).output
    assert max(map(len, output.partition("2 waiting")[0].splitlines())) <= width
    said = re.sub(r"[^!-~]+", "", output)
    for words in (
        "paid: 0.570 USD",
        "provider_error; perhaps paid: about 0.250 USD; the provider failed",
        "moderated; perhaps paid: at a price that is not public; declined by the provider",
        "perhaps paid: about 1.500 USD; no answer came",
        f"nothing paid; waits: {SLOTS}",
        "followed by a later attempt, which is stored; provider_error; perhaps paid: about 0.250 USD",
        "2 waiting, 1 rendering, 2 stored, 2 failed, 1 unknown; and 1 of earlier attempts and requests.",
        "tasks retry --state failed",
        "tasks resolve ROW --adopt TASK_ID",
    ):
        assert re.sub(r"[^!-~]+", "", words) in said, words
    assert ("row: kite" in output) == (width == 40)
    assert "task 1 of kite" not in output
    assert "task 1 of kite" in project.run("tasks", "list", "--wide", width=250).output


def test_json_has_tasks_and_what_has_none_where_it_was_asked_for(project: Operated):
    """Scripts that read tasks read tasks."""
    found = project.run("tasks", "list", "--json").document
    assert [(one["row"], one["state"], one["claim"]) for one in found] == [
        ("kite", "stored", 1), ("boat", "failed", 1), ("moon", "failed", 1), ("lost", "unknown", 1),
        ("star", "submitted", 1), ("again", "failed", 1), ("again", "stored", 2),
    ]  # fmt: skip
    (refused, waits) = project.run("tasks", "list", "--json", "--state", "waiting").document
    assert (waits["row"], waits["state"], waits["task_id"], waits["labels"]) == (
        "waits",
        "waiting",
        None,
        {"campaign": "winter"},
    )
    assert SLOTS in refused["reason"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("list --state lost", "'lost' is not one of"),
        ("list --label campaign", "'campaign' is not KEY=VALUE"),
        ("list --label a=1 --label a=2", "cannot be both"),
        ("list --since soon", "'soon' is not a date or time"),
        ("list --watch --state failed", "--watch is about the whole pipeline"),
        ("retry", "give ROW, or choose rows by --state"),
        ("retry kite --state failed", "one of the two"),
        ("resolve --state unknown --adopt x", "for many rows give --not-accepted or --abandon"),
    ],
)
def test_a_slip_is_named_before_anything_is_done(project: Operated, words: str, said: str):
    """And ends with 2."""
    done = project.run("tasks", *words.split())
    assert (done.code, said in done.text.replace("│ ", "").replace(" │", "")) == (2, True), done.text


def test_a_story_is_told_in_order_with_its_money_and_what_to_do(project: Operated):
    """Each attempt; what it cost in all; where the clip is."""
    said = project.run("tasks", "show", "again").text
    told = [
        "again: stored, paid: about 0.250 USD.",
        "claimed, to be sent",
        "about 0.250 USD reserved",
        "task 2 of again",
    ]
    told += ["failed at the provider; the provider failed", "one more paid attempt was allowed by a person; by hand"]
    assert [words for words in told if words not in re.sub(r"\s*│\s*", " ", said)] == []
    assert "Spent on it, or perhaps spent, in 2 tasks: about 0.500 USD." in said
    assert "films/clips/again/" in said
    assert "tasks retry again" in project.run("tasks", "show", "boat").text.replace("boat", "again")
    (first, second) = project.run("tasks", "show", "again", "--json").document
    assert [one["event"] for one in first["history"]] == ["claim", "accept", "fail", "release"]
    assert [one["event"] for one in second["history"]] == ["claim", "accept", "succeed", "store"]


def test_a_row_without_a_task_has_a_story_too(project: Operated):
    """Why it waits, since when, and how to withdraw it; the code says that it has no task."""
    done = project.run("tasks", "show", "waits")
    assert (done.code, f"waits: waiting for 1 h, nothing is paid for it yet: {SLOTS}" in done.text) == (1, True)
    assert "tasks abandon waits" in done.text
    refused = project.run("tasks", "show", "refused")
    assert (refused.code, "Nothing was paid for it." in refused.text, "no credit" in refused.text) == (0, True, True)
    assert "run the row again" not in refused.text, "it is run again by itself"
    assert "new: new, nothing paid" in project.run("tasks", "show", "new").text
    done = project.run("tasks", "show", "nobody")
    assert (done.code, "has no task: it was never submitted" in done.text) == (1, True)


STATUS = Status(
    "films",
    NOW,
    states=(
        StateCount(RowState.WAITING, "[bold]8 of 8 slots[/bold] are taken", 12, NOW - HOUR),
        StateCount(RowState.UNKNOWN, "for a person", 2, NOW - 60),
    ),
    spent_today_usd=12.5,
    spent_usd=1234.75,
    at_stake_usd=0.75,
    at_stake_unpriced=1,
    accounts=(AccountStatus("runware/live", 8, 8, NOW + 30, "HTTP 429"),),
    paused=("all spending is paused (lunch)",),
    next_poll_at=NOW + 5,
    counts=dict.fromkeys(RowState, 0) | {RowState.WAITING: 12, RowState.UNKNOWN: 2},
)


@pytest.mark.parametrize("width", [30, 80, 200])
def test_a_status_says_all_at_any_width(width: int):
    """What is said of money comes first and is whole; what others wrote is no markup."""
    page = io.StringIO()
    Console(file=page, width=width).print(render(STATUS))
    said = re.sub(r"[^!-~]+", "", page.getvalue())
    for words in (
        "12.500 USD spent today (UTC), 1234.750 in all.",
        "At stake, for nobody knows the outcome: 0.750 USD and 1 submits at a price that is not public.",
        "all spending is paused (lunch): nothing is submitted until it is resumed.",
        "runware/live: 8 of 8 slots in use; left alone for 30 s: HTTP 429",
        "Next poll: in 5 s.",
    ):
        assert re.sub(r"[^!-~]+", "", words) in said, words
    assert "[bold]" in said
    assert said.index("12.500") < said.index("[bold]")


def test_a_pipe_gets_the_status_once(project: Operated):
    """Nobody could end it."""
    done = project.run("tasks", "list", "--watch")
    assert (done.code, done.output.count("USD spent today"), "2 slots in use" in done.output) == (0, 1, True)


def test_a_person_ends_the_watching_with_a_line(project: Operated, monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C at a terminal: what is under way goes on, and the code is 0."""
    with terminal(monkeypatch) as master:
        seen = ""
        interrupted = threading.Event()

        def look() -> None:
            nonlocal seen
            while text := os.read(master, 4096).decode(errors="replace"):
                seen += text
                if "slots in use" in seen and not interrupted.is_set():
                    interrupted.set()
                    os.kill(os.getpid(), signal.SIGINT)
                if "go on without this" in seen:
                    return

        person = threading.Thread(target=look)
        person.start()
        with pytest.raises(SystemExit) as ended:
            project.main("tasks", "list", "--watch")
        person.join(60)
    assert ended.value.code == 0
    assert "Not watched any more: 3 rows are under way, and go on without this." in seen
    assert "Traceback" not in seen
