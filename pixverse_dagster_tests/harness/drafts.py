"""Rows of every model, as far as a table alone makes them."""

from __future__ import annotations

import hashlib
from typing import Any

from pixverse_dagster.core.manifest import InputImage
from pixverse_dagster.core.row import Problem, RawRow
from pixverse_dagster.tables.parse import Draft, TableRules, parse_row

Cells = dict[str, Any]

V45, V6 = "highway/pixverse-v4.5-i2v", "highway/pixverse-v6-i2v"
C1, RUNWARE, PIXWITH = "highway/pixverse-c1-reference-to-video", "runware/pixverse-v4.5", "pixwith/pixverse-v5"
KITE, DUNE = "https://assets.example.org/kite.png", "https://assets.example.org/dune.png"
HERO: Cells = {"type": "subject", "name": "hero", "image": KITE}
PLAIN = TableRules()
# What a model needs beside a prompt.
SMALLEST: dict[str, Cells] = {
    V45: {"image": KITE},
    V6: {"image": KITE},
    C1: {"prompt": "@hero walks", "references": [HERO]},
}


def read(rules: TableRules = PLAIN, line: int = 2, /, **cells: Any) -> Draft | list[Problem]:
    """A row of Runware's model, the only one that needs nothing but a prompt."""
    return parse_row(RawRow(line, {"id": "r1", "model": RUNWARE, "prompt": "a kite", **cells}), rules)


def draft(rules: TableRules = PLAIN, /, **cells: Any) -> Draft:
    found = read(rules, **cells)
    assert isinstance(found, Draft), [str(problem) for problem in found]
    return found


def image(reference: str, content: str | None = None) -> InputImage:
    return InputImage(source=reference, digest=f"sha256:{hashlib.sha256((content or reference).encode()).hexdigest()}")


def digest(contents: dict[str, str] | None = None, rules: TableRules = PLAIN, /, **cells: Any) -> str:
    """The digest of a row whose images have these contents, or contents of their own."""
    made = draft(rules, **cells)
    return made.complete({ref: image(ref, (contents or {}).get(ref)) for ref in made.request.images()}).digest
