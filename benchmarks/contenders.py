"""Who is measured, and one measurement of one of them."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg

from benchmarks.stage import ROOT, SAMPLE_TABLE, Stage, audit, running_simulator
from benchmarks.table import write_table


@dataclass(frozen=True)
class Contender:
    """A program that makes a clip of every row of the table."""

    name: str
    command: tuple[str, ...]
    prepare: tuple[str, ...] = ()


FLOOR = Contender("floor", ("benchmarks.floor",))
OURS = Contender("pixverse_dagster", ("benchmarks.ours",))
OURS_PROCESSES = Contender("pixverse_dagster, process per run", ("benchmarks.ours", "--processes"))
RUN_PER_ROW = Contender("run per row", ("benchmarks.run_per_row",), prepare=("benchmarks.run_per_row", "prepare"))


@dataclass(frozen=True)
class Settings:
    """What all contenders of one benchmark have in common."""

    prompts: Path | None
    model: str
    generation_seconds: float


@dataclass(frozen=True)
class Figures:
    """What a contender needed for its rows. CPU and peak memory are the contender's own, without the simulator's."""

    name: str
    rows: int
    wall_seconds: float
    cpu_seconds: float
    peak_mib: float
    requests: int
    runs: int
    charges: int
    complaints: tuple[str, ...]

    @property
    def cpu_per_clip(self) -> float:
        """CPU seconds for one clip."""
        return self.cpu_seconds / self.rows


def measure(contender: Contender, rows: int, settings: Settings) -> Figures:
    """One contender on a stage of its own: a fresh simulator, an empty folder."""
    with (
        tempfile.TemporaryDirectory(prefix="pixverse-benchmark-") as scratch,
        running_simulator(settings.generation_seconds) as address,
    ):
        folder = Path(scratch) / "home"
        folder.mkdir()
        table = Path(scratch) / "prompts.csv"
        write_table(table, settings.prompts or SAMPLE_TABLE, rows, settings.model)
        stage = Stage(address, folder, table, rows, settings.model, settings.generation_seconds)
        if contender.prepare:
            _python(stage, contender.prepare, Path(scratch) / "prepare.log")
        result, log = Path(scratch) / "result.json", Path(scratch) / "log"
        _python(stage, ("benchmarks.measure", str(result), sys.executable, "-m", *contender.command), log)
        measured = json.loads(result.read_text())
        if measured["exit_code"]:
            raise RuntimeError(f"{contender.name} ended with {measured['exit_code']}:\n{_tail(log)}")
        found = audit(stage)
        return Figures(
            name=contender.name,
            rows=rows,
            wall_seconds=measured["wall_seconds"],
            cpu_seconds=measured["cpu_seconds"],
            peak_mib=measured["peak_mib"],
            requests=found.requests,
            runs=_count_runs(folder),
            charges=found.charges,
            complaints=found.complaints,
        )


def median(rounds: Sequence[Figures]) -> Figures:
    """Each figure's median over several measurements of one contender; a complaint of any of them stays."""
    return replace(
        rounds[0],
        wall_seconds=statistics.median(one.wall_seconds for one in rounds),
        cpu_seconds=statistics.median(one.cpu_seconds for one in rounds),
        peak_mib=statistics.median(one.peak_mib for one in rounds),
        requests=statistics.median_low([one.requests for one in rounds]),
        runs=statistics.median_low([one.runs for one in rounds]),
        complaints=tuple(complaint for one in rounds for complaint in one.complaints),
    )


def _python(stage: Stage, arguments: tuple[str, ...], log: Path) -> None:
    with log.open("wb") as output:
        command = [sys.executable, "-m", *arguments]
        code = subprocess.run(
            command, cwd=ROOT, env=stage.environment(), stdout=output, stderr=output, check=False
        ).returncode
    if code:
        raise RuntimeError(f"{' '.join(arguments)} ended with {code}:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-40:])


def _count_runs(home: Path) -> int:
    if not (home / "dagster.yaml").exists():
        return 0
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return instance.get_runs_count()
