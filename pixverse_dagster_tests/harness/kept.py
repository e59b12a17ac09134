"""A ledger and a store as this version leaves them, kept for the versions to come.

    python -m pixverse_dagster_tests.harness.kept

writes `data/kept/<revision>/`: every table of the ledger as JSON, and the store. It is run once for each revision of
the schema, when it is released, and what it wrote is never changed: `contract/test_kept.py` opens it with every later
one.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.outcomes import Accepted, Failed, Succeeded
from pixverse_dagster.core.task import QueuedRow, Task
from pixverse_dagster.ledger import schema
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import open_engine, sqlite_url
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.pauses import Pause
from pixverse_dagster.recovery.forget import forget_row, plan_forget
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster_tests.harness.factories import (
    CELLS,
    HIGHWAY,
    NAME,
    NOW,
    PIXWITH,
    RUN,
    RUNWARE,
    Setup,
    make_row,
    make_session,
    moved,
    poll_until,
    record_rows,
    submit_all,
)
from pixverse_dagster_tests.harness.manifests import task_of
from pixverse_dagster_tests.harness.servers import running_simulator

KEPT = Path(__file__).parents[1] / "data" / "kept"


def main() -> None:
    """Write the kept ledger and store of the newest revision."""
    target = KEPT / schema.HEAD
    if target.exists():
        raise SystemExit(f"{target} is kept already; what was released is never written again")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        engine = open_engine(sqlite_url(folder / "ledger.db"))
        with running_simulator(folder, generation_seconds=0.1) as server:
            make_clips(Ledger(engine), server.url, LocalStore(folder / "store"))
        make_tasks(Ledger(engine))
        shutil.copytree(folder / "store", target / "store", ignore=shutil.ignore_patterns(".*"))
        (target / "ledger.json").write_text(json.dumps(dump(engine), indent=1, ensure_ascii=False) + "\n")
        engine.dispose()


def make_clips(ledger: Ledger, url: str, store: LocalStore) -> None:
    """A clip of each provider, one of them of a second attempt, stored as a run would; and one that was deleted."""
    rows = [make_row("first", HIGHWAY), make_row("zwei ü 2", PIXWITH, campaign="winter"), make_row("third", RUNWARE)]
    rows.append(make_row("forgotten", PIXWITH))
    with make_session(ledger, url, Setup()) as session:
        submit_all(session, rows)
        (third,) = ledger.tasks.find(NAME, keys=["third"])
        failed = moved(ledger.fail(third, Failed(FailureKind.PROVIDER_ERROR, "the provider failed"), NOW))
        moved(ledger.release(failed, "by hand"))
        submit_all(session, rows)
        tasks = poll_until(session, lambda found: sum(task.state is TaskState.SUCCEEDED for task in found) == len(rows))
        list(collect_tasks(session, store, [task for task in tasks if task.state is TaskState.SUCCEEDED]))
    forget_row(ledger, store, plan_forget(ledger, store, NAME, "forgotten"), "deleted by hand", NOW + 600)


def make_tasks(ledger: Ledger) -> None:
    """A task in each other state, and what else a ledger keeps: a row that waits, a take, a pause, a withdrawal."""
    states = [state for state in TaskState if state not in {TaskState.STORED, TaskState.FORGOTTEN}]
    stored = list(ledger.rows.find(NAME).values())
    rows = [make_row(state, model) for state, model in zip(states, cycle([RUNWARE, *CELLS]), strict=False)]
    others = [make_row("waits"), make_row("another take"), make_row("withdrawn"), make_row("found")]
    record_rows(ledger, [*stored, *rows, *others])
    for row in rows:
        reach(ledger, ledger.claim(NAME, row, ClaimTerms(RUN, NOW, 180, 0.1, account="runware/live"))[0], row.id)
    ledger.queue.add(NAME, [QueuedRow("waits", others[0].digest, "runware", RUN, "no slot", NOW)], NOW)
    ledger.rows.raise_take(NAME, "another take")
    ledger.rows.withdraw(NAME, "withdrawn", NOW)
    ledger.pauses.add(Pause("account", "runware/live", "the year ends", NOW))
    ledger.accounts.see_key("runware/live", "0123456789abcdef", NOW)
    ledger.accounts.confirm("runware/live", "fedcba9876543210", ["0123456789abcdef"], NOW + 60)
    ledger.worlds.set(NAME, {"runware": "live"})
    ledger.ledgers.acknowledge("another-ledger", "beside")
    ledger.ledgers.raise_epoch()
    of_other = {"account": "runware/live", "world": "live", "state": TaskState.FAILED, "attempt": 1}
    moved(
        ledger.restore(task_of(others[3], **of_other, kind=FailureKind.EXPIRED, found_at=NOW, paid_by="another-ledger"))
    )


def reach(ledger: Ledger, task: Task, state: str) -> None:
    """Bring a claim into the state."""
    match TaskState(state):
        case TaskState.CLAIMED | TaskState.STORED | TaskState.FORGOTTEN:
            return
        case TaskState.REFUSED:
            moved(ledger.refuse(task, "no credit"))
            return
        case TaskState.UNKNOWN:
            moved(ledger.mark_unknown(task, "no answer", None))
            return
        case _:
            task = ledger.accept(task, Accepted(f"task of {state}"), NOW + 1, NOW + 6).task
    if state == TaskState.SUCCEEDED:
        moved(ledger.succeed(task, Succeeded(("https://results.example.org/1.mp4",), 0.12, (7,)), NOW + 60))
    elif state == TaskState.FAILED:
        moved(ledger.fail(replace(task), Failed(FailureKind.LOST, "not known any more"), NOW + 9000))
    elif state == TaskState.ABANDONED:
        moved(ledger.abandon(task, "given up", "by hand"))


def dump(engine: sa.Engine) -> dict[str, list[dict[str, object]]]:
    """Every table of the ledger, each record as an object."""
    with engine.connect() as connection:
        return {
            table.name: [dict(record) for record in connection.execute(sa.select(table)).mappings()]
            for table in schema.metadata.sorted_tables
        }


if __name__ == "__main__":
    main()
