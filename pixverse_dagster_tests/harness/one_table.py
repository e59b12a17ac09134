"""A table of every model and type of cell."""

from __future__ import annotations

from typing import Any

from pixverse_dagster_tests.harness.factories import CELLS, HIGHWAY, PIXWITH, RUNWARE

C1 = "highway/pixverse-c1-reference-to-video"
ROWS: list[dict[str, Any]] = [
    {"id": "wind", **CELLS[RUNWARE], "model": RUNWARE, "prompt": 'a "red" kite,\nhigh', "seed": 7, "outputs": 2},
    {"id": "日本", **CELLS[HIGHWAY], "model": HIGHWAY, "audio": True, "cfg_scale": 0.7, "seed": 0, "take": 2},
    {
        "id": "3",
        **CELLS[HIGHWAY],
        "model": HIGHWAY,
        "audio": False,
        "cfg_scale": 1.0,
        "campaign": 2024,
        "seed": 2_147_483_647,
    },
    {"id": "hero", **CELLS[C1], "model": C1, "language": "de"},
    {"id": "last", **CELLS[PIXWITH], "model": PIXWITH, "take": 1, "campaign": 2025},
]
COLUMNS = list(dict.fromkeys(column for row in ROWS for column in row))
FULL: list[dict[str, Any]] = [{column: row.get(column) for column in COLUMNS} for row in ROWS]
