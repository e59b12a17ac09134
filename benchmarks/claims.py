"""What a claim costs as the ledger grows: the transaction before every paid submit, with a budget and a limit on slots.

    python -m benchmarks.claims                          # this version, at 1,000, 10,000 and 100,000 tasks
    python -m benchmarks.claims --against ../earlier     # and the version that is checked out there, in turns

Prints milliseconds per claim, the median of `--claims` claims by one process, as Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.row import RawRow
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.schema import tasks
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.tables.parse import Draft, TableRules, parse_row

ROOT = Path(__file__).parents[1]
NAME = "bench"
NOW = 1_800_000_000.0


def measure(url: str, history: int, claims: int) -> tuple[float, float]:
    """Milliseconds per claim, by the clock and of CPU, in a ledger of so many tasks; of the version imported."""
    cells = {"model": "runware/pixverse-v4.5", "prompt": "a kite", "resolution": "360p"}
    parsed = [parse_row(RawRow(n + 2, {"id": f"r{n}", **cells}), TableRules()) for n in range(claims + 1)]
    rows = [one.complete({}) for one in parsed if isinstance(one, Draft)]
    engine = open_engine(url)
    ledger = Ledger(engine)
    ledger.rows.record(NAME, rows, [], "run", NOW)
    terms = ClaimTerms("run", NOW, 180, 0.1, Budget(total_usd=1e9), account="a", max_open_tasks=10**9)
    ledger.claim(NAME, rows[0], terms)
    with engine.begin() as connection:
        template = dict(connection.execute(sa.select(tasks)).mappings().one())
        for first in range(0, history, 1000):
            many = [
                template
                | {"id": uuid.uuid4().hex, "row": f"old {n}", "client_reference": f"old {n}", "task_id": f"old {n}"}
                | {"state": TaskState.STORED, "next_poll_at": None}
                for n in range(first, min(first + 1000, history))
            ]
            connection.execute(sa.insert(tasks), many)
    spent: list[float] = []
    began = time.process_time()
    for row in rows[1:]:
        start = time.perf_counter()
        _, mine = ledger.claim(NAME, row, terms)
        spent.append(1000 * (time.perf_counter() - start))
        if not mine:
            raise AssertionError("a row was not claimed")
    cpu = 1000 * (time.process_time() - began) / claims
    engine.dispose()
    return statistics.median(spent), cpu


def run(checkout: Path, url: str, history: int, claims: int) -> tuple[float, float]:
    """The same in a process that imports the version of this checkout."""
    command = [sys.executable, str(Path(__file__)), "--worker", url, str(history), str(claims)]
    environment = os.environ | {"PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=True)
    wall, cpu = json.loads(done.stdout.splitlines()[-1])
    return float(wall), float(cpu)


def main() -> None:
    """Measure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--against", type=Path, help="A checkout of another version.")
    options.add_argument("--claims", type=int, default=200)
    options.add_argument("--repeat", type=int, default=3, help="Rounds; each figure is the median of its rounds.")
    options.add_argument("--tasks", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    options.add_argument("--worker", nargs=3, metavar=("URL", "TASKS", "CLAIMS"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.worker:
        url, history, claims = given.worker
        print(json.dumps(measure(url, int(history), int(claims))))
        return
    versions = {"this version": ROOT} | ({"the other": given.against.resolve()} if given.against else {})
    print(f"| tasks in the ledger | {' | '.join(f'{name}: ms, CPU ms' for name in versions)} | ratios |")
    print(f"|---|{'---|' * len(versions)}---|")
    for history in given.tasks:
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in versions}
        for _ in range(given.repeat):
            for name, checkout in versions.items():
                with tempfile.TemporaryDirectory() as folder:
                    found[name].append(run(checkout, f"sqlite:///{folder}/ledger.db", history, given.claims))
        medians = [tuple(statistics.median(one) for one in zip(*times, strict=True)) for times in found.values()]
        cells = " | ".join(f"{wall:.2f}, {cpu:.2f}" for wall, cpu in medians)
        ratios = ", ".join(f"{mine / other:.2f}" for mine, other in zip(medians[0], medians[-1], strict=True))
        print(f"| {history:,} | {cells} | {ratios if len(medians) > 1 else ''} |")


if __name__ == "__main__":
    main()
