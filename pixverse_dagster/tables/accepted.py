"""Which values a model's parameters take, one at a time, and which of those is the nearest to another. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import product
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from pixverse_dagster.core.request import Request
from pixverse_dagster.providers import MODELS

ROUNDED = ("resolution", "duration_seconds")
"""The parameters that may go to the nearest value, in the order in which they are kept as they are."""
_MAX_SECONDS = 120
_MAX_CHARACTERS = 40
"""Longest text that is taken for a number."""
_PIXELS = re.compile(r"([0-9]{2,5})\s*p?", re.IGNORECASE)


def accepts(model: type[Request], column: str, value: Any) -> bool:
    """Whether a model has a parameter, and it may be this value, as far as that depends on nothing else."""
    if column not in model.model_fields:
        return False
    try:
        _adapter(model, column).validate_python(value)
    except ValidationError:
        return False
    return True


def parse(model: type[Request], column: str, value: Any) -> Any:
    """The value as the model has it. Raises ValidationError."""
    return _adapter(model, column).validate_python(value)


def accepted_elsewhere(model: type[Request], column: str, value: Any) -> bool:
    """Whether another model takes a value that this one does not: it is no slip of the pen."""
    return any(accepts(other, column, value) for other in MODELS.values() if other is not model)


@cache
def values(model: type[Request], column: str) -> Mapping[float, Any]:
    """The values of a parameter that may be rounded, by the number that they stand for, in their order."""
    if column not in model.model_fields:
        return {}
    words = {str(choice): float(str(choice).removesuffix("p")) for choice in model.choices(column)}
    if words:
        return {number: word for word, number in sorted(words.items(), key=lambda item: item[1])}
    return {float(n): n for n in range(1, _MAX_SECONDS + 1) if accepts(model, column, n)}


def number_of(column: str, value: Any) -> float | None:
    """What a value stands for: pixels of `720p`, or seconds; None if it is no such value."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    text = value[:_MAX_CHARACTERS].strip() if isinstance(value, str) else repr(value)
    if column == "resolution":
        found = _PIXELS.fullmatch(text)
        return float(found.group(1)) if found else None
    try:
        number = float(text)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def nearest(model: type[Request], column: str, value: Any) -> list[Any]:
    """The values that a parameter may have, the nearest to this one first, of two the lower; empty if it is none."""
    number, known = number_of(column, value), values(model, column)
    if number is None:
        return []
    return [known[one] for one in sorted(known, key=lambda one: (abs(one - number), one))]


def rounded(model: type[Request], asked: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be asked of the model in place of a resolution and a duration that it does not have as they are.

    Also where the model has both, but not together, or not with what else is asked. Empty if nothing is to be rounded.
    """
    if _is_valid(model, asked):
        return {}
    near = {name: found for name in ROUNDED if name in asked and (found := nearest(model, name, asked[name]))}
    changes = next((one for one in _combinations(near) if _is_valid(model, {**asked, **one})), None)
    if changes is None:
        # Something else is wrong, too: it is named, and these two are not.
        changes = {name: found[0] for name, found in near.items()}
    return {name: value for name, value in changes.items() if str(value) != str(asked[name]).strip()}


def _combinations(near: Mapping[str, Iterable[Any]]) -> Iterator[dict[str, Any]]:
    return (dict(zip(near, found, strict=True)) for found in product(*near.values()))


def _is_valid(model: type[Request], asked: Mapping[str, Any]) -> bool:
    try:
        model.model_validate(asked)
    except ValidationError:
        return False
    return True


@cache
def _adapter(model: type[Request], column: str) -> TypeAdapter[Any]:
    field = model.model_fields[column]
    kind: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    return TypeAdapter(kind, config=ConfigDict(str_strip_whitespace=True))
