"""`python -m benchmarks.run`: what orchestration costs, here, at least, and in the way that comes to mind first."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.api import APIS
from benchmarks.contenders import (
    FLOOR,
    OURS,
    OURS_PROCESSES,
    RUN_PER_ROW,
    Contender,
    Figures,
    Settings,
    measure,
    median,
)
from benchmarks.table import RESOLUTION

MARK = 1 / 30
"""Of the CPU that a run per row takes for a clip: at most so much may this project take."""

_PACKAGES = ("pixverse-dagster", "dagster", "httpx", "sqlalchemy", "pydantic", "av")
_COLUMNS = ("contender", "rows", "wall s", "CPU s", "peak MiB", "HTTP requests", "Dagster runs",
            "wall s/clip", "CPU s/clip", "requests/clip", "runs/clip", "one charge per row, all files")  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    options = _parse(argv)
    settings = Settings(options.prompts, options.model, options.generation_seconds)
    plan: list[tuple[Contender, int]] = [
        (FLOOR, options.rows),
        (OURS, max(options.rows // 4, 1)),
        (OURS, options.rows),
        (OURS_PROCESSES, options.rows),
        (RUN_PER_ROW, options.per_row_rows),
    ]
    measured: list[list[Figures]] = [[] for _ in plan]
    for number in range(options.repeat):
        for found, (contender, rows) in zip(measured, plan, strict=True):
            print(f"round {number + 1} of {options.repeat}: {contender.name}, {rows} rows …", file=sys.stderr)
            found.append(measure(contender, rows, settings))
    report = build_report([median(found) for found in measured], options)
    print(json.dumps(report, indent=2) if options.json else render(report))
    return 0 if report["passed"] else 1


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--rows", type=int, default=300, help="rows of all but the baseline (default 300)")
    parser.add_argument("--per-row-rows", type=int, default=6, help="rows of the run-per-row baseline (default 6)")
    parser.add_argument("--prompts", type=Path, help="CSV with a prompt column; the sample prompts if not given")
    parser.add_argument("--model", choices=sorted(APIS), default="runware/pixverse-v4.5")
    parser.add_argument("--generation-seconds", type=float, default=2, help="nominal time of a clip (default 2)")
    parser.add_argument("--repeat", type=int, default=1, help="rounds; the medians are shown (default 1)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args(argv)
    if min(options.rows, options.per_row_rows, options.repeat) < 1:
        parser.error("--rows, --per-row-rows and --repeat are at least 1")
    return options


def build_report(figures: list[Figures], options: argparse.Namespace) -> dict[str, Any]:
    """Figures and what they mean, as plain data."""
    floor, quarter, ours, processes, per_row = figures
    ratios = {
        f"{one.name} / {other.name}": one.cpu_per_clip / other.cpu_per_clip
        for one in (ours, processes)
        for other in (floor, per_row)
    }
    worst = max(ours.cpu_per_clip, processes.cpu_per_clip) / per_row.cpu_per_clip
    return {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()},
        "versions": {package: version(package) for package in _PACKAGES},
        "model": options.model,
        "generation_seconds": options.generation_seconds,
        "rounds": options.repeat,
        "contenders": [asdict(one) | {"cpu_seconds_per_clip": one.cpu_per_clip} for one in figures],
        "cpu_per_clip_ratios": ratios,
        "mark": MARK,
        "mark_held": worst <= MARK,
        "peak_mib_by_rows": {str(one.rows): one.peak_mib for one in (quarter, ours)},
        "passed": worst <= MARK and not any(one.complaints for one in figures),
    }


def render(report: dict[str, Any]) -> str:
    """The report as Markdown, for people."""
    lines = [_row(_COLUMNS), _row("---" for _ in _COLUMNS), *(_row(_cells(one)) for one in report["contenders"]), ""]
    lines += [_row(("CPU per clip", "ratio")), _row(("---", "---"))]
    lines += [_row((name, _ratio(ratio))) for name, ratio in report["cpu_per_clip_ratios"].items()]
    (few, small), (many, large) = report["peak_mib_by_rows"].items()
    held = "held" if report["mark_held"] else "MISSED"
    lines += [
        "",
        f"{_facts(report)} Figures are medians of {report['rounds']} round(s).",
        f"Mark, at most 1/{1 / report['mark']:.0f} of the CPU of a run per row, however runs are launched: {held}.",
        f"Peak memory of pixverse_dagster: {small:.0f} MiB at {few} rows, {large:.0f} MiB at {many} rows.",
        *(f"{one['name']}: {text}" for one in report["contenders"] for text in one["complaints"]),
    ]
    return "\n".join(lines)


def _cells(one: dict[str, Any]) -> list[str]:
    rows = one["rows"]
    totals = [f"{one['wall_seconds']:.1f}", f"{one['cpu_seconds']:.2f}", f"{one['peak_mib']:.0f}"]
    counts = [str(one["requests"]), str(one["runs"])]
    per_clip = [f"{one[name] / rows:.3f}" for name in ("wall_seconds", "cpu_seconds", "requests", "runs")]
    return [one["name"], str(rows), *totals, *counts, *per_clip, "no" if one["complaints"] else "yes"]


def _facts(report: dict[str, Any]) -> str:
    machine = report["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    head = f"{report['model']} at {RESOLUTION}, clips of {report['generation_seconds']:g} s of generation"
    return f"{head}; {machine['cores']} cores, {machine['system']}, Python {machine['python']}; {versions}."


def _ratio(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio >= 1 else f"1/{1 / ratio:.1f}"


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
