"""Prompt tables: written by the benchmark, read by every contender. Standard library only, so that reading is cheap."""

from __future__ import annotations

import csv
from pathlib import Path

RESOLUTION = "360p"


def write_table(path: Path, prompts: Path, rows: int, model: str) -> None:
    """Write a table of exactly so many rows, all different: a table's prompts, repeated with a number if need be."""
    with prompts.open(encoding="utf-8-sig", newline="") as source:
        found = list(dict.fromkeys(row["prompt"].strip() for row in csv.DictReader(source) if row["prompt"].strip()))
    with path.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["id", "model", "resolution", "prompt"])
        for number in range(rows):
            again, at = divmod(number, len(found))
            text = f"{found[at]}, variation {again}" if again else found[at]
            writer.writerow([f"row-{number + 1:05}", model, RESOLUTION, text])


def read_table(path: Path) -> dict[str, str]:
    """Prompts by row id."""
    with path.open(encoding="utf-8", newline="") as source:
        return {row["id"]: row["prompt"] for row in csv.DictReader(source)}
