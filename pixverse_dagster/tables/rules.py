"""How a pipeline reads its table, and which names its columns may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.request import Request
from pixverse_dagster.providers import MODELS

RESERVED = ("id", "model", "take")
EVERY = "*"
"""In the place of labels: every column that is nothing else."""
MAX_NAME = 80
"""How many characters of a cell are compared with known names: a cell may be as long as the table."""


@dataclass(frozen=True)
class TableRules:
    """How a pipeline reads its table: values for empty cells, columns that are kept as labels only, and names.

    `labels` with `*` in it are all columns that are nothing else. `columns` says, by our name, which column of the
    table it is. `on_unsupported` says what becomes of what a row's model does not take, `rounding` what of a duration
    or a resolution that it does not have. Each row is also one at each model of `compare`, and has so many `seeds`.
    """

    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    labels: Sequence[str] = ()
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    on_unsupported: Literal["refuse", "drop"] = "refuse"
    rounding: Literal["refuse", "nearest"] = "refuse"
    compare: Sequence[str] = ()
    seeds: int = 1

    def check(self) -> None:
        """Raise InvalidTable if a default is no parameter or no value of one, a label is one, or a name is none."""
        for name in self.compare:
            if name not in MODELS:
                raise InvalidTable(f"compare: {model_complaint(name)}. Nothing was sent")
        for name, value in self.defaults.items():
            if name not in {"model", "take"} and name not in parameter_names():
                raise InvalidTable(f"default {name!r} is not a parameter of any model{suggest(name, None)}")
            if words := sixties(name, value):
                raise InvalidTable(f"default {name!r} {words}. Nothing was sent")
        for name in self.labels:
            if name in RESERVED or name in parameter_names():
                raise InvalidTable(f"label {name!r} is a parameter: it changes what is generated and cannot be a label")
        for name in self.columns:
            if name not in {*RESERVED, *parameter_names(), *self.labels}:
                raise InvalidTable(
                    f"columns: {name!r} is neither id, model, take, a parameter nor a label{suggest(name, None)}. "
                    "Each line is the name here and the table's column: `prompt: Description`. Nothing was sent"
                )


@cache
def parameter_names() -> frozenset[str]:
    """Every parameter of every model."""
    return frozenset(name for model in MODELS.values() for name in model.model_fields)


def suggest(column: str, model: type[Request] | None) -> str:
    """The end of a message about an unknown column: which known one was perhaps meant."""
    models = [model] if model else list(MODELS.values())
    column = column[:MAX_NAME]
    by_provider_name = {theirs.lower(): ours for m in models for theirs, ours in m.provider_names().items()}
    if (ours := by_provider_name.get(column.lower())) and ours != column:
        return f"; here it is called {ours!r}"
    names = [*RESERVED, *(name for m in models for name in m.model_fields)]
    near = get_close_matches(column.lower(), names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def sixties(name: str, value: Any) -> str:
    """What is wrong with a shape that YAML took for a number to the base of sixty; empty if it is none."""
    if name != "aspect_ratio" or not isinstance(value, int) or isinstance(value, bool):
        return ""
    return (
        f"is the number {value}: without quotes, YAML reads {value // 60}:{value % 60} as a number to the base of "
        f'sixty. Write "{value // 60}:{value % 60}" in quotes'
    )


def model_complaint(name: str) -> str:
    """What is wrong with the name of a model that there is not, and which one was perhaps meant."""
    near = get_close_matches(name[:MAX_NAME], MODELS, n=1, cutoff=0.5)
    return f"there is no model {name[:MAX_NAME]!r}" + (
        f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(MODELS)}"
    )
