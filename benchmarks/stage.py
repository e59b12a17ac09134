"""The same stage for every contender: a table of rows, a fresh simulator, an empty folder, and the audit at the end."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

import pixverse_dagster
from benchmarks.table import read_table

SAMPLE_TABLE = Path(pixverse_dagster.__file__).parent / "samples" / "prompts.csv"
ROOT = Path(__file__).parents[1]
_READY = "simulator ready on "


@dataclass(frozen=True)
class Stage:
    """What a contender is given, as environment variables."""

    address: str
    folder: Path
    table: Path
    rows: int
    model: str
    generation_seconds: float

    def environment(self) -> dict[str, str]:
        """The environment of a contender's processes. Nothing of the caller's own Dagster or pipeline is left in it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIXVERSE_", "DAGSTER_"))}
        return kept | {
            "DAGSTER_HOME": str(self.folder),
            "BENCHMARK_ADDRESS": self.address,
            "BENCHMARK_FOLDER": str(self.folder),
            "BENCHMARK_TABLE": str(self.table),
            "BENCHMARK_MODEL": self.model,
            "BENCHMARK_GENERATION_SECONDS": str(self.generation_seconds),
        }


@dataclass(frozen=True)
class Audit:
    """What the simulator and the folder say afterwards."""

    requests: int
    charges: int
    complaints: tuple[str, ...]


@contextmanager
def running_simulator(generation_seconds: float) -> Generator[str]:
    """A simulator in a process of its own, on a free port."""
    command = [sys.executable, "-m", "pixverse_dagster.simulator", "--port", "0", "--seed", "0"]
    command += ["--generation-seconds", str(generation_seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line.startswith(_READY):
                raise RuntimeError(f"the simulator did not start: {line!r}")
            yield line.removeprefix(_READY).strip()
        finally:
            process.terminate()


def audit(stage: Stage) -> Audit:
    """Whether there is exactly one charge per row, and every clip's bytes are in the folder."""
    tasks: list[dict[str, Any]] = httpx.get(f"{stage.address}/_simulator/tasks", timeout=60).json()
    counts = httpx.get(f"{stage.address}/_simulator/requests", timeout=60).json()
    complaints: list[str] = []
    asked = Counter(task["request"].get("positivePrompt") or task["request"].get("prompt") for task in tasks)
    if asked != Counter(read_table(stage.table).values()) or not all(task["charged_usd"] for task in tasks):
        complaints.append(f"{len(tasks)} charges for {stage.rows} rows, or not one for each")
    made = Counter(output["sha256"] for task in tasks for output in task["outputs"])
    kept = Counter(_sha256(path) for path in stage.folder.rglob("*.mp4"))
    if made != kept or made.total() != stage.rows:
        complaints.append(
            f"{kept.total()} files for {stage.rows} rows, {(made & kept).total()} of them as they were made"
        )
    requests = sum(count for calls in counts.values() for call in calls.values() for count in call.values())
    return Audit(requests, len(tasks), tuple(complaints))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
