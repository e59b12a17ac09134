"""One row as several: at other models, and with other seeds. Pure; reading again makes the same rows.

A row's own keeps its id. The one at another model is `kite~runware-pixverse-v4.5`, the second one with a seed of its
own `kite~2`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pixverse_dagster.core.row import RawRow
from pixverse_dagster.providers import MODELS
from pixverse_dagster.tables.columns import is_empty
from pixverse_dagster.tables.rules import TableRules

MARK = "~"
"""Between a row's id and what makes it another row."""
_SEEDS = 2**31
"""Every model that has a seed takes one below this."""


def expand_row(raw: RawRow, rules: TableRules) -> Iterator[RawRow]:
    """The rows that a row of the table stands for, its own first. A row that is wrong already stands for itself."""
    cells = {str(name).strip(): value for name, value in raw.cells.items()}
    row_id = "" if is_empty(cells.get("id")) else str(cells["id"]).strip()
    own = str(rules.defaults.get("model", "") if is_empty(cells.get("model")) else cells["model"]).strip()
    if raw.complaint or not row_id or own not in MODELS:
        yield raw
        return
    yield from _with_seeds(raw, cells, row_id, own, rules)
    for model in dict.fromkeys(rules.compare):
        if model != own:
            named = f"{row_id}{MARK}{model.replace('/', '-')}"
            other = replace(raw, cells={**cells, "id": named, "model": model})
            yield from _with_seeds(other, dict(other.cells), row_id, model, rules)


def _with_seeds(raw: RawRow, cells: dict[str, Any], row_id: str, model: str, rules: TableRules) -> Iterator[RawRow]:
    """The row once for each seed; `row_id` is that of the table, so that every model gets the same seeds."""
    if rules.seeds == 1:
        yield raw
        return
    given = not is_empty(cells.get("seed")) or not is_empty(rules.defaults.get("seed"))
    has_seed = "seed" in MODELS[model].model_fields
    yield raw if given or not has_seed else replace(raw, cells={**cells, "seed": seed_of(row_id, 1)})
    for number in range(2, rules.seeds + 1):
        named = f"{cells['id']}{MARK}{number}".strip()
        yield replace(raw, cells={**cells, "id": named, "seed": seed_of(row_id, number)})


def seed_of(row_id: str, number: int) -> int:
    """The seed of a row's request of this number: always the same, and another for every row."""
    return int.from_bytes(hashlib.sha256(f"{row_id}\n{number}".encode(errors="replace")).digest()[:8]) % _SEEDS
