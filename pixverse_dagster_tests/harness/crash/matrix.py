"""The crash matrix: every point of `killpoints` times every model, database and store, each killed and run on.

The full product, and the daemon's crashes, are one command: `python -m pixverse_dagster_tests.harness.crash --full`.
Without `--full` it is the cover that CI runs, in which every point meets every database, store and provider. `--help`
shows how to run a part of either.

A cell is one point for one model. A chain is a home with rows for several cells. For each cell in turn a run is killed
at its point; the next cell's run is the first thing that happens to what it left. At last everything is run on, and
what only a person can know is resolved.
"""

import argparse
import json
import queue
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from pixverse_dagster_tests.harness.commands import ask_until
from pixverse_dagster_tests.harness.crash.borders import KEYS, crossing
from pixverse_dagster_tests.harness.crash.chains import (
    Border,
    Cell,
    Chain,
    borders,
    cover,
    full_product,
    second_attempts,
)
from pixverse_dagster_tests.harness.crash.daemon import daemon_cases, run_cases
from pixverse_dagster_tests.harness.crash.home import (
    DATABASES,
    MODELS,
    PACE,
    ROWS_OF_A_MODEL,
    STORES,
    Home,
    Site,
    make_home,
)
from pixverse_dagster_tests.harness.crash.judge import Figures, check_end, check_left, count, open_rows, total
from pixverse_dagster_tests.harness.crash.killpoints import POINTS
from pixverse_dagster_tests.harness.forked import Ran, RunHung
from pixverse_dagster_tests.harness.servers import (
    Simulator,
    delete_bucket,
    new_bucket,
    postgres,
    rgw,
    running_simulator,
)

GENERATION_SECONDS = 0.2
LINK_SECONDS = 1.0
"""How long a link works: less than what lies between a kill and the run that goes on, so that this meets ended ones."""
_RUN_ONS = 3
_ARRIVAL_SECONDS = 5.0
_UNDER_WAY = {"claimed", "submitted", "succeeded"}


@dataclass
class Verdict:
    """What became of a chain."""

    chain: Chain
    wrong: list[str] = field(default_factory=list[str])
    figures: Figures = field(default_factory=Figures)
    seconds: float = 0


def run_chain(site: Site, simulator: Simulator, chain: Chain) -> Verdict:
    """Kill, run on, judge."""
    verdict, began = Verdict(chain), time.monotonic()
    models = [cell.model for cell in chain.cells]
    with make_home(site, simulator, chain.database, chain.store, models, chain.attempt) as home:
        try:
            _go_through(home, verdict)
        except (RunHung, AssertionError) as error:
            verdict.wrong.append(str(error))
        count(home.scene(), verdict.figures)
        calls = simulator.requests().values()
        verdict.figures.ended_links += sum(one.get("media", {}).get("410", 0) for one in calls)
    if not verdict.wrong:
        shutil.rmtree(home.folder)
    verdict.seconds = time.monotonic() - began
    return verdict


def _go_through(home: Home, verdict: Verdict) -> None:
    figures = verdict.figures
    rows = home.rows()
    cells = [
        (cell, rows[n * ROWS_OF_A_MODEL : (n + 1) * ROWS_OF_A_MODEL]) for n, cell in enumerate(verdict.chain.cells)
    ]
    _done(home.materialize("demo/prompts"))
    if verdict.chain.attempt > 1:
        _let_expire(home)
    if ready := [
        row for cell, mine in cells for row in mine if cell.way == "jobs" and POINTS[cell.point].step == "collect"
    ]:
        _done(home.job("submit", ready))
        _done(home.run("tick"))
    excused: set[str] = set()
    for n, (cell, mine) in enumerate(cells):
        marker = home.folder / f"killed-{n}"
        kill = {
            "PIXVERSE_TEST_KILL": cell.point,
            "PIXVERSE_TEST_KILL_MODEL": cell.model,
            "PIXVERSE_TEST_KILL_MARKER": str(marker),
        }
        ran = _kill(home, cell, mine, kill)
        figures.points.add(cell.point)
        figures.cells += 1
        figures.kills += marker.exists()
        verdict.wrong += _check_kill(home, cell, marker, ran)
        excused |= open_rows(home.tasks().values())
        if cell.links == "gone" and marker.exists():
            row = home.row_of(json.loads(marker.read_text())["prompt"])
            home.simulator.expire(home.scene().charges(row)[-1]["task_id"])
    with crossing(home, verdict.chain.border, verdict.wrong) as crossed:
        _run_on(crossed, excused | open_rows(crossed.tasks().values()), verdict)


