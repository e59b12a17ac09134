"""Setting up a resource so that whatever is wrong with its values is its own trouble, and stops no other resource.

Dagster reads the variables that a resource names before any code of ours runs, and where one is not set, the whole run
or tick fails. Here the resource reads them itself. What Dagster shows of it, and keeps with every run, stays as it was
written, but for secrets that stand in the code.
"""

import hashlib
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import dagster as dg
from pydantic import ValidationError

from pixverse_dagster.core.secrets import NO_SECRETS, remember_secret

T = TypeVar("T")
_ENV = "env"
_written_out: dict[str, str] = {}
"""Secrets that stand in the code, by what is shown in their place. Every process that runs loads the code."""


def read_itself(
    base: dg.ResourceDefinition, kind: type[T], set_up: Callable[[dict[str, Any]], T], secrets: Collection[str] = ()
) -> dg.ResourceDefinition:
    """The definition of a resource of this kind, whose values reach `set_up` as they were written.

    A value that comes from a variable is `{"env": NAME}` there. Of the fields `secrets`, what is written out is not
    shown.
    """
    schema: Any = base.config_field
    fields: dict[str, Any] = dict(schema.config_type.fields)
    written: dict[str, Any] = dict(schema.default_value) if schema.default_provided else {}
    written |= {name: _hide(written[name]) for name in secrets if name in written}

    def resource(context: dg.InitResourceContext) -> T:
        given = context.resource_config.items()
        return set_up({name: _written_out.get(value, value) if name in secrets and isinstance(value, str) else value
                       for name, value in given})  # fmt: skip

    # What Dagster shows as the kind of a resource is where its function is from.
    resource.__name__, resource.__module__ = kind.__name__, kind.__module__
    shown = {name: _field(field, written, name) for name, field in fields.items()}
    return dg.ResourceDefinition(resource, config_schema=shown, description=base.description)


def _hide(value: Any) -> Any:
    """What is shown in the place of a secret that is written out; anything else as it is."""
    if not isinstance(value, str) or not value.strip() or value.lower() in NO_SECRETS or value in _written_out:
        return value
    remember_secret(value)
    shown = f"(written out, not shown: {hashlib.sha256(value.encode()).hexdigest()[:8]})"
    _written_out[shown] = value
    return shown


def _field(field: dg.Field, written: Mapping[str, Any], name: str) -> dg.Field:
    if name not in written:
        return field
    value = written[name]
    kind: Any = dg.Any if _is_variable(value) else field.config_type
    return dg.Field(kind, default_value=value, is_required=False, description=field.description)


def read_values(kind: Callable[..., T], written: Mapping[str, Any]) -> tuple[T | None, dict[str, str]]:
    """What these values make, with the variables read; or None, and by field what is wrong, without the value."""
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, value in written.items():
        if not _is_variable(value):
            values[name] = value
        elif (text := os.environ.get(value[_ENV])) is not None:
            values[name] = text
        else:
            wrong[name] = f"is not set: there is no environment variable {value[_ENV]}"
    if wrong:
        return None, wrong
    try:
        return kind(**values), {}
    except ValidationError as error:
        return None, {
            str(first["loc"][0]) if first["loc"] else "": f"is not as it should be: {first['msg']}"
            for first in error.errors(include_url=False, include_context=False, include_input=False)
        }


def _is_variable(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {_ENV}  # pyright: ignore[reportUnknownArgumentType]
