"""What it takes to read a table of 25,000 rows in each format, with every row checked for its model.

    python -m benchmarks.formats [--rows 25000]

Each format is read by `pixverse-dagster read` in a process of its own. Prints CPU seconds and the peak memory of that
process, the start of Python included.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

# Neither describes its types.
openpyxl: Any = import_module("openpyxl")
arrow: Any = import_module("pyarrow")
parquet: Any = import_module("pyarrow.parquet")

Rows = list[dict[str, str | int]]
ENTRY = "import sys; from pixverse_dagster.cli import cli; sys.exit(cli())"


def make_rows(count: int) -> Rows:
    """Rows with the parameters that most tables have."""
    return [
        {"id": f"sc{n:05}", "prompt": f"a red kite over dune number {n}", "duration_seconds": 5, "take": 1, "note": "x"}
        for n in range(count)
    ]


def separated(separator: str) -> Callable[[Path, Rows], object]:
    """Writes a text table with this separator."""

    def write(path: Path, rows: Rows) -> None:
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), delimiter=separator)
            table.writeheader()
            table.writerows(rows)

    return write


def write_workbook(path: Path, rows: Rows) -> None:
    """Writes a workbook of one sheet."""
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in (list(rows[0]), *(list(row.values()) for row in rows)):
        sheet.append(row)
    book.save(path)


FORMATS: Mapping[str, Callable[[Path, Rows], object]] = {
    "csv": separated(","),
    "tsv": separated("\t"),
    "jsonl": lambda path, rows: path.write_text("".join(f"{json.dumps(row)}\n" for row in rows)),
    "json": lambda path, rows: path.write_text(json.dumps({"rows": rows})),
    "parquet": lambda path, rows: parquet.write_table(arrow.Table.from_pylist(rows), path),
    "xlsx": write_workbook,
}


def read(path: Path) -> tuple[float, float]:
    """CPU seconds and peak memory in MiB of a process that reads the table."""
    process = subprocess.Popen(
        [sys.executable, "-c", ENTRY, "read", str(path), "--labels", "note", "--json"], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{path.name} was not read")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Measure each format."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=25_000)
    rows = make_rows(parser.parse_args().rows)
    with tempfile.TemporaryDirectory() as folder:
        for name, write in FORMATS.items():
            path = Path(folder) / f"table.{name}"
            write(path, rows)
            cpu_seconds, mib = read(path)
            print(f"{name}: {len(rows)} rows, {cpu_seconds:.1f} s of CPU, {mib:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
