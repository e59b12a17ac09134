"""Requests whose words were forgotten on demand: what may stay of one, and how it is read back."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from pixverse_dagster.core.request import Request


def without_words(request: Request) -> dict[str, Any]:
    """What is left of a request whose words are to be forgotten: its numbers, switches and choices."""
    fields = type(request).model_fields
    kept = {name for name, field in fields.items() if not _holds_text(field.annotation)}
    return request.model_dump(mode="json", include=kept, exclude_none=True)


def read_without_words(model: type[Request], kept: Mapping[str, Any]) -> Request:
    """The request that `without_words` left this of. Its texts are empty, and it is for reading only."""
    fields = model.model_fields
    empty = {
        name: "" if _holds_text(field.annotation, plainly=True) else ()
        for name, field in fields.items()
        if field.is_required() and name not in kept
    }
    known = {name: value for name, value in kept.items() if name in fields}
    return model.model_construct(None, **{**empty, **known})


def _holds_text(annotation: Any, *, plainly: bool = False) -> bool:
    """Whether a field of this type may hold text of a person's, or an address; `plainly`, as its very value."""
    if annotation is str:
        return True
    if hasattr(annotation, "__metadata__"):
        return _holds_text(annotation.__origin__, plainly=plainly)
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        return any(_holds_text(option, plainly=plainly) for option in get_args(annotation))
    if plainly or get_origin(annotation) is Literal:
        return False
    listed = any(_holds_text(option) for option in get_args(annotation))
    return listed or (isinstance(annotation, type) and issubclass(annotation, BaseModel)) or annotation is Any
