"""How long a round of polling takes over the tasks of a provider whose resource was removed.

    python -m benchmarks.removed [--tasks 2000]

Prints seconds and CPU seconds of the first round, which leaves all of them for a while, and of the second, which finds
nothing due.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from pixverse_dagster.core.outcomes import Accepted
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.stages.poll import poll_due
from pixverse_dagster.stages.session import Session
from pixverse_dagster_tests.harness.factories import NAME, PIXWITH, RUN, make_rows, record_rows, session_in

NOWHERE = "http://127.0.0.1:9"


def submit(session: Session, count: int) -> None:
    """Tasks that were submitted a while ago, and are due."""
    rows, at = make_rows(count, PIXWITH), time.time() - 100
    record_rows(session.ledger, rows)
    client = session.clients["pixwith"]
    for number, row in enumerate(rows):
        terms = ClaimTerms(RUN, at, 60, 0.1, account=client.account, world=client.world)
        task, _ = session.ledger.claim(NAME, row, terms)
        session.ledger.accept(task, Accepted(f"t{number}"), at, at)


def main() -> None:
    """Measure two rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2000)
    count = parser.parse_args().tasks
    with tempfile.TemporaryDirectory() as folder, session_in(Path(folder), NOWHERE) as session:
        submit(session, count)
        without = replace(session, clients={n: c for n, c in session.clients.items() if n != "pixwith"})
        for _ in range(2):
            began, cpu = time.perf_counter(), time.process_time()
            report = poll_due(without, 10)
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            print(f"{count} tasks: {seconds:.3f} s, {cpu:.3f} s of CPU; {report}")


if __name__ == "__main__":
    main()
