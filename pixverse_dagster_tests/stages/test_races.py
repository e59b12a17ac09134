"""Races: processes that do everything to the same rows at once, and nobody waits for anybody, on both databases."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster_tests.harness.counts import FULL
from pixverse_dagster_tests.harness.factories import HIGHWAY, NAME, PIXWITH, RUNWARE, make_row, record_rows
from pixverse_dagster_tests.harness.fixtures import Tell
from pixverse_dagster_tests.harness.forked import call_together
from pixverse_dagster_tests.harness.judge.money import check_claims, check_ends, check_money
from pixverse_dagster_tests.harness.judge.records import Books, Folder, Places, Record, words_of, words_of_task
from pixverse_dagster_tests.harness.judge.store import check_names, check_store
from pixverse_dagster_tests.harness.races import PARTS, Done, Part, plan, work
from pixverse_dagster_tests.harness.servers import StartSimulator
from pixverse_dagster_tests.harness.soak.soak import random_seed

ROWS, PROCESSES = (200, 2) if FULL else (36, 1)
MODELS = (HIGHWAY, RUNWARE, PIXWITH)
FAULTS = {"submit.lost_response": 0.1, "task.failed": 0.1, "poll.dropped": 0.05, "media.expired": 0.1}
SEED = random_seed()


def check_allowed(audit: Sequence[Record], books: Books, done: Sequence[Done]) -> Iterator[str]:
    """Each request was charged once, and once more for each time that a person allowed it."""
    words = {task["id"]: words_of_task(task) for task in books.tasks}
    allowed = Counter(words[task_id] for task_id in {task_id for one in done for task_id in one.released})
    takes = Counter(row for one in done for row in one.retaken)
    for task in books.newest().values():
        allowed[words_of_task(task)] += takes[task["row"]]
    charged: dict[str, list[Record]] = defaultdict(list)
    for charge in audit:
        charged[words_of(charge)].append(charge)
    for said, charges in charged.items():
        if len(charges) != 1 + allowed[said]:
            yield f"{len(charges)} charges for {said!r}, of which {1 + allowed[said]} were allowed: {charges}"


def check_rows(rows: Sequence[str], books: Books, done: Sequence[Done]) -> Iterator[str]:
    """Every row, by its present name, has its clip, and no other row is there."""
    names = {old: new for one in done for old, new in one.renamed.items()}
    newest = books.newest()
    if {*newest} != (expected := {names.get(row, row) for row in rows}):
        yield f"the ledger has the rows {sorted(newest)}, not {sorted(expected)}"
    yield from (f"row {row!r} is {task['state']}" for row, task in newest.items() if task["state"] != "stored")


@pytest.mark.timeout(600)
def test_whatever_races_each_request_is_charged_once_and_each_clip_is_where_its_row_is(
    ledger: Ledger, ledger_url: str, simulator: StartSimulator, tmp_path: Path, tell: Tell
):
    """Submits, ticks, collects, back-fills, decisions, renamings and rebuildings at once, against lossy providers."""
    running = simulator(generation_seconds=0.3, seed=SEED, faults=FAULTS)
    table = [make_row(f"r{n:03}", MODELS[n % 3], prompt=f"kite {n}") for n in range(ROWS)]
    rows, began = record_rows(ledger, table), time.monotonic()
    processes: dict[Part, int] = {
        part: 2 * PROCESSES if part in {"submit", "poll", "decide"} else PROCESSES for part in PARTS
    }
    jobs = plan(rows, processes, renamed=ROWS // 5, retaken=ROWS // 10, seed=SEED, ledger_url=ledger_url,
                simulator_url=running.url, store=tmp_path / "clips", seconds=300)  # fmt: skip
    done = call_together(work, list(jobs))
    places = Places(NAME, ledger_url, Folder(tmp_path / "clips"))
    audit, books = running.tasks(), places.books()
    wrong = [
        *check_rows(rows, books, done),
        *check_allowed(audit, books, done),
        *check_store(audit, places.files, NAME),
        *check_money(audit, [books]),
        *check_claims(audit, books.tasks),
        *check_ends(audit, books.tasks, places.files),
        *check_names(books.tasks, places.files, NAME),
    ]
    kind = ledger_url.partition(":")[0].partition("+")[0]
    released = len({task_id for one in done for task_id in one.released})
    renamed = sum(len(one.renamed) for one in done)
    retaken = sum(len(one.retaken) for one in done)
    tell(
        f"races, {kind}",
        f"seed={SEED} processes={len(done)} rows={ROWS} charges={len(audit)} attempts_allowed_by_hand={released} "
        f"takes_asked_for={retaken} renamed={renamed} "
        f"stored={sum(task['state'] == 'stored' for task in books.tasks)} wrong={len(wrong)} "
        f"times={dict(Counter({one.part: one.times for one in done}))} seconds={time.monotonic() - began:.0f}",
    )
    assert not wrong, "\n".join(wrong)
    assert renamed == ROWS // 5
    assert retaken == ROWS // 10