def _check_kill(home: Home, cell: Cell, marker: Path, ran: Ran) -> Iterator[str]:
    """The process died, by the kill and at the point, and left of its row what the point says."""
    if not marker.exists():
        yield f"{cell.model} was not killed at {cell.point}: exit code {ran.code}; {ran.log[-1500:]}"
        return
    told = json.loads(marker.read_text())
    row, left = home.row_of(told["prompt"]), POINTS[cell.point].left.value
    if ran.code != -9 or (told["point"], told["model"]) != (cell.point, cell.model) or not row:
        yield f"the kill is not as ordered: exit code {ran.code}, {told}"
    # What has left this machine arrives in its own time.
    charges = left[1] + home.attempts - 1
    ask_until(lambda: len(home.scene().charges(row)) >= charges, _ARRIVAL_SECONDS)
    yield from (f"row {row!r}, just killed: {wrong}" for wrong in check_left(home.scene(), row, left))


def _run_on(home: Home, excused: set[str], verdict: Verdict) -> None:
    verdict.wrong += _judge_run_on(home, excused)
    unknown = [row for row, task in home.tasks().items() if task["state"] == "unknown"]
    verdict.figures.unknown += len(unknown)
    if unknown:
        person = home.person()
        for found in person.look(unknown):
            person.resolve(found)
        verdict.wrong += _judge_run_on(home, set())


def _let_expire(home: Home) -> None:
    """Pay for every row, and let it end without a clip: its result is gone, or the second output of it."""
    _done(home.job("submit", home.rows()))
    _done(home.run("tick"))
    for charge in home.simulator.tasks():
        home.simulator.expire(charge["task_id"], 2 if len(charge["outputs"]) > 1 else None)
    home.job("collect", home.rows(), {"PIXVERSE_PACE": json.dumps(PACE | {"result_lifetime_seconds": 0.01})})
    ended = {task["kind"] for task in home.tasks().values()}
    assert ended == {"expired"}, f"not every first attempt has expired: {ended}"


def _judge_run_on(home: Home, excused: set[str]) -> list[str]:
    """Run on as a person would, materialising `clips` of every row; again where a row was still somebody's."""
    log, code = "", 0
    for _ in range(_RUN_ONS):
        ran = home.materialize("demo/clips", home.rows())
        log, code = log + ran.log, ran.code
        if not any(task["state"] in _UNDER_WAY for task in home.tasks().values()):
            break
    wrong = list(check_end(home.scene(), excused, log))
    if bool(code) != any(task["state"] == "unknown" for task in home.tasks().values()):
        wrong.append(f"the last run ended with {code}: {log[-1500:]}")
    return wrong


def _kill(home: Home, cell: Cell, rows: Sequence[str], kill: dict[str, str]) -> Ran:
    """Start the run that comes by the cell's point, for the cell's rows."""
    if cell.way == "assets":
        return home.materialize("demo/clips", rows, kill)
    step = POINTS[cell.point].step
    if step == "poll":
        _done(home.job("submit", rows))
        return home.run("tick", more=kill)
    return home.job(step, rows, kill)


def _done(ran: Ran) -> None:
    assert ran.code == 0, f"exit code {ran.code}: {ran.log[-2000:]}"


