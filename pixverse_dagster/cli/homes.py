"""Dagster homes: which folder is one, and what `demo` and `dev` leave in theirs."""

import fcntl
import json
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.orchestration.environment import PREFIX, variables
from pixverse_dagster.orchestration.resources import LEDGER_FILE

ENVIRONMENT_FILE = "pixverse.env"
MARKS = ("dagster.yaml", "history/runs.db", f"storage/{LEDGER_FILE}", ENVIRONMENT_FILE)
"""What a Dagster home has, of which one will do: its settings, its runs, our ledger, or what `demo` left there."""
MEMORY_FILE = "simulator.db"
"""What the simulator of `demo` and `dev` remembers, in their home."""
_LOCK = ".pixverse-lock"
_TEXT: Any = {"encoding": "utf-8", "errors": "surrogateescape"}
_DAGSTER_YAML = "telemetry:\n  enabled: false\nnux:\n  enabled: false\n"
"""No data for Dagster's makers, and no dialog of theirs in front of the first page."""


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


def make_home(home: Path) -> Path:
    """Make a Dagster home, or make one ready that is there: its settings, and all its databases with their tables.

    Two processes that open a new home at one moment can break its databases for good, for Dagster makes their tables
    without a lock. Whoever comes second here waits, and finds them made.

    Raises:
        PixverseError: the folder cannot be made or written to.
    """
    home = home.resolve()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with (home / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (home / "dagster.yaml").exists():
                (home / "dagster.yaml").write_text(_DAGSTER_YAML)
            with dg.DagsterInstance.from_config(str(home)) as instance:
                instance.get_runs_count()
                instance.all_asset_keys()
                instance.all_instigator_state()
    except OSError as error:
        what = "is a file" if home.is_file() else f"cannot be used: {error.strerror or error}"
        raise PixverseError(
            f"{home} {what}, so it can be no Dagster home. Nothing was made; give another --home"
        ) from None
    return home


def earlier_port(home: Path) -> int:
    """The port that the simulator of this home had, if it is free: links to it stay good. Else 0, for any."""
    url = urlsplit(_read_settings(home).get("PIXVERSE_SIMULATOR_URL", ""))
    return url.port if url.port and is_free(url.port) else 0


def earlier_deadline_seconds(home: Path) -> float:
    """How long the tasks that this home has under way were given: a run that goes on gives them no less."""
    try:
        return float(json.loads(_read_settings(home)["PIXVERSE_PACE"])["task_deadline_seconds"])
    except (KeyError, TypeError, ValueError):
        return 0.0


def is_free(port: int) -> bool:
    """Whether a server could listen at this port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def prepare_home(home: Path, settings: dict[str, str]) -> Path:
    """Make a Dagster home for the simulator and leave its settings there for later commands.

    Whatever the environment says of a live project is put aside: nothing here may reach its ledger or its bucket.
    """
    home = make_home(home)
    own = {variable.name: "" for variable in variables() if variable.name.startswith(PREFIX)}
    merged = {**own, **_read_settings(home), **settings, "PIXVERSE_MODE": "simulator"}
    text = "".join(f"{name}={value}\n" for name, value in merged.items())
    (home / ENVIRONMENT_FILE).write_text(text, **_TEXT)
    os.environ.update(merged | {"DAGSTER_HOME": str(home)})
    return home


def _read_settings(home: Path) -> dict[str, str]:
    path = home / ENVIRONMENT_FILE
    lines = path.read_text(**_TEXT).splitlines() if path.exists() else []
    pairs = (line.partition("=") for line in lines)
    return {name: value for name, _, value in pairs if name.startswith(PREFIX)}
