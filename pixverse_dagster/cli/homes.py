"""Dagster homes: which folder is one, and what `demo` and `dev` leave in theirs."""

import os
from pathlib import Path

from pixverse_dagster.orchestration.environment import PREFIX, variables
from pixverse_dagster.orchestration.resources import LEDGER_FILE

ENVIRONMENT_FILE = "pixverse.env"
MARKS = ("dagster.yaml", "history/runs.db", f"storage/{LEDGER_FILE}", ENVIRONMENT_FILE)
"""What a Dagster home has, of which one will do: its settings, its runs, our ledger, or what `demo` left there."""
_DAGSTER_YAML = "telemetry:\n  enabled: false\n"


def find_home(given: Path | None) -> tuple[Path | None, str]:
    """The home that was given, else $DAGSTER_HOME; and why it is none, if so. Makes nothing.

    Dagster takes any folder that $DAGSTER_HOME names for a home, so an empty one there is a home that is new.
    """
    text = os.environ.get("DAGSTER_HOME", "").strip()
    named = Path(text).expanduser() if text else None
    path = given or named
    if path is None:
        return None, "which Dagster home? Give --home DIR or set DAGSTER_HOME"
    is_named = named is not None and named.resolve() == path.resolve()
    is_new = is_named and path.is_dir() and not any(path.iterdir())
    if is_home(path) or is_new:
        return path.resolve(), ""
    why = "" if path.is_dir() else "; there is no such folder"
    return path.resolve(), (
        f"there is no Dagster home at {path}{why}. Nothing was made there. A home has a dagster.yaml (an empty one "
        "will do) or what Dagster's runs leave; `demo` and `dev` make one"
    )


def is_home(path: Path) -> bool:
    """Whether Dagster or this project has worked in the folder, or was told to."""
    return any((path / mark).is_file() for mark in MARKS)


def is_demo_home(path: Path | None) -> bool:
    """Whether `demo` or `dev` made it: it is about the project's own definitions."""
    return path is not None and (path / ENVIRONMENT_FILE).is_file()


def enter_home(home: Path) -> None:
    """Make this the Dagster home of the process, with the settings that `demo` or `dev` left there."""
    os.environ.update(_read_settings(home) | {"DAGSTER_HOME": str(home)})


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
