"""Finding the project that a command is about: its Dagster home, its definitions, its pipeline."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import dagster as dg

from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.orchestration.environment import PREFIX, variables
from pixverse_dagster.orchestration.io_managers.base import ClipIOManager
from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore

ENVIRONMENT_FILE = "pixverse.env"
_DAGSTER_YAML = "telemetry:\n  enabled: false\n"


@dataclass(frozen=True)
class Project:
    """A pipeline of a code location, with the ledger and the store that its definitions configure."""

    spec: PipelineSpec
    resources: Any
    instance: dg.DagsterInstance

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.spec.name

    @property
    def ledger(self) -> Ledger:
        """The pipeline's ledger."""
        return getattr(self.resources, self.spec.ledger_key).get_ledger(self.instance)

    @property
    def store(self) -> ClipStore:
        """The pipeline's store."""
        io_manager: ClipIOManager = getattr(self.resources, self.spec.clips_key)
        return io_manager.get_store()

    def open(self) -> Session:
        """A session on the pipeline; close it after use."""
        return self.spec.open(self.resources, self.instance, run_id="")


def project_options(command: Any) -> Any:
    """The options of every command that looks at a project."""
    for option in (
        click.option("--home", type=click.Path(path_type=Path), help="Dagster home; $DAGSTER_HOME if not given."),
        click.option(
            "-m", "--module", default="pixverse_dagster.definitions", show_default=True, help="Definitions module."
        ),
        click.option("--pipeline", help="Pipeline name, where the module has several."),
    ):
        command = option(command)
    return command


def enter_home(home: Path | None) -> Path:
    """Make this the Dagster home of the process, with the settings that `demo` or `dev` left there."""
    path = home or (Path(os.environ["DAGSTER_HOME"]) if os.environ.get("DAGSTER_HOME") else None)
    if path is None:
        raise click.UsageError("which Dagster home? Give --home DIR or set DAGSTER_HOME")
    if not path.is_dir():
        raise click.UsageError(f"there is no Dagster home at {path}")
    path = path.resolve()
    os.environ.update(_read_settings(path) | {"DAGSTER_HOME": str(path)})
    return path


def prepare_home(home: Path, settings: dict[str, str]) -> Path:
    """Make a Dagster home for the simulator and leave its settings there for later commands.

    Whatever the environment says of a live project is put aside: nothing here may reach its ledger or its bucket.
    """
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        (home / "dagster.yaml").write_text(_DAGSTER_YAML)
    own = {variable.name: "" for variable in variables() if variable.name.startswith(PREFIX)}
    merged = {**own, **_read_settings(home), **settings, "PIXVERSE_MODE": "simulator"}
    (home / ENVIRONMENT_FILE).write_text("".join(f"{name}={value}\n" for name, value in merged.items()))
    os.environ.update(merged | {"DAGSTER_HOME": str(home)})
    return home


def _read_settings(home: Path) -> dict[str, str]:
    path = home / ENVIRONMENT_FILE
    lines = path.read_text().splitlines() if path.exists() else []
    pairs = (line.partition("=") for line in lines)
    return {name: value for name, _, value in pairs if name.startswith(PREFIX)}


@contextmanager
def open_project(module: str, pipeline: str | None) -> Generator[Project]:
    """The pipeline of a definitions module, its resources set up."""
    try:
        loaded = import_module(module)
    except ModuleNotFoundError as error:
        raise click.UsageError(f"cannot import {module}: {error}") from error
    definitions = next((v for v in vars(loaded).values() if isinstance(v, dg.Definitions)), None)
    specs = [r for r in ((definitions and definitions.resources) or {}).values() if isinstance(r, PipelineSpec)]
    chosen = [spec for spec in specs if pipeline in {None, spec.name}]
    if definitions is None or len(chosen) != 1:
        names = ", ".join(spec.name for spec in specs) or "none"
        raise click.UsageError(f"{module} has these pipelines: {names}. Choose one with --pipeline")
    wanted = {*chosen[0].resource_keys, chosen[0].clips_key}
    resources = {key: resource for key, resource in (definitions.resources or {}).items() if key in wanted}
    with dg.DagsterInstance.get() as instance, dg.build_resources(resources, instance=instance) as built:
        yield Project(chosen[0], built, instance)
