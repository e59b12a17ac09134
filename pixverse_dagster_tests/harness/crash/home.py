"""A pipeline's whole world for one crash test: home, table, ledger, store, simulator; and runs in it that may die.

A run is Dagster's own command in a process of its own, on real definitions.
"""

import csv
import itertools
import json
import os
import sys
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import dagster as dg

from pixverse_dagster.cli.project import ProjectChoice
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster_tests.harness.commands import ACCOUNTS, PRICES, prepare_instance
from pixverse_dagster_tests.harness.crash.judge import Scene
from pixverse_dagster_tests.harness.forked import Ran, dagster, pixverse_dagster, run_forked
from pixverse_dagster_tests.harness.judge.records import Bucket, Folder, Places, Record, dagster_events, sqlite_file
from pixverse_dagster_tests.harness.person import Person
from pixverse_dagster_tests.harness.servers import S3Server, Simulator, drop_database, new_database

Database = Literal["sqlite", "postgres"]
StoreKind = Literal["local", "s3"]
DATABASES: tuple[Database, ...] = ("sqlite", "postgres")
STORES: tuple[StoreKind, ...] = ("local", "s3")

MODULE = "pixverse_dagster_tests.harness.killable"
ROWS_OF_A_MODEL = 2
RUN_SECONDS = 90.0
PACE = {
    "first_poll_seconds": 0.2,
    "max_poll_seconds": 0.5,
    "collect_after_seconds": 0.2,
    "collect_retry_seconds": 0.3,
    "offer_seconds": 2,
    "collect_lease_seconds": 2,
    "claim_lease_seconds": 2,
    "record_seconds": 1,
    "replay_window_seconds": 600,
}
# The cheapest row of each model; of two outputs where the model has several.
CELLS: Mapping[str, Mapping[str, str]] = {
    "highway/pixverse-v4.5-i2v": {"image": "coffee.png"},
    "highway/pixverse-v6-i2v": {"image": "coffee.png", "duration_seconds": "1"},
    "highway/pixverse-c1-reference-to-video": {
        "references": json.dumps([{"type": "subject", "name": "cat", "image": "chelsea.png"}]),
        "duration_seconds": "1",
    },
    "runware/pixverse-v4.5": {"outputs": "2"},
    "pixwith/pixverse-v5": {"outputs": "2"},
}
MODELS = tuple(CELLS)

