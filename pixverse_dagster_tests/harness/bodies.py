"""The smallest row of each model, and the provider's body that it becomes."""

from __future__ import annotations

from typing import Any

from pixverse_dagster.core.request import Request
from pixverse_dagster.core.row import Problem, RawRow
from pixverse_dagster.tables.parse import Draft, TableRules, parse_row

Body = dict[str, Any]

V45, V6 = "highway/pixverse-v4.5-i2v", "highway/pixverse-v6-i2v"
C1, RUNWARE, PIXWITH = "highway/pixverse-c1-reference-to-video", "runware/pixverse-v4.5", "pixwith/pixverse-v5"
KITE = "https://assets.example.org/kite.png"
DUNE = "https://assets.example.org/dune.jpg"
HERO: Body = {"type": "subject", "name": "hero", "image": KITE}
HARBOUR: Body = {"type": "background", "name": "harbour", "image": DUNE}

# The smallest row of each model.
SMALLEST: dict[str, Body] = {
    V45: {"prompt": "a kite", "image": KITE},
    V6: {"prompt": "a kite", "image": KITE},
    C1: {"prompt": "@hero walks", "references": [HERO]},
    RUNWARE: {"prompt": "a kite"},
    PIXWITH: {"prompt": "a kite"},
}


def read(model: str, cells: Body) -> Draft | list[Problem]:
    return parse_row(RawRow(2, {"id": "r1", "model": model, **cells}), TableRules())


def request(model: str, **cells: Any) -> Request:
    """The request of the model's smallest row with these cells changed; a cell of None is empty."""
    draft = read(model, {**SMALLEST[model], **cells})
    assert isinstance(draft, Draft), [str(problem) for problem in draft]
    return draft.request


def body(model: str, **cells: Any) -> Body:
    return request(model, **cells).body(lambda reference: reference)
