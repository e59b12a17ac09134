"""`demo`: the whole pipeline on this machine, in real Dagster runs, against the simulator."""

import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import dagster as dg
import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pixverse_dagster.cli.homes import prepare_home
from pixverse_dagster.cli.output import print_json, print_table
from pixverse_dagster.cli.plan import describe_plan
from pixverse_dagster.cli.project import OWN_MODULE, Project, ProjectChoice
from pixverse_dagster.cli.simulator import need_demo_extra, running_simulator, simulator_arguments, simulator_options
from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.layout import gallery_prefix, task_folder
from pixverse_dagster.core.lifecycle import UNDER_WAY, TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Task
from pixverse_dagster.policy.plan import SUBMITTED
from pixverse_dagster.policy.timing import Pace
from pixverse_dagster.reports.gallery.app import PAGE
from pixverse_dagster.stages.plan import plan_with_store
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.reading import read_manifest

_TICK_SECONDS = 1.0


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
@click.option("--json", "as_json", is_flag=True, help="Print the final table as JSON.")
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
    with ExitStack() as stack:
        address = stack.enter_context(running_simulator(0, simulator_arguments(generation_seconds, faults, seed)))
        prepare_home(home, _settings(address, prompts, model, rows, generation_seconds))
        project = stack.enter_context(ProjectChoice(home, OWN_MODULE).open())
        show = Console(stderr=True)
        show.print(f"Simulator at {address}, Dagster home at {home.resolve()}")
        run = DemoRun(project, show)
        run.read()
        run.submit()
        run.wait(deadline_seconds)
        run.write_gallery()
        charged = httpx.get(f"{address}/_simulator/tasks", timeout=30).json()
        failed = _report(run, charged, as_json=as_json)
    sys.exit(1 if failed else 0)


def _settings(
    address: str, prompts: Path | None, model: str | None, rows: int | None, generation_seconds: float
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
        task_deadline_seconds=max(30, generation_seconds * 20),
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

    def __init__(self, project: Project, show: Console) -> None:
        self._definitions = project.definitions
        self.project = project
        self._show = show
        self.runs = 0

    def read(self) -> None:
        """Materialise `prompts`."""
        job = self._definitions.resolve_implicit_global_asset_job_def()
        self._run(job, {}, asset_selection=[dg.AssetKey([self.project.name, "prompts"])])
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
        self._run(self._definitions.resolve_job_def(f"{name}_submit"), {f"{name}_submit_rows": keys})

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
                for job, rows in self._tick():
                    self._run(self._definitions.resolve_job_def(job), {f"{job}_rows": rows})
                counts = ledger.tasks.counts(name)
                progress.update(bar, completed=min(counts.get(TaskState.STORED, 0), total))
                if not self._under_way(counts):
                    return
                threading.Event().wait(_TICK_SECONDS)

    def write_gallery(self) -> None:
        """Write the page of the clips, in a run of its own."""
        self._run(self._definitions.resolve_job_def(f"{self.project.name}_gallery"), {})

    @property
    def gallery(self) -> str:
        """The page's path; empty if it could not be written."""
        store, name = self.project.store, self.project.name
        return store.uri(f"{gallery_prefix(name)}{PAGE}") if store.pages(name).read(PAGE) else ""

    def _under_way(self, counts: Mapping[TaskState, int]) -> bool:
        unknown = self.project.ledger.tasks.find(self.project.name, [TaskState.UNKNOWN])
        return any(counts.get(state) for state in UNDER_WAY) or any(task.resolves_itself for task in unknown)

    def _tick(self) -> list[tuple[str, list[str]]]:
        sensor = self._definitions.resolve_sensor_def(f"{self.project.name}_poll")
        resources = {key: getattr(self.project.resources, key) for key in self.project.spec.resource_keys}
        context = dg.build_sensor_context(
            instance=self.project.instance, resources=resources, definitions=self._definitions
        )
        found = sensor.evaluate_tick(context)
        for event in found.asset_events or ():
            self.project.instance.report_runless_asset_event(event)
        asked = [(str(one.job_name), one.run_config["ops"]) for one in found.run_requests or []]
        return [(job, ops[f"{job}_rows"]["config"]["rows"]) for job, ops in asked]

    def _run(self, job: dg.JobDefinition, rows: dict[str, list[str]], **options: Any) -> None:
        config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        if rows:
            config["ops"] = {op: {"config": {"rows": keys}} for op, keys in rows.items()}
        what = ", ".join(f"{len(keys)} rows" for keys in rows.values()) or "prompt table"
        with self._show.status(f"{job.name}: {what}"):
            result = job.execute_in_process(
                run_config=config, instance=self.project.instance, raise_on_error=False, **options
            )
        self.runs += 1
        for event in result.filter_events(lambda e: e.is_step_failure) if not result.success else ():
            data = event.step_failure_data
            text = (data.user_failure_data and data.user_failure_data.description) or str(data.error)
            self._show.print(redact_text(text), style="yellow", markup=False)


def _report(run: DemoRun, charged: list[dict[str, Any]], *, as_json: bool) -> int:
    project = run.project
    store = project.store
    tasks = project.ledger.tasks.current(project.name)
    rows = project.ledger.rows.find(project.name)
    records = [_clip_record(store, tasks.get(row)) | {"row": row, "model": rows[row].request.MODEL} for row in rows]
    stored = sum(record["state"] == TaskState.STORED for record in records)
    usd = sum(task["charged_usd"] for task in charged)
    if as_json:
        print_json(
            {
                "clips": records,
                "charged_tasks": len(charged),
                "charged_usd": round(usd, 3),
                "dagster_runs": run.runs,
                "gallery": run.gallery,
            }
        )
    else:
        columns = ["row", "model", "state", "seconds", "size", "where"]
        print_table(
            f"{project.name}: {stored} of {len(records)} rows stored",
            columns,
            [
                [_short(str((record | {"size": _size(record["bytes"])})[name])) for name in columns]
                for record in records
            ],
        )
        money = (
            f"the simulator charged {len(charged)} tasks, {usd:.2f} make-believe USD"
            if charged
            else "nothing was charged"
        )
        click.echo(f"{run.runs} Dagster runs; {money}.")
        commands = project.commands
        only_home = CommandLine(home=commands.home, program=commands.program)
        if run.gallery:
            click.echo(f"Look at the clips:      {run.gallery}  (opens by a double click)")
        click.echo(f"Look at it in Dagster:  {only_home.render('dev')}")
        click.echo(f"Check it:               {commands.render('verify')}")
    return len(records) - stored


def _size(size_bytes: Any) -> str:
    return "" if size_bytes is None else f"{size_bytes / 1000:,.0f} kB"


def _short(text: str) -> str:
    """A path below this folder without the folder."""
    return text.removeprefix(f"{Path.cwd()}/")


def _clip_record(store: ClipStore, task: Task | None) -> dict[str, Any]:
    empty = {"seconds": "", "bytes": None, "where": ""}
    if task is None:
        return {"state": "not submitted", **empty}
    if task.state is not TaskState.STORED:
        return {"state": str(task.state), **empty, "where": f"{task.kind or ''} {task.reason or task.note}".strip()}
    manifest = read_manifest(store, task_folder(task).manifest)
    first = manifest.outputs[0]
    more = f" (+{len(manifest.outputs) - 1})" if len(manifest.outputs) > 1 else ""
    return {
        "state": str(task.state),
        "seconds": first.duration_seconds,
        "bytes": sum(output.size_bytes for output in manifest.outputs),
        "where": store.uri(first.key) + more,
    }
