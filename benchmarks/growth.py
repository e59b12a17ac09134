"""What a table of 100,000 rows in every state costs, against one of 10,000: reading, ticks, plan, lists, pages.

    python -m benchmarks.growth [--rows 10000 100000] [--database sqlite postgresql] [--lists]

The table is read by real runs. Its tasks and Dagster's log are then written in bulk, as a mix of all states, under a
budget. PostgreSQL is started for it, and keeps the ledger and Dagster's own storage. Prints Markdown: for each step the
seconds, the CPU seconds of its processes (a database server's are not among them), and the largest process's memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import httpx
import psutil

from benchmarks.mix import LEFT_USD, NAME, describe, fill_ledger, fill_log, paid_usd, reset_times, write_table
from pixverse_dagster.ledger.engine import sqlite_url
from pixverse_dagster_tests.harness.servers import free_ports, new_database, postgres, running_simulator

ROOT = Path(__file__).parents[1]
SENSORS = (f"{NAME}_poll", f"{NAME}_continue", f"{NAME}_submit_new", f"{NAME}_table")
TICKS = 3
ASKED = 3
_KEY = 'assetNodeOrError(assetKey: {path: ["demo", "clips"]}) { ... on AssetNode'
# As Dagster's pages ask: the tab of an asset's partitions, and the graph.
QUERIES = {
    "the partitions tab of clips": f"""{{ {_KEY} {{ id
        partitionKeysByDimension {{ name __typename type partitionKeys }}
        assetPartitionStatuses {{ ... on DefaultPartitionStatuses {{
            materializedPartitions materializingPartitions failedPartitions unmaterializedPartitions }} }} }} }} }}""",
    "the graph's count of clips": f"""{{ {_KEY} {{ id
        partitionStats {{ numMaterialized numMaterializing numPartitions numFailed }} }} }} }}""",
}


@dataclass(frozen=True)
class Figure:
    """What a step took."""

    seconds: float
    cpu_seconds: float | None = None
    peak_mib: float | None = None

    def __str__(self) -> str:
        cpu = "" if self.cpu_seconds is None else f"{self.cpu_seconds:.2f}"
        return f"{self.seconds:.2f} | {cpu} | {'' if self.peak_mib is None else f'{self.peak_mib:.0f}'}"


class Told(dict[str, Figure]):
    """Figures that are told as they come, as the whole takes long."""

    def __setitem__(self, what: str, figure: Figure) -> None:
        super().__setitem__(what, figure)
        print(f"{what}: {figure}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Bench:
    """A home whose table is written, and the environment that its processes have."""

    home: Path
    rows: int
    ledger_url: str

    def run(self, *command: str) -> tuple[Figure, str]:
        """Run a command of Python's, and measure its processes."""
        result = self.home / "measured.json"
        words = [sys.executable, "-m", "benchmarks.measure", str(result), sys.executable, "-m", *command]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        got = json.loads(result.read_text())
        if got["exit_code"]:
            raise RuntimeError(f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return Figure(got["wall_seconds"], got["cpu_seconds"], got["peak_mib"]), done.stdout

    def measure(self, *, lists: bool) -> dict[str, Figure]:
        """Every step, told as it ends."""
        found = Told()
        read = ("dagster", "asset", "materialize", "-m", "pixverse_dagster.definitions", "--select", f"{NAME}/prompts")
        found["the table is read, a run of its own"] = self.run(*read)[0]
        fill_ledger(self.ledger_url)
        with dg.DagsterInstance.get() as instance:
            fill_log(instance, self.rows)
        whole, printed = self.run("benchmarks.growth", "--ticks", self.ledger_url)
        for what, (seconds, cpu) in json.loads(printed.splitlines()[-1]).items():
            found[what] = Figure(seconds, cpu)
        found["(the process of the ticks)"] = whole
        for what, figure in self._pages().items():
            found[what] = figure
        command = "pixverse_dagster.cli"
        found["plan"] = self.run(command, "plan", "--json")[0]
        found["tasks list --state unknown"] = self.run(command, "tasks", "list", "--state", "unknown")[0]
        if lists:
            found["read again, unchanged"] = self.run(*read)[0]
            found["tasks list --json"] = self.run(command, "tasks", "list", "--json")[0]
            found["tasks list, a table"] = self.run(command, "tasks", "list")[0]
        return dict(found)

    def _pages(self) -> dict[str, Figure]:
        """The queries behind the pages: the slowest of a few, and the memory of the webserver after them."""
        (port,) = free_ports(1)
        command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(
            [*command, "-m", "pixverse_dagster.definitions"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        process, url = psutil.Process(server.pid), f"http://127.0.0.1:{port}"
        try:
            _wait_for(url)
            found: dict[str, Figure] = {}
            for what, query in QUERIES.items():
                for n in range(ASKED):
                    began, cpu = time.perf_counter(), _cpu(process)
                    answer = httpx.post(f"{url}/graphql", json={"query": query}, timeout=600, trust_env=False).json()
                    if answer.get("errors") or "id" not in answer["data"]["assetNodeOrError"]:
                        raise RuntimeError(f"{what}: {str(answer)[:1000]}")
                    took = Figure(time.perf_counter() - began, _cpu(process) - cpu, process.memory_info().rss / 2**20)
                    found[f"{what}, {'first' if n == 0 else 'again'}"] = took
            return found
        finally:
            server.terminate()
            server.wait(60)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _wait_for(url: str) -> None:
    """Wait until the webserver has loaded the project."""
    query = {"query": '{ assetNodeOrError(assetKey: {path: ["demo", "clips"]}) { __typename } }'}
    for _ in range(600):
        try:
            answer = httpx.post(f"{url}/graphql", json=query, timeout=60, trust_env=False).json()
            if answer["data"]["assetNodeOrError"]["__typename"] == "AssetNode":
                return
        except (httpx.TransportError, ValueError, KeyError, TypeError):
            pass
        subprocess.run(["sleep", "0.2"], check=True)
    raise RuntimeError("the webserver does not show the project")


def measure_ticks(ledger_url: str) -> dict[str, tuple[float, float]]:
    """A few ticks of each sensor, and the check on outcomes that ticks report: the slowest of each."""
    from pixverse_dagster.definitions import defs  # noqa: PLC0415 - configured by the environment

    found: dict[str, tuple[float, float]] = {}

    def slowest(what: str, step: Callable[[], object]) -> None:
        took: list[tuple[float, float]] = []
        for _ in range(TICKS):
            reset_times(ledger_url)
            began, cpu = time.perf_counter(), time.process_time()
            step()
            took.append((time.perf_counter() - began, time.process_time() - cpu))
        found[what] = max(took)

    with dg.DagsterInstance.get() as instance:
        for name in SENSORS:
            sensor = defs.resolve_sensor_def(name)
            resources = {k: v for k, v in (defs.resources or {}).items() if k in sensor.required_resource_keys}
            with dg.build_sensor_context(instance=instance, resources=resources, definitions=defs) as context:
                slowest(f"tick of {name}", lambda sensor=sensor, context=context: sensor.evaluate_tick(context))
    return found


@contextmanager
def make_bench(database: str, rows: int, postgres_url: str) -> Generator[Bench]:
    """A home, a table and a simulator; this process and those that it starts have the environment that joins them."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        settings, ledger_url = "telemetry:\n  enabled: false\n", sqlite_url(home / "storage/pixverse/ledger.db")
        os.environ.pop("PIXVERSE_LEDGER_URL", None)
        if database == "postgresql":
            settings += f"storage:\n  postgres:\n    postgres_url: {new_database(postgres_url)}\n"
            os.environ["PIXVERSE_LEDGER_URL"] = ledger_url = new_database(postgres_url)
        (home / "dagster.yaml").write_text(settings)
        write_table(home / "prompts.csv", rows)
        os.environ |= {
            "DAGSTER_HOME": str(home),
            "PIXVERSE_PROMPTS": str(home / "prompts.csv"),
            "PIXVERSE_SIMULATOR_URL": stack.enter_context(running_simulator(home)).url,
            "PIXVERSE_BUDGET": json.dumps({"total_usd": round(paid_usd(rows) + LEFT_USD, 2)}),
            "PIXVERSE_WATCH_TABLE": "true",
            "PIXVERSE_ACCOUNTS": json.dumps({"runware": {"max_open_tasks": 10**6}}),
        }
        yield Bench(home, rows, ledger_url)


def print_table(database: str, found: dict[int, dict[str, Figure]]) -> None:
    """Seconds, CPU and memory at each size, and how the largest is to the smallest."""
    sizes = sorted(found)
    print(f"\n## {database}\n")
    print(f"| step | {' | '.join(f'{rows:,} rows: s | CPU s | MiB' for rows in sizes)} | ratio of s |")
    print(f"|---|{'---|' * (3 * len(sizes) + 1)}")
    for what in found[sizes[0]]:
        figures = [found[rows][what] for rows in sizes]
        ratio = figures[-1].seconds / max(figures[0].seconds, 0.001)
        print(f"| {what} | {' | '.join(map(str, figures))} | {ratio:.1f} |", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    options.add_argument("--database", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    options.add_argument("--lists", action="store_true", help="Also the whole list of tasks, and a second reading.")
    options.add_argument("--ticks", metavar="LEDGER_URL", help=argparse.SUPPRESS)
    given = options.parse_args(argv)
    if given.ticks:
        print(json.dumps(measure_ticks(given.ticks)))
        return
    print(f"The mix: {describe()}; {LEFT_USD:.0f} USD of the budget are left.")
    with ExitStack() as stack:
        url = ""
        if "postgresql" in given.database:
            folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            url = stack.enter_context(postgres(Path(folder)))
        for database in given.database:
            found: dict[int, dict[str, Figure]] = {}
            for rows in given.rows:
                with make_bench(database, rows, url) as bench:
                    found[rows] = bench.measure(lists=given.lists)
            print_table(database, found)


if __name__ == "__main__":
    main()
