"""A row at a model that has not all of its columns: images and sizes in the model's own, and what is left out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Any, cast

from pydantic import ValidationError

from pixverse_dagster.core.request import Request
from pixverse_dagster.providers import MODELS
from pixverse_dagster.tables.accepted import ROUNDED, accepted_elsewhere, accepts, parse
from pixverse_dagster.tables.columns import is_empty
from pixverse_dagster.tables.rules import parameter_names

KEPT = frozenset({"prompt"})
"""What is never left out, besides images: without it, it is another clip."""
_OF_ITSELF: Mapping[str, Any] = {
    "audio": False, "motion_mode": "normal", "outputs": 1, "output_format": "MP4", "prompt_optimization": False,
}  # fmt: skip
"""What every model does that has not the parameter: a row that asks for it asks for nothing else."""


@dataclass
class Asked:
    """What a row asks of its model: `cells`, and what became of those that the model does not take as they are.

    `sent` says, by column, as what a cell is sent; `dropped` are those that are left out, and `anyway` those that ask
    for what the model does without being asked. `complaints` are pairs of a
    column and what is wrong with it. `columns` says, by its reference, which column of the row an image is from.
    """

    cells: dict[str, Any]
    sent: dict[str, str] = field(default_factory=dict[str, str])
    dropped: set[str] = field(default_factory=set[str])
    anyway: set[str] = field(default_factory=set[str])
    complaints: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    columns: dict[str, str] = field(default_factory=dict[str, str])


@cache
def image_columns() -> frozenset[str]:
    """Every column in which any model takes images."""
    singles = {name for model in MODELS.values() for name in model.image_columns()}
    return frozenset(singles | {model.IMAGE_LIST for model in MODELS.values() if model.IMAGE_LIST})


def move(cells: Mapping[str, Any], defaults: Mapping[str, Any], model: type[Request], *, drop: bool) -> Asked:
    """Put a row's cells into the columns of its model, as far as the model can do what they ask for.

    What means the same in other columns is always moved. With `drop`, images go where the model takes any, and what
    the model does not take is left out; the prompt and images never are.
    """
    asked = Asked(dict(cells))
    if _may_have_image(asked.cells, defaults, model):
        asked.cells["image"] = defaults["image"]
    _move_images(asked, defaults, model, drop=drop)
    _move_size(asked, model, drop=drop)
    for name in [name for name in asked.cells if name in _may_be_left_out()]:
        value = asked.cells[name]
        foreign = _is_foreign(name, model)
        if foreign and _is_done_anyway(name, value):
            del asked.cells[name]
            asked.anyway.add(name)
        elif drop and (foreign or name in model.inapplicable(asked.cells) or is_unsupported(name, value, model)):
            del asked.cells[name]
            asked.dropped.add(name)
    return asked


@cache
def _may_be_left_out() -> frozenset[str]:
    return parameter_names() - KEPT - image_columns()


def without_unsupported(defaults: Mapping[str, Any], model: type[Request]) -> dict[str, Any]:
    """The defaults that the model takes, where what it does not take is left out."""
    return {name: value for name, value in defaults.items() if not is_unsupported(name, value, model)}


def _may_have_image(cells: Mapping[str, Any], defaults: Mapping[str, Any], model: type[Request]) -> bool:
    """Whether the default image is that of a row, at a model that takes images in other columns only."""
    if "image" not in defaults or "image" in model.model_fields or not model.max_images():
        return False
    return model.IMAGE_LIST not in defaults and not image_columns() & cells.keys()


def _is_foreign(name: str, model: type[Request]) -> bool:
    return name not in model.model_fields and name in parameter_names()


def _is_done_anyway(name: str, value: Any) -> bool:
    if name not in _OF_ITSELF:
        return False
    model = next(model for model in MODELS.values() if name in model.model_fields)
    return accepts(model, name, value) and parse(model, name, value) == _OF_ITSELF[name]


def is_unsupported(name: str, value: Any, model: type[Request]) -> bool:
    """Whether this is a value that other models take and this one does not, and that may be left out."""
    if name not in _may_be_left_out() - {*ROUNDED} or name not in model.model_fields or accepts(model, name, value):
        return False
    return accepted_elsewhere(model, name, value)


def _move_images(asked: Asked, defaults: Mapping[str, Any], model: type[Request], *, drop: bool) -> None:
    """Put images into the model's own columns, where the row has them in those of others."""
    used = {name: asked.cells[name] for name in _in_order() if name in asked.cells}
    foreign = [name for name in used if name not in model.model_fields]
    if not foreign or not model.max_images():
        return
    images: list[tuple[str, str]] = []
    for name, value in used.items():
        try:
            images += [(name, reference) for reference in _references(name, value)]
        except ValidationError:
            return  # The column is not this model's, and its complaint says so.
    if model.IMAGE_LIST in used:
        why = f"{model.MODEL} has its images in {model.IMAGE_LIST}: put this one there too, or empty one of the two"
        asked.complaints.append((foreign[0], why))
        del asked.cells[foreign[0]]
        return
    if not (drop or _means_the_same(used)):
        return
    if len(images) > model.max_images():
        few = "one image" if model.max_images() == 1 else f"{model.max_images()} images"
        why = f"{model.MODEL} takes {few}, and the row has {len(images)}: images are never left out. Empty the cell or"
        asked.complaints.append((foreign[0], f"{why} change the model"))
    prompt = asked.cells.get("prompt", defaults.get("prompt"))
    words = "" if is_empty(prompt) else str(prompt).strip()
    kept = images[: model.max_images()]
    placed = model.place_images([reference for _, reference in kept], words)
    asked.cells = {name: value for name, value in asked.cells.items() if name not in used} | placed
    asked.columns = {reference: name for name, reference in images}
    where = " and ".join(name for name in placed if name != "prompt")
    asked.sent |= {name: where for name in used if name not in placed or placed[name] != used[name]}


