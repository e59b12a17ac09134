"""What 25,000 rows cost: reading the table, a tick of each sensor over stored rows, the plan, the asset's page.

    python -m benchmarks.scale --rows 25000 [--page]

The table is read by a real run. Its tasks are then written to the ledger as stored, in bulk, because making 25,000
clips would measure something else. With --page Dagster's log gets a materialisation for each, one by one, and the
asset's page is opened in Chromium (of the `dev` extra's Playwright) until it names the number of partitions.
"""

import argparse
import csv
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.codec import task_values
from pixverse_dagster.ledger.engine import open_engine, sqlite_url
from pixverse_dagster.ledger.ledger import open_ledger
from pixverse_dagster.ledger.schema import tasks

NAME = "demo"


@contextmanager
def timed(what: str) -> Generator[None]:
    """Print how long the block took, and what the process has taken of memory."""
    began = time.perf_counter()
    yield
    memory = psutil.Process().memory_info().rss / 1024**2
    print(f"{what:<46} {time.perf_counter() - began:7.2f} s   {memory:6.0f} MiB")


def write_table(path: Path, rows: int) -> None:
    """A table of so many different prompts."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "model", "prompt", "resolution", "campaign"])
        for n in range(rows):
            prompt = f"A kite over the harbour at dusk, take {n}, wide shot, slow camera"
            table.writerow([f"r{n:06}", "runware/pixverse-v4.5", prompt, "720p", f"c{n % 7}"])


def store_all(url: str) -> list[Task]:
    """Write a stored task for every row, in bulk."""
    ledger, now = open_ledger(url), time.time()
    rows = ledger.rows.find(NAME)
    first = next(iter(rows.values()))
    task, _ = ledger.claim(NAME, first, ClaimTerms("bulk", now, 60, 0.1495))
    template = task_values(task, None) | {"state": TaskState.STORED, "stored_at": now, "next_poll_at": None}
    engine = open_engine(url)
    made: list[dict[str, Any]] = []
    for n, row in enumerate(rows.values()):
        mine = {"id": f"{n:032}", "row": row.id, "digest": row.digest, "client_reference": f"bulk-{n}"}
        made.append(template | mine | {"task_id": f"task-{n}", "request": row.request.model_dump_json()})
    with engine.begin() as connection:
        connection.execute(sa.delete(tasks))
        for chunk in chunked(made, 500):
            connection.execute(sa.insert(tasks), chunk)
    engine.dispose()
    return ledger.tasks.find(NAME)


def main() -> None:
    """Measure."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=25_000)
    options.add_argument("--page", action="store_true", help="Also fill Dagster's log and open the asset's page.")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        write_table(home / "prompts.csv", given.rows)
        os.environ |= {"DAGSTER_HOME": str(home), "PIXVERSE_PROMPTS": str(home / "prompts.csv")}
        measure(home, given.rows, page=given.page)


def measure(home: Path, rows: int, *, page: bool) -> None:
    """Every figure, on a home whose table is written."""
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "pixverse_dagster.definitions"]
    for what in ("prompts, first read (a run of its own)", "prompts, read again unchanged"):
        with timed(what):
            subprocess.run([*command, "--select", "demo/prompts"], check=True, capture_output=True)
    from pixverse_dagster.definitions import defs  # noqa: PLC0415 - configured by the environment above

    url = sqlite_url(home / "storage" / "pixverse" / "ledger.db")
    with timed("(ledger filled)"):
        stored = store_all(url)
    with dg.DagsterInstance.get() as instance:
        for name in ("demo_poll", "demo_continue", "demo_submit_new"):
            sensor = defs.resolve_sensor_def(name)
            resources = {k: v for k, v in (defs.resources or {}).items() if k in sensor.required_resource_keys}
            with (
                dg.build_sensor_context(instance=instance, resources=resources, definitions=defs) as context,
                timed(f"tick of {name}"),
            ):
                sensor.evaluate_tick(context)
        with timed("plan"):
            plan = [sys.executable, "-m", "pixverse_dagster.cli", "plan", "--json"]
            subprocess.run(plan, check=True, capture_output=True)
        if page:
            report(instance, stored)
            open_page(home, rows)


def report(instance: dg.DagsterInstance, stored: list[Task]) -> None:
    """A materialisation for each row, and the query behind the asset's page."""
    key = dg.AssetKey([NAME, "clips"])
    with timed("(events written)"):
        for task in stored:
            event = dg.AssetMaterialization(key, partition=task.row, metadata={"pixverse/cost_usd": 0.1495})
            instance.report_runless_asset_event(event)
    with timed("materialised partitions of clips"):
        found = len(instance.get_materialized_partitions(key))
    print(f"{found} partitions are materialised")


def open_page(home: Path, rows: int) -> None:
    """The asset's page in a browser, twice: with cold and with warm caches of the webserver."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only for this figure

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen([*command, "-m", "pixverse_dagster.definitions"], cwd=home, stderr=subprocess.DEVNULL)
    try:
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            page = chromium.new_page()
            wait_for(port)
            for what in ("the asset's partitions page, first", "the asset's partitions page, again"):
                with timed(what):
                    page.goto(f"http://127.0.0.1:{port}/assets/{NAME}/clips?view=partitions")
                    page.get_by_text(f"{rows:,}").first.wait_for(timeout=120_000)
            chromium.close()
    finally:
        server.terminate()
        server.wait(30)


def wait_for(port: int) -> None:
    """Wait until the webserver answers."""
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            threading.Event().wait(0.1)
        else:
            return


if __name__ == "__main__":
    main()
