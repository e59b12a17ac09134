"""`demo`: the whole pipeline on this machine, in real Dagster runs, against the simulator."""

import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click
import dagster as dg
import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pixverse_dagster.cli.demo_report import DemoDocument, report
from pixverse_dagster.cli.documents import json_option
from pixverse_dagster.cli.homes import MEMORY_FILE, earlier_deadline_seconds, earlier_port, make_home, prepare_home
from pixverse_dagster.cli.interrupts import Interrupts
from pixverse_dagster.cli.plan import describe_plan
from pixverse_dagster.cli.project import OWN_MODULE, Project, ProjectChoice
from pixverse_dagster.cli.simulator import need_demo_extra, running_simulator, simulator_arguments, simulator_options
from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.lifecycle import UNDER_WAY, TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.orchestration.play import Player, failures
from pixverse_dagster.policy.plan import SUBMITTED
from pixverse_dagster.policy.timing import Pace
from pixverse_dagster.stages.plan import plan_with_store

_TICK_SECONDS = 1.0
_LOOKS = ("poll", "continue")
"""The sensors that are on by default."""


@click.command()
@click.option("--rows", type=click.IntRange(min=1), help="Only the first N rows of the table.")
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    default=Path("pixverse-demo"),
    show_default=True,
    help="Dagster home, ledger and clips; made if it is not there.",
)
@click.option(
    "--prompts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A prompt table of your own; the sample table if not given.",
)
@click.option("--model", help="Default model, for rows that name none.")
@click.option(
    "--deadline-seconds",
    type=click.FloatRange(min=1),
    default=600,
    show_default=True,
    help="How long to wait for the clips.",
)
@simulator_options
@json_option(DemoDocument, "Print the final table as JSON.")
def demo(  # noqa: PLR0913 - one parameter for each option
    *,
    rows: int | None,
    home: Path,
    prompts: Path | None,
    model: str | None,
    deadline_seconds: float,
    generation_seconds: float,
    faults: tuple[str, ...],
    seed: int,
    as_json: bool,
) -> None:
    """The whole pipeline on this machine: simulator, SQLite ledger, local store, real Dagster runs. Costs nothing.

    Ends with a table of the clips, and the page to look at them. Run again, it submits nothing that it has. Exits with
    1 if a row has no clip.
    """
    need_demo_extra()
    folder = make_home(home)
    arguments = [*simulator_arguments(generation_seconds, faults, seed), "--memory", str(folder / MEMORY_FILE)]
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        address = stack.enter_context(running_simulator(earlier_port(folder), arguments))
        prepare_home(folder, _settings(folder, address, prompts, model, rows, generation_seconds))
        project = stack.enter_context(ProjectChoice(folder, OWN_MODULE).open())
        show = Console(stderr=True)
        show.print(f"Simulator at {address}, Dagster home at {folder}")
        run = DemoRun(project, show, interrupts)
        earlier = {task["task_id"] for task in _charged(address)}
        try:
            run.read()
            run.submit()
            run.wait(deadline_seconds)
            run.write_gallery()
        except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
            click.echo(_describe_stop(run, _again(prompts, model, rows)), err=True)
            sys.exit(130)
        charged = [task for task in _charged(address) if task["task_id"] not in earlier]
        failed = report(project, charged, run.runs, as_json=as_json)
    sys.exit(1 if failed else 0)


def _charged(address: str) -> list[dict[str, Any]]:
    return httpx.get(f"{address}/_simulator/tasks", timeout=30).json()


def _again(prompts: Path | None, model: str | None, rows: int | None) -> list[str]:
    """The options that say which rows the demo is about."""
    given = {"--rows": rows, "--prompts": prompts.resolve() if prompts else None, "--model": model}
    return [word for name, value in given.items() if value is not None for word in (name, str(value))]


def _describe_stop(run: "DemoRun", options: list[str]) -> str:
    """How many rows are under way, and how to go on, in one line."""
    counts = run.project.ledger.tasks.counts(run.project.name)
    open_rows = sum(counts.get(state, 0) for state in (*UNDER_WAY, TaskState.UNKNOWN))
    commands = run.project.commands
    again = CommandLine(home=commands.home, program=commands.program).render("demo", *options)
    return f"Stopped: {open_rows} rows are under way, and the simulator remembers them. To go on: {again}"


