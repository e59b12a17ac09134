"""The page of the parameters, out of the models: docs/parameters.md."""

from collections.abc import Iterable
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator
from pydantic.fields import FieldInfo

from pixverse_dagster.core.request import DELIVERY, At, Request
from pixverse_dagster.policy.sizes import PIXELS
from pixverse_dagster.providers import MODELS
from pixverse_dagster_tests.harness import moves

LIMITS = ("ge", "le", "min_length", "max_length")
HEAD = """# Parameters

Every column that a row may have, model by model: its name here, the provider's own name for it, what it may be,
and what an empty cell means. `id`, `model` and `take` belong to every row.

A column marked † is about delivery and cannot change the clip: a row in which only such a column changes is the same
request, and nothing is paid for it again. A cell that says the default is the same as an empty one.
"""
PIXELS_HEAD = """
## Pixels

The name of a resolution is not a side: 540p at 16:9 is 1024x576. `plan` shows the pixels of each row, and the check of
a clip goes by them. For models of other families (v3.5 to v5.5) nothing public says what they make: the size by the
name of the resolution is accepted, and so are the sizes below. A clip from an image keeps the image's shape, and how it
is scaled is not public: the short side or the long side of its resolution is accepted, or its number of pixels. C1 from
references is taken to be as C1 from text.
"""


def render() -> str:
    """The whole page."""
    return HEAD + "".join(_section(model) for model in MODELS.values()) + moves.render() + PIXELS_HEAD + _pixels()


def _pixels() -> str:
    """A table for each group of families, and where it is from."""
    tables: list[str] = []
    for table in dict.fromkeys(PIXELS.values()):
        resolutions = list(dict.fromkeys(name for name, _ in table.sizes))
        aspects = dict.fromkeys(aspect for _, aspect in table.sizes)
        lines = [
            f"| {aspect} | {' | '.join(' or '.join(map(str, table.sizes[name, aspect])) for name in resolutions)} |\n"
            for aspect in aspects
        ]
        head = f"| {', '.join(table.families)} | {' | '.join(resolutions)} |\n|{'---|' * (len(resolutions) + 1)}\n"
        tables.append(f"\n{head}{''.join(lines)}\nSource: {table.source}.\n")
    return "".join(tables)


def _section(model: type[Request]) -> str:
    lines = [_row(name, field) for name, field in model.model_fields.items()]
    intro = " ".join((model.__doc__ or "").split())
    head = "| column | at the provider | may be | default |\n|---|---|---|---|\n"
    images = f"\nImages: {model.IMAGE_RULES.source}.\n"
    return f"\n## `{model.MODEL}`\n\n{intro}\n\n{head}{''.join(lines)}{images}"


def _row(name: str, field: FieldInfo) -> str:
    declared = next((item for item in field.metadata if isinstance(item, At)), None)
    at = declared.path if declared else ""
    mark = " †" if declared and declared.part is DELIVERY else ""
    default = "required" if field.is_required() else "" if field.default is None else f"`{field.default}`"
    return f"| `{name}`{mark} | {f'`{at}`' if at else ''} | {_kind(field)} | {default} |\n"


def _kind(field: FieldInfo) -> str:
    return _words(field.annotation, field.metadata)


def _words(annotation: Any, metadata: Iterable[Any]) -> str:
    limits = {name: value for item in metadata for name in LIMITS if (value := getattr(item, name, None)) is not None}
    text = next(
        (str(item.func.__doc__) for item in metadata if isinstance(item, AfterValidator) and item.func.__doc__), ""
    )
    if text.startswith(tuple("0123456789")):
        return text
    between = [str(limits[name]) for name in ("ge", "le", "min_length", "max_length") if name in limits]
    unit = " characters" if {"min_length", "max_length"} & set(limits) and annotation is str else ""
    low = "from" if {"ge", "min_length"} & set(limits) else "at most"
    span = (
        f"{low} {between[0]} to {between[1]}{unit}"
        if len(between) > 1
        else f"{low} {between[0]}{unit}"
        if between
        else ""
    )
    return ", ".join(part for part in (_type(annotation), span) if part)


def _type(annotation: Any) -> str:
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        return " or ".join(_type(option) for option in get_args(annotation) if option is not NoneType)
    if hasattr(annotation, "__metadata__"):
        found = [
            m for item in annotation.__metadata__ for m in (item.metadata if isinstance(item, FieldInfo) else [item])
        ]
        return _words(annotation.__origin__, found)
    if get_origin(annotation) is Literal:
        return " ".join(f"`{option}`" for option in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "JSON list"
    return {str: "text", int: "whole number", float: "number", bool: "true or false"}.get(annotation, str(annotation))
