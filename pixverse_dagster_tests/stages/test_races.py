"""Races: processes that submit, poll and collect the same rows at the same moment, on both databases."""

import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.ledger.ledger import Ledger, open_ledger
from pixverse_dagster.reports.verify import verify
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.stages.poll import poll_due
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster_tests.harness.counts import FULL
from pixverse_dagster_tests.harness.factories import (
    HIGHWAY,
    NAME,
    PIXWITH,
    RUNWARE,
    Setup,
    deliver,
    make_row,
    make_session,
    record_rows,
)
from pixverse_dagster_tests.harness.fixtures import Tell
from pixverse_dagster_tests.harness.forked import call_together
from pixverse_dagster_tests.harness.servers import Simulator

ROWS = 200 if FULL else 60
MODELS = (HIGHWAY, RUNWARE, PIXWITH)


@dataclass(frozen=True)
class Job:
    """What one process does with which rows."""

    what: str
    database: str
    server: str
    store: Path
    rows: tuple[str, ...]


@dataclass(frozen=True)
class Done:
    """What it did, and every problem that a person would have seen."""

    rows: tuple[str, ...]
    problems: tuple[str, ...]


def work(job: Job) -> Done:
    """In a process of its own; an error of the database would come out here."""
    setup = Setup(run_id=f"{job.what}-{os.getpid()}")
    with make_session(open_ledger(job.database), job.server, setup) as session:
        if job.what == "submit":
            submitted = list(submit_rows(session, job.rows))
            # A row that another process is just submitting says so: that is an answer, not a fault.
            wrong = [one.problem for one in submitted if "is being submitted by run" not in one.problem]
            return Done(tuple(one.row for one in submitted if one.sent), tuple(filter(None, wrong)))
        if job.what == "poll":
            deadline = time.monotonic() + 60
            while session.ledger.tasks.find(NAME, [TaskState.SUBMITTED]) and time.monotonic() < deadline:
                poll_due(session, 5)
            return Done((), ())
        store = LocalStore(job.store)
        if job.what == "collect":
            collected = list(collect_tasks(session, store, session.ledger.tasks.collectable(NAME, job.rows)))
            problems = [one.problem for one in collected if one.problem]
        else:
            collected, problems = deliver(session, store, job.rows, 90)
        return Done(tuple(one.task.row for one in collected if one.manifest), tuple(problems))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("processes", [2, 8])
def test_processes_that_race_at_every_step_charge_and_store_each_row_once(
    ledger: Ledger, ledger_url: str, server: Simulator, tmp_path: Path, processes: int, tell: Tell
):
    """Submits of the same rows, ticks at once, overlapping collects and a backfill during them: each row once."""
    table = [make_row(f"r{n:03}", MODELS[n % 3], prompt=f"kite {n}") for n in range(ROWS)]
    keys = tuple(record_rows(ledger, table))
    began = time.monotonic()

    def race(*jobs: tuple[str, tuple[str, ...]]) -> list[Done]:
        done = call_together(work, [Job(what, ledger_url, server.url, tmp_path / "clips", rows) for what, rows in jobs])
        assert not [problem for one in done for problem in one.problems]
        return done

    sent = race(*[("submit", keys)] * processes)
    assert Counter(row for one in sent for row in one.rows) == Counter(keys)
    charged = Counter(task["request"].get("positivePrompt") or task["request"]["prompt"] for task in server.tasks())
    assert charged == Counter(f"kite {n}" for n in range(ROWS))
    race(("poll", ()), ("poll", ()))
    assert ledger.tasks.counts(NAME) == {TaskState.SUCCEEDED: ROWS}
    stored = race(("collect", keys[:40]), ("collect", keys[20:]), ("backfill", keys))
    assert {row for one in stored for row in one.rows} == set(keys)
    assert ledger.tasks.counts(NAME) == {TaskState.STORED: ROWS}
    assert len(server.tasks()) == ROWS
    result = verify(ledger, LocalStore(tmp_path / "clips"), NAME)
    assert (result.clips, list(result.disagreements)) == (ROWS, [])
    kind = ledger_url.partition(":")[0].partition("+")[0]
    tell(
        f"races, {kind}, {processes} processes",
        f"rows={ROWS} charges={len(server.tasks())} duplicate_charges=0 stored={result.clips} "
        f"seconds={time.monotonic() - began:.0f}",
    )
