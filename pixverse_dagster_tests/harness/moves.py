"""What moves where: a table of columns and models, found by reading rows. A part of docs/parameters.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from pixverse_dagster.core.request import DELIVERY, At, Request
from pixverse_dagster.core.row import RawRow
from pixverse_dagster.providers import MODELS
from pixverse_dagster.tables.accepted import ROUNDED, values
from pixverse_dagster.tables.moving import image_columns
from pixverse_dagster.tables.parse import Draft, TableRules, parse_row

HEAD = """
## What moves where

A row goes to another model by its `model`. What the model takes moves as it is, and so does what it calls otherwise:
one image is C1's one reference (where the prompt has no `@name`, `@image ` is put before it), one first frame is an
image, a width and height are a resolution and a shape. What asks for nothing (no sound, one output, MP4) moves
everywhere. The rest makes the row a problem that is named, unless an option says otherwise:

- *left out*: with `on_unsupported: drop`. The prompt and images are never left out: images go where the model takes
  them, and a row with more than the model takes is refused.
- *nearest*: with `rounding: nearest`; of two that are equally near, the lower. Where resolution and duration do not go
  together, the resolution stays as near as it can.

`plan` says of each row what would be left out or sent otherwise, `read` without a project, and the manifest of each
clip keeps it (`dropped`, `adjusted`).

"""
_ROW = {"id": "row", "prompt": "@a walks"}
_IMAGE = {"type": "subject", "name": "a", "image": "a.png"}
_TWO: list[Any] = [_IMAGE, {**_IMAGE, "name": "b", "image": "b.png"}]
_SAMPLES: dict[str, list[Any]] = {
    "image": ["a.png"],
    "last_image": ["a.png"],
    "frames": [[{"image": "a.png"}], [{"image": "a.png"}, {"image": "b.png"}]],
    "references": [[_IMAGE], _TWO],
    "width": [640],
    "height": [360],
    "resolution": ["360p", "540p", "720p", "1080p"],
    "duration_seconds": list(range(1, 16)),
    "negative_prompt": ["fog"],
    "audio": [True],
    "seed": [7],
    "outputs": [2],
    "cfg_scale": [0.5],
    "output_quality": [50],
    "prompt_optimization": [True],
    "safety_check_content": [True],
}
_TOGETHER: dict[str, dict[str, Any]] = {"width": {"height": 360}, "height": {"width": 640}}
_ALL = TableRules(on_unsupported="drop", rounding="nearest")


def render() -> str:
    """The part of the page."""
    names = list(MODELS)
    lines = [f"| column | {' | '.join(f'`{name}`' for name in names)} |\n", f"|{'---|' * (len(names) + 1)}\n"]
    for column in _columns():
        cells = [_cell(column, model) for model in MODELS.values()]
        lines.append(f"| `{column}` | {' | '.join(cells)} |\n")
    return HEAD + "".join(lines)


def _columns() -> Iterator[str]:
    """Every column that is a part of the clip, in the order in which models have them."""
    found: dict[str, None] = {}
    for model in MODELS.values():
        for name, field in model.model_fields.items():
            declared = next((item for item in field.metadata if isinstance(item, At)), None)
            if name != "prompt" and not (declared and declared.part is DELIVERY):
                found.setdefault(name)
    return iter(found)


def _samples(column: str) -> list[Any]:
    """Values of a column that are no model's own way to say nothing."""
    if column in _SAMPLES:
        return _SAMPLES[column]
    words = {word for model in MODELS.values() if column in model.model_fields for word in model.choices(column)}
    return sorted(words - {"normal", "MP4"}, key=str)


def _cell(column: str, model: type[Request]) -> str:
    said = {_what_becomes(column, value, model) for value in _samples(column)}
    if len(said) == 1:
        return said.pop()
    if column in ROUNDED:
        known = list(values(model, column).values())
        return f"always {known[0]}" if len(known) == 1 else f"nearest of {', '.join(map(str, known))}"
    if column in image_columns():
        return "if it is one" if "refused" in said else max(said, key=len)
    taken = [str(value) for value in _samples(column) if _what_becomes(column, value, model) == "yes"]
    return f"{', '.join(taken)}; others left out"


def _what_becomes(column: str, value: Any, model: type[Request]) -> str:
    """What a row of this model has for this value of a column."""
    named = {"prompt": "@a walks with @b"} if isinstance(value, list) and len(cast("list[Any]", value)) > 1 else {}
    cells: dict[str, Any] = {**_ROW, **named, "model": model.MODEL, column: value, **_TOGETHER.get(column, {})}
    if column not in image_columns() and isinstance(_read(cells), list):
        cells["image"] = "a.png"
    found = _read(cells)
    if isinstance(found, list):
        return "refused"
    change = next((one for one in found.differences if one.field == column), None)
    if change is None:
        return "yes"
    if column in ROUNDED:
        return f"nearest ({change.sent})"
    if column in {"width", "height"}:
        return "as resolution" + " and shape" * ("," in str(change.sent))
    return f"as {change.sent}" if column in image_columns() else "left out"


def _read(cells: dict[str, Any]) -> Draft | list[Any]:
    return parse_row(RawRow(1, cells), _ALL)