def _in_order() -> Sequence[str]:
    """The columns of images, those of the first image first."""
    return sorted(image_columns(), key=lambda name: (name != "image", name == "last_image", name))


def _means_the_same(used: Mapping[str, Any]) -> bool:
    """Whether every model's columns say what these do: one image, or one that is the first frame."""
    if list(used) == ["image"]:
        return True
    if list(used) != ["frames"]:
        return False
    owner = next(one for one in MODELS.values() if one.IMAGE_LIST == "frames")
    frames = parse(owner, "frames", used["frames"])
    return len(frames) == 1 and frames[0].frame in {None, "first", 0}


def _references(name: str, value: Any) -> list[str]:
    """The images that a cell names, the last frame behind the first. Raises ValidationError if it cannot be read."""
    owner = next(one for one in MODELS.values() if name in {*one.image_columns(), one.IMAGE_LIST})
    found = parse(owner, name, value)
    if not isinstance(found, tuple):
        return [str(found)]
    items = sorted(cast("tuple[Any, ...]", found), key=lambda item: getattr(item, "frame", None) in {"last", -1})
    return [item.image for item in items]


def _move_size(asked: Asked, model: type[Request], *, drop: bool) -> None:
    """Say width and height as resolution and shape, where the model takes these and not those."""
    cells = asked.cells
    if not {"width", "height"} <= cells.keys():
        return
    if "width" in model.model_fields and "width" not in model.inapplicable(cells):
        return
    try:
        width, height = int(str(cells["width"])), int(str(cells["height"]))
        shape = Fraction(width, height)
    except (ValueError, ZeroDivisionError):
        return
    means = {"resolution": f"{min(width, height)}p", "aspect_ratio": f"{shape.numerator}:{shape.denominator}"}
    fits = {name: value for name, value in means.items() if accepts(model, name, value)}
    fits = {name: value for name, value in fits.items() if name not in {*cells, *model.inapplicable(cells)}}
    if not (drop or fits == means):
        return
    words = ", ".join(fits.values())
    for name in ("width", "height"):
        del cells[name]
        if words:
            asked.sent[name] = words
        else:
            asked.dropped.add(name)
    cells |= fits
