"""Templates in YAML, `{{ env.X }}`: resolved as everywhere in dg, and only then validated.

Pydantic would otherwise validate the templates themselves, and refuse one in the place of a number.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

import dagster as dg
from pydantic import BaseModel

from pixverse_dagster.core.errors import InvalidTable

_ENV = re.compile(r"\{\{\s*env(?:\.(\w+)|\(\s*['\"](\w+)['\"]\s*\))\s*\}\}")
_LEFT = re.compile(r"\{\{\s*env\b")
_TEMPLATE: dict[str, Any] = {"type": "string", "pattern": r"\{\{.*\}\}"}


def env_variable(value: Any) -> str | None:
    """The variable that a value is, if it is nothing but the template of one."""
    found = _ENV.fullmatch(value.strip()) if isinstance(value, str) else None
    return (found.group(1) or found.group(2)) if found else None


def resolve(context: dg.ResolutionContext, value: Any) -> Any:
    """A value with its templates resolved. Raises InvalidTable for a variable that is not set.

    A variable that is the whole value keeps its text, which the field then reads: dg would make a number of a name that
    is one. A list or an object in a variable is read as one.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_unset=True)
    if isinstance(value, Mapping):
        return {key: resolve(context, item) for key, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [resolve(context, item) for item in cast("list[Any]", value)]
    if not isinstance(value, str) or "{{" not in value:
        return value
    for found in _ENV.finditer(value):
        name = found.group(1) or found.group(2)
        if name not in os.environ:
            raise InvalidTable(f"{value!r}: the environment variable {name} is not set. Nothing was sent")
    try:
        made = cast("Any", context).resolve_value(value)
    except Exception as error:
        raise InvalidTable(
            f"{value[:100]!r}: has a template that is not resolved ({error}). Nothing was sent"
        ) from error
    name = env_variable(value)
    if name and not isinstance(made, list | dict | tuple):
        return os.environ[name]
    refuse_templates(made)
    return cast("Any", made)


def refuse_templates(value: Any, *, where: str = "") -> None:
    """Raise InvalidTable if a value of a YAML file still has a template of a variable in it: it would be paid for."""
    text = next((text for text in _texts(value) if _LEFT.search(text)), None)
    if text is not None:
        raise InvalidTable(
            f"{where or text[:100]!r}: has a template that is not resolved; write {{{{ env.NAME }}}}. Nothing was sent"
        )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_unset=True)
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in cast("Mapping[str, Any]", value).values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in cast("list[Any]", value):
            yield from _texts(item)


def templated_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a model, for editors, in which a template may stand for every value."""
    schema = model.model_json_schema()
    return _templated(schema, schema.get("$defs", {}), top=True)


def _templated(schema: Any, defs: Mapping[str, Any], *, top: bool = False) -> Any:
    if not isinstance(schema, dict):
        return schema
    given = cast("dict[str, Any]", schema)
    if "$ref" in given:
        rest = {key: item for key, item in given.items() if key != "$ref"}
        given = {**defs[given["$ref"].rpartition("/")[2]], **rest}
    made = {key: item for key, item in given.items() if key not in {"$defs", "properties", "items", "anyOf"}}
    if "properties" in given:
        made["properties"] = {name: _templated(item, defs) for name, item in given["properties"].items()}
    if "items" in given:
        made["items"] = _templated(given["items"], defs)
    if isinstance(given.get("additionalProperties"), dict):
        made["additionalProperties"] = _templated(given["additionalProperties"], defs)
    if "anyOf" in given:
        made["anyOf"] = [*(_templated(item, defs, top=True) for item in given["anyOf"]), _TEMPLATE]
        return made
    words = {key: made.pop(key) for key in ("title", "description", "default") if not top and key in made}
    if top or made.get("type") == "string" or not made:
        return made | words
    return {"anyOf": [made, _TEMPLATE]} | words
