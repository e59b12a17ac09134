"""A large table in every state at once: its ledger and Dagster's log of it, written in bulk."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.codec import task_values
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.schema import history, spending, tasks, waiting
from pixverse_dagster.providers import PROVIDERS

NAME = "demo"
MODEL = "runware/pixverse-v4.5"
PRICE_USD = 0.1495
LEFT_USD = 50.0
"""What the budget leaves for rows that have no task yet."""
DUE = 500
"""Pending tasks that a tick finds due."""
_OF_TWENTY = (
    *["stored"] * 11, *["pending"] * 2, "ready", *["failed"] * 2, "unknown", "refused", "waiting", "new or stalled"
)  # fmt: skip
_CHUNK = 500


def state_of(n: int) -> str:
    """What row number `n` is."""
    found = _OF_TWENTY[n % len(_OF_TWENTY)]
    return found if found != "new or stalled" else ("new", "stalled")[n // len(_OF_TWENTY) % 2]


def describe() -> str:
    """The parts of the mix, in words."""
    found = [state_of(n) for n in range(2 * len(_OF_TWENTY))]
    return ", ".join(f"{100 * found.count(state) / len(found):.3g} % {state}" for state in dict.fromkeys(found))


def paid_usd(rows: int) -> float:
    """What the mix has cost so far."""
    free = {"refused", "waiting", "new"}
    return sum(PRICE_USD for n in range(rows) if state_of(n) not in free)


def write_table(path: Path, rows: int) -> None:
    """A table of so many different prompts."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "model", "prompt", "resolution", "campaign"])
        for n in range(rows):
            prompt = f"A kite over the harbour at dusk, take {n}, wide shot, slow camera"
            table.writerow([f"r{n:06}", MODEL, prompt, "720p", f"c{n % 7}"])


def fill_ledger(url: str) -> None:
    """Give every row of the table that was read its place in the mix. Waits are over when a tick looks."""
    engine = open_engine(url)
    ledger, now = Ledger(engine), time.time()
    rows = list(ledger.rows.find(NAME).values())
    provider = next(one for one in PROVIDERS if one.NAME == "runware")
    key = provider("simulator").fingerprint(ledger.salt)
    terms = ClaimTerms("bulk", now, 60, PRICE_USD, account="runware/simulator", world="simulator", key=key)
    task, _ = ledger.claim(NAME, rows[0], terms)
    template = task_values(task, None)
    with engine.begin() as connection:
        connection.execute(sa.delete(tasks))
        connection.execute(sa.delete(history))
        connection.execute(sa.update(spending).values(usd_millionths=round(paid_usd(len(rows)) * 1e6)))
        for chunk in chunked(_tasks(rows, template, now), _CHUNK):
            connection.execute(sa.insert(tasks), chunk)
        for chunk in chunked(_waiting(rows, now), _CHUNK):
            connection.execute(sa.insert(waiting), chunk)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    engine.dispose()


def _tasks(rows: list[Row], template: Mapping[str, Any], now: float) -> Iterator[dict[str, Any]]:
    changes = _changes(now)
    for n, row in enumerate(rows):
        if (state := state_of(n)) not in changes:
            continue
        mine = {"id": f"{n:032}", "row": row.id, "digest": row.digest, "address_digest": row.address_digest}
        mine |= {"client_reference": f"bulk-{n}", "task_id": f"task-{n}", "folder": "", "stalled_at": None}
        mine |= {"request": row.request.model_dump_json(exclude_none=True), "claimed_at": now - 900 + n / 1000}
        yield {
            **template,
            "submitted_at": now - 600,
            "next_poll_at": None,
            "lease_until": None,
            **mine,
            **changes[state],
        }


def _changes(now: float) -> dict[str, dict[str, Any]]:
    """What a task of each state has of its own."""
    return {
        "stored": {"state": TaskState.STORED, "finished_at": now - 300, "stored_at": now - 200, "cost_usd": PRICE_USD},
        "pending": {"state": TaskState.SUBMITTED, "next_poll_at": now},
        "ready": {
            "state": TaskState.SUCCEEDED,
            "finished_at": now - 100,
            "next_collect_at": now - 50,
            "urls": '["https://im.example/1.mp4"]',
        },
        "failed": {
            "state": TaskState.FAILED,
            "kind": FailureKind.PROVIDER_ERROR,
            "finished_at": now - 300,
            "reason": "the provider could not generate it",
        },
        "unknown": {"state": TaskState.UNKNOWN, "task_id": None, "reason": "the answer was lost"},
        "refused": {"state": TaskState.REFUSED, "task_id": None, "attempt": None, "reason": "invalid"},
        "stalled": {"state": TaskState.SUBMITTED, "stalled_at": now - 60, "next_poll_at": now + 600},
    }


def _waiting(rows: list[Row], now: float) -> Iterator[dict[str, Any]]:
    for n, row in enumerate(rows):
        if state_of(n) == "waiting":
            yield {
                "pipeline": NAME, "row": row.id, "digest": row.digest, "provider": "runware", "run_id": "bulk",
                "backfill_id": "", "reason": "no slot is free", "refusals": 0, "answer": "", "since": now - 600,
                "next_submit_at": now,
            }  # fmt: skip


def reset_times(url: str) -> None:
    """Undo what a tick put off: again some tasks are due, all that is ready and all that waits."""
    engine, now = open_engine(url), time.time()
    of = tasks.c.state
    due = sa.select(tasks.c.id).where(of == TaskState.SUBMITTED, tasks.c.stalled_at.is_(None)).limit(DUE)
    with engine.begin() as connection:
        pending = sa.update(tasks).where(of == TaskState.SUBMITTED, tasks.c.stalled_at.is_(None))
        connection.execute(pending.values(next_poll_at=now + 14))
        connection.execute(sa.update(tasks).where(tasks.c.id.in_(due)).values(next_poll_at=now))
        connection.execute(sa.update(tasks).where(of == TaskState.SUCCEEDED).values(next_collect_at=now))
        connection.execute(sa.update(waiting).values(next_submit_at=now))
    engine.dispose()


def fill_log(instance: dg.DagsterInstance, rows: int) -> None:
    """A materialisation of `tasks` for each row that has one, and of `clips` for each that is stored.

    One of each is reported, and the record that Dagster made of it is copied.
    """
    without = {"new", "waiting", "refused"}
    parts = {
        "tasks": [n for n in range(rows) if state_of(n) not in without],
        "clips": [n for n in range(rows) if state_of(n) == "stored"],
    }
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise TypeError("not a log in a database")
    table = SqlEventLogStorageTable
    for asset, numbers in parts.items():
        key, first = dg.AssetKey([NAME, asset]), f"r{numbers[0]:06}"
        metadata = {"pixverse/cost_usd": PRICE_USD}
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=first, metadata=metadata))
        with storage.index_connection() as connection:
            mine = sa.select(table).where(table.c.asset_key == key.to_string()).order_by(table.c.id.desc()).limit(1)
            record = dict(connection.execute(mine).mappings().one())
            del record["id"]
            for chunk in chunked(numbers[1:], _CHUNK):
                copies = [
                    record | {"partition": f"r{n:06}", "event": record["event"].replace(first, f"r{n:06}")}
                    for n in chunk
                ]
                connection.execute(sa.insert(table), copies)