def run_chains(site: Site, chains: Sequence[Chain], jobs: int, report: Callable[[Verdict], None]) -> list[Verdict]:
    """Run chains side by side, each with a simulator to itself."""
    with ExitStack() as running:
        idle: queue.SimpleQueue[Simulator] = queue.SimpleQueue()
        for n in range(jobs):
            folder = site.folder / f"simulator-{n}"
            folder.mkdir()
            started = running_simulator(
                folder, generation_seconds=GENERATION_SECONDS, keys=KEYS, link_seconds=LINK_SECONDS
            )
            idle.put(running.enter_context(started))

        def run(chain: Chain) -> Verdict:
            simulator = idle.get()
            try:
                return run_chain(site, simulator, chain)
            finally:
                idle.put(simulator)

        verdicts: list[Verdict] = []
        with ThreadPoolExecutor(jobs) as pool:
            for done in as_completed([pool.submit(run, chain) for chain in chains]):
                verdicts.append(done.result())
                report(verdicts[-1])
        return verdicts


def all_wrong(verdicts: Sequence[Verdict]) -> list[str]:
    """Everything that is wrong, each with its chain."""
    return [f"{verdict.chain}: {wrong}" for verdict in verdicts for wrong in verdict.wrong]


def line(verdict: Verdict) -> str:
    """A line of the table."""
    figures = verdict.figures
    ended = f"{figures.kills}/{figures.cells} killed, {figures.stored}/{figures.rows} stored, {figures.charges} charges"
    words = f"{verdict.chain}: {ended}  {verdict.seconds:.1f} s"
    return "\n".join([words, *(f"    WRONG: {wrong}" for wrong in verdict.wrong)])


@contextmanager
def _servers(folder: Path) -> Generator[Site]:
    with postgres(folder) as postgres_url, rgw(folder) as s3:
        bucket = new_bucket(s3)
        yield Site(folder, postgres_url, s3, bucket)
        delete_bucket(s3, bucket)


def _chosen(options: argparse.Namespace) -> Iterator[Chain]:
    def wanted(one: object, names: Sequence[str]) -> bool:
        return not any(getattr(options, name) and getattr(one, name) not in getattr(options, name) for name in names)

    for chain in full_product() if options.full else [*cover(), *second_attempts(full=False), *borders(full=False)]:
        cells = tuple(cell for cell in chain.cells if wanted(cell, ("point", "model")))
        if cells and wanted(chain, ("database", "store", "border", "attempt")):
            yield replace(chain, cells=cells)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m pixverse_dagster_tests.harness.crash", description=__doc__)
    parser.add_argument("--full", action="store_true", help="the full product and the daemon, not the cover")
    parser.add_argument("--point", action="append", choices=POINTS)
    parser.add_argument("--database", action="append", choices=DATABASES)
    parser.add_argument("--store", action="append", choices=STORES)
    parser.add_argument("--model", action="append", choices=MODELS)
    parser.add_argument("--border", action="append", choices=get_args(Border))
    parser.add_argument("--attempt", action="append", type=int, choices=(1, 2))
    parser.add_argument("--daemon", action="store_true", help="the daemon's crashes alone")
    parser.add_argument("--jobs", type=int, default=3, help="chains side by side (3)")
    options = parser.parse_args(argv)

    def show(text: object) -> None:
        print(text, flush=True)  # noqa: T201 - a command line

    with tempfile.TemporaryDirectory(prefix="pixverse-crash-") as folder, _servers(Path(folder)) as site:
        chains = [] if options.daemon else list(_chosen(options))
        verdicts = run_chains(site, chains, options.jobs, lambda verdict: show(line(verdict)))
        wrong, figures = all_wrong(verdicts), total(verdict.figures for verdict in verdicts)
        if options.daemon or chains == full_product():
            found, more = run_cases(site, daemon_cases(full=options.full), options.jobs)
            show("\n".join(found))
            wrong, figures = wrong + found, total((figures, more))
    show(f"{figures}; {len(wrong)} wrong")
    return int(bool(wrong))
