"""This project: prompts, submit, poll, collect, in real Dagster runs, until every row is stored.

Does what Dagster's daemon does: ticks the poll sensor and launches the runs it asks for. With `--processes` every run
is a process of its own (`dagster job execute`, like the baseline's); without, all runs are in this process, as in
`pixverse-dagster demo`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from pixverse_dagster.cli.homes import prepare_home
from pixverse_dagster.cli.project import OWN_MODULE, Project, ProjectChoice
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.policy.timing import Pace

_TICK_SECONDS = 1.0
_DEADLINE_SECONDS = 1800
_OPEN = {TaskState.CLAIMED, TaskState.SUBMITTED, TaskState.SUCCEEDED}


class Inside:
    """Runs in this process."""

    def __init__(self, definitions: dg.Definitions, project: Project) -> None:
        self._definitions = definitions
        self._project = project

    def prompts(self) -> None:
        job = self._definitions.resolve_implicit_global_asset_job_def()
        job.execute_in_process(instance=self._project.instance, asset_selection=[prompts_key(self._project)])

    def rows(self, job: str, config: dict[str, Any]) -> None:
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        resolved = self._definitions.resolve_job_def(job)
        resolved.execute_in_process(run_config=config | quiet, instance=self._project.instance)


class Processes:
    """Runs in processes of their own."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def prompts(self) -> None:
        self._dagster("asset", "materialize", "--select", prompts_key(self._project).to_user_string())

    def rows(self, job: str, config: dict[str, Any]) -> None:
        path = Path(os.environ["BENCHMARK_FOLDER"]) / "run-config.yaml"
        path.write_text(json.dumps(config))  # JSON is YAML
        self._dagster("job", "execute", "-j", job, "-c", str(path))

    def _dagster(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "dagster", *arguments, "-m", OWN_MODULE], check=True)


def prompts_key(project: Project) -> dg.AssetKey:
    return dg.AssetKey([project.name, "prompts"])


def settings() -> dict[str, str]:
    """As the demo's: everything as by default, but times that suit clips of a few seconds."""
    generation_seconds = float(os.environ["BENCHMARK_GENERATION_SECONDS"])
    pace = Pace(first_poll_seconds=max(generation_seconds / 2, 0.2), max_poll_seconds=5, collect_after_seconds=15)
    return {
        "PIXVERSE_MODE": "simulator",
        "PIXVERSE_SIMULATOR_URL": os.environ["BENCHMARK_ADDRESS"],
        "PIXVERSE_PROMPTS": os.environ["BENCHMARK_TABLE"],
        "PIXVERSE_MODEL": os.environ["BENCHMARK_MODEL"],
        "PIXVERSE_PACE": pace.model_dump_json(exclude_defaults=True),
    }


def tick(definitions: dg.Definitions, project: Project) -> Sequence[dg.RunRequest]:
    """One tick of the poll sensor."""
    resources = {key: getattr(project.resources, key) for key in project.spec.resource_keys}
    context = dg.build_sensor_context(instance=project.instance, resources=resources, definitions=definitions)
    found = definitions.resolve_sensor_def(f"{project.name}_poll").evaluate_tick(context)
    for event in found.asset_events or ():
        project.instance.report_runless_asset_event(event)
    return found.run_requests or []


def main() -> None:
    home = prepare_home(Path(os.environ["DAGSTER_HOME"]), settings())
    with ProjectChoice(home, OWN_MODULE).open() as project:
        defs = project.definitions
        runs = Processes(project) if "--processes" in sys.argv else Inside(defs, project)
        name, ledger = project.name, project.ledger
        runs.prompts()
        runs.rows(
            f"{name}_submit", {"ops": {f"{name}_submit_rows": {"config": {"rows": list(ledger.rows.find(name))}}}}
        )
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while any(ledger.tasks.counts(name).get(state) for state in _OPEN):
            if time.monotonic() > deadline:
                sys.exit("not all rows were stored in time")
            for request in tick(defs, project):
                runs.rows(str(request.job_name), dict(request.run_config))
            threading.Event().wait(_TICK_SECONDS)


if __name__ == "__main__":
    main()