def _settings(
    home: Path, address: str, prompts: Path | None, model: str | None, rows: int | None, generation_seconds: float
) -> dict[str, str]:
    pace = Pace(
        first_poll_seconds=max(generation_seconds / 2, 0.2),
        max_poll_seconds=5,
        claim_lease_seconds=70,
        collect_after_seconds=15,
        offer_seconds=30,
        collect_lease_seconds=20,
        collect_retry_seconds=2,
        missing_seconds=120,
        partial_seconds=20,
        task_deadline_seconds=max(30, generation_seconds * 20, earlier_deadline_seconds(home)),
        result_lifetime_seconds=120,
    )
    return {
        "PIXVERSE_SIMULATOR_URL": address,
        "PIXVERSE_PROMPTS": str(prompts.resolve()) if prompts else "",
        "PIXVERSE_MODEL": model or "",
        "PIXVERSE_ROWS": str(rows or ""),
        "PIXVERSE_GALLERY": "true",
        "PIXVERSE_PACE": pace.model_dump_json(exclude_defaults=True),
    }


class DemoRun:
    """Does what Dagster's daemon does: launches the runs, and ticks the poll sensor until all is settled."""

    def __init__(self, project: Project, show: Console, interrupts: Interrupts) -> None:
        self._interrupts = interrupts
        keys = project.spec.resource_keys
        resources = {key: getattr(project.resources, key) for key in keys}
        self._player = Player(project.definitions, project.instance, resources)
        self.project = project
        self._show = show
        self.runs = 0

    def read(self) -> None:
        """Materialise `prompts`."""
        self._run("prompt table", lambda: self._player.read(self.project.name))
        problems = self.project.ledger.rows.problems(self.project.name)
        for problem in problems[:20]:
            self._show.print(redact_text(f"not generated: {problem}"), style="yellow", markup=False)

    def submit(self) -> None:
        """Submit every row that has no task yet, in one run."""
        name, ledger = self.project.name, self.project.ledger
        with self.project.open() as session:
            made, view = plan_with_store(
                session, self.project.store, ledger.rows.find(name).values(), ledger.rows.problems(name)
            )
        self._show.print(f"Plan: {describe_plan(made)}", markup=False)
        keys = [line.row for line in made.lines if line.verdict in SUBMITTED or line.row in view.answers]
        if not keys:
            self._show.print("Nothing to submit: nothing is charged.")
            return
        self._run(f"{name}_submit: {len(keys)} rows", lambda: self._player.submit(name, keys))

    def wait(self, deadline_seconds: float) -> None:
        """Tick the poll sensor and run the jobs that it asks for, until every task has ended."""
        name, ledger = self.project.name, self.project.ledger
        deadline = time.monotonic() + deadline_seconds
        total = len(ledger.tasks.current(name))
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._show) as progress:
            bar = progress.add_task("clips stored", total=total)
            while time.monotonic() < deadline:
                for request in [one for kind in _LOOKS for one in self._player.tick(f"{name}_{kind}")]:
                    words = f"{request.job_name}: {request.tags.get('pixverse/rows', '')} rows"
                    self._run(words, partial(self._player.run, request))
                counts = ledger.tasks.counts(name)
                progress.update(bar, completed=min(counts.get(TaskState.STORED, 0), total))
                if not self._under_way(counts):
                    return
                threading.Event().wait(_TICK_SECONDS)

    def write_gallery(self) -> None:
        """Write the page of the clips, in a run of its own."""
        request = dg.RunRequest(job_name=f"{self.project.name}_gallery")
        self._run("the page of the clips", lambda: self._player.run(request))

    def _under_way(self, counts: Mapping[TaskState, int]) -> bool:
        unknown = self.project.ledger.tasks.find(self.project.name, [TaskState.UNKNOWN])
        return any(counts.get(state) for state in UNDER_WAY) or any(task.resolves_itself for task in unknown)

    def _run(self, what: str, run: Callable[[], dg.ExecuteInProcessResult]) -> None:
        with self._show.status(what):
            result = run()
        self.runs += 1
        self._interrupts.check()
        # In a step, a signal is Dagster's, and ends the step.
        if any("ExecutionInterrupted" in text for text in failures(result)):
            raise KeyboardInterrupt
        for text in failures(result):
            self._show.print(redact_text(text), style="yellow", markup=False)