_LENT = ("PATH", "HOME", "LANG", "PYTHONPATH", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Site:
    """The servers that homes are made on, and the folder they are made in."""

    folder: Path
    postgres_url: str
    s3: S3Server
    bucket: str


@dataclass(frozen=True)
class Home:
    """One pipeline: everything that a crash test looks at."""

    folder: Path
    environment: Mapping[str, str]
    simulator: Simulator
    places: Places
    models: Mapping[str, str]
    """Each row's model, in table order."""
    attempts: int = 1
    """How often each row is paid for in the end."""

    def rows(self) -> list[str]:
        """All rows, in table order."""
        return [*self.models]

    def row_of(self, prompt: str) -> str:
        """The row that has this prompt; empty if none has."""
        return next((row for row, model in self.models.items() if prompt_of(row, model) == prompt.strip()), "")

    def tasks(self) -> dict[str, Record]:
        """The newest task of each row that has one, as the ledger's table has it."""
        return self.places.books().newest()

    def scene(self) -> Scene:
        """What there is to be judged now."""
        rows = {prompt_of(row, model): row for row, model in self.models.items()}
        return Scene(self.places, self.simulator.tasks(), rows, self.attempts)

    def person(self) -> Person:
        """Whoever operates the pipeline; its commands must succeed."""
        return Person(self._command, self.simulator)

    def _command(self, *words: str) -> str:
        ran = self.run("pixverse-dagster", *words, "--home", str(self.folder))
        assert ran.code == 0, f"{words}: exit code {ran.code}: {ran.log[-2000:]}"
        return ran.output

    def run(self, program: str, *arguments: str, more: Mapping[str, str] | None = None) -> Ran:
        """Run a program of `_PROGRAMS` to its end, in a process of its own, with `more` in its environment."""
        return run_forked(
            _PROGRAMS[program],
            arguments,
            dict(self.environment) | dict(more or {}),
            self.folder / f"{next(_number):05}-{program}",
            cwd=self.folder,
            timeout_seconds=RUN_SECONDS,
        )

    def materialize(self, select: str, rows: Sequence[str] = (), more: Mapping[str, str] | None = None) -> Ran:
        """`dagster asset materialize`, for these rows where the asset has rows; they stand together in the table."""
        words = ["--partition-range", f"{rows[0]}...{rows[-1]}"] if rows else []
        return self.run("dagster", "asset", "materialize", "-m", MODULE, "--select", select, *words, more=more)

    def job(self, name: str, rows: Sequence[str], more: Mapping[str, str] | None = None) -> Ran:
        """`dagster job execute` of `submit` or `collect` for these rows."""
        config = self.folder / f"{name}.json"
        config.write_text(json.dumps({"ops": {f"demo_{name}_rows": {"config": {"rows": list(rows)}}}}))
        return self.run("dagster", "job", "execute", "-m", MODULE, "-j", f"demo_{name}", "-c", str(config), more=more)


_number = itertools.count(1)


def prompt_of(row: str, model: str) -> str:
    """A row's own words: by them the audit's charges are told apart."""
    return f"@cat looks up, {row} of {model}"


@contextmanager
def make_home(
    site: Site,
    simulator: Simulator,
    database: Database,
    store: StoreKind,
    models: Sequence[str],
    attempts: Literal[1, 2] = 1,
) -> Generator[Home]:
    """A home of its own with an empty ledger and store, and a table with the rows of these models.

    Its retry policy has a result that expired followed by as many further attempts as there are to be.
    """
    folder = site.folder / f"home-{next(_number):05}"
    (folder / "tmp").mkdir(parents=True)
    environment = {name: os.environ[name] for name in _LENT if name in os.environ} | {
        "DAGSTER_HOME": str(folder),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "TMPDIR": str(folder / "tmp"),
        "PIXVERSE_PROMPTS": str(folder / "table.csv"),
        "PIXVERSE_SIMULATOR_URL": simulator.url,
        "PIXVERSE_PACE": json.dumps(PACE),
        "PIXVERSE_ACCOUNTS": json.dumps(ACCOUNTS),
        "PIXVERSE_PRICES": json.dumps(PRICES),
        "PIXVERSE_RETRY": json.dumps({"expired": attempts - 1}),
    }
    rows = {f"r{n:03}": model for n, model in enumerate(m for m in models for _ in range(ROWS_OF_A_MODEL))}
    _write_table(folder / "table.csv", rows)
    simulator.reset()
    settings = "telemetry:\n  enabled: false\n"
    ledger_url, dagster_url = sqlite_file(folder / "storage" / "pixverse" / "ledger.db"), dagster_events(folder)
    databases: list[str] = []
    if database == "postgres":
        databases = dagster_url, ledger_url = [new_database(site.postgres_url) for _ in range(2)]
        settings += f"storage:\n  postgres:\n    postgres_url: {dagster_url}\n"
        environment["PIXVERSE_LEDGER_URL"] = ledger_url
    if store == "s3":
        environment |= _s3_settings(site, folder.name)
    files = Bucket(site.s3.client(), site.bucket, folder.name) if store == "s3" else Folder(folder / "clips")
    prepare_instance(folder, settings)
    try:
        yield Home(folder, environment, simulator, Places("demo", ledger_url, files, dagster_url), rows, attempts)
    finally:
        for url in databases:
            drop_database(url)


def _s3_settings(site: Site, prefix: str) -> dict[str, str]:
    return {
        "PIXVERSE_S3_BUCKET": site.bucket,
        "PIXVERSE_S3_PREFIX": prefix,
        "AWS_ENDPOINT_URL_S3": site.s3.endpoint_url,
        "AWS_ACCESS_KEY_ID": site.s3.access_key,
        "AWS_SECRET_ACCESS_KEY": site.s3.secret_key,
        "AWS_REGION": site.s3.region,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _write_table(path: Path, rows: Mapping[str, str]) -> None:
    columns = ["id", "model", "prompt", "resolution", "image", "references", "duration_seconds", "outputs"]
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, columns, restval="")
        table.writeheader()
        for row, model in rows.items():
            words = {"id": row, "model": model, "prompt": prompt_of(row, model), "resolution": "360p"}
            table.writerow(words | dict(CELLS[model]))


# --- in the process of a run


def _tick() -> None:
    """What the code server does for the daemon, until nothing is under way any more.

    With a number as its argument, as often as that and a second apart, whatever is under way.
    """
    looks = itertools.repeat(1.0, int(sys.argv[1])) if sys.argv[1:] else itertools.repeat(0.1)
    with ProjectChoice(module=MODULE).open() as project:
        definitions = project.definitions
        sensor = definitions.get_sensor_def("demo_poll")
        for pause_seconds in looks:
            if not set(project.ledger.tasks.counts("demo")) & {TaskState.CLAIMED, TaskState.SUBMITTED}:
                break
            context = dg.build_sensor_context(
                project.instance, resources=definitions.resources, definitions=definitions
            )
            with context:
                sensor.evaluate_tick(context)
            threading.Event().wait(pause_seconds)


_PROGRAMS: Mapping[str, Callable[[], None]] = {
    "dagster": dagster,
    "pixverse-dagster": pixverse_dagster,
    "tick": _tick,
}
