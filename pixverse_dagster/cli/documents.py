"""What commands print with `--json`: one document, of a schema that is published."""

import json
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from typing import Any, cast

import click
from pydantic import BaseModel, ConfigDict, TypeAdapter, model_validator

from pixverse_dagster.cli.output import READABLE
from pixverse_dagster.core.redaction import redact_value


class Document(BaseModel):
    """What a command prints with `--json`, or a part of it. Its fields are its schema: there are no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _readable(cls, values: Any) -> Any:
        """Bytes of a path or an argument that are no text are shown as such, and are no error."""
        return _escape_surrogates(values)


class JsonOption(click.Option):
    """The option `--json` of a command, which knows what the document is that the command prints."""

    document: Any = None

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the document."""
        return TypeAdapter(self.document).json_schema(mode="serialization")


def json_option(
    document: Any, words: str = "Print JSON instead of a table."
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The option `--json` of a command that prints a document of this type with `print_json`.

    With it, nothing but the document reaches the standard output, whatever the user's own modules print.
    """

    class Option(JsonOption):
        pass

    Option.document = document

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def with_document(*given: Any, as_json: bool, **options: Any) -> None:
            if not as_json:
                command(*given, as_json=False, **options)
                return
            with _only_document(document):
                command(*given, as_json=True, **options)

        return click.option("--json", "as_json", is_flag=True, cls=Option, help=words)(with_document)

    return decorate


class _Held:
    """The standard output, kept for one document, and the type of that document."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self.stream = sys.stdout
        self.printed = False


_held: list[_Held] = []


@contextmanager
def _only_document(document: Any) -> Generator[None]:
    """Send to the standard error what is printed, by this process and by its children, but for the document."""
    held = _Held(document)
    _held.append(held)
    sys.stdout.flush()
    copy = _copy_descriptor()
    if copy is not None:
        held.stream = cast("Any", open(copy, "w", encoding=sys.stdout.encoding, errors=READABLE))  # noqa: SIM115, PTH123 - closed below
        os.dup2(2, 1)
    stdout, sys.stdout = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout = stdout
        _held.pop()
        held.stream.flush()
        if copy is not None:
            os.dup2(copy, 1)
            held.stream.close()


def _copy_descriptor() -> int | None:
    """A copy of the process's standard output; None where it is not what `sys.stdout` writes to."""
    try:
        return os.dup(1) if (sys.stdout.fileno(), sys.stderr.fileno()) == (1, 2) else None
    except (OSError, ValueError):
        return None


def print_json(document: Any) -> None:
    """Print the document of the command, once. What is not of its schema is an error, and is not printed."""
    held = _held[-1]
    if held.printed:
        raise RuntimeError("a command prints one document")
    held.printed = True
    adapter = TypeAdapter(held.document)
    value = redact_value(adapter.dump_python(adapter.validate_python(document), mode="json"))
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(held.stream.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2, allow_nan=False)  # the same document, in ASCII
    held.stream.write(f"{text}\n")


def _escape_surrogates(value: Any) -> Any:
    match value:
        case str():
            return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
        case dict():
            found = cast("dict[Any, Any]", value)
            return {_escape_surrogates(key): _escape_surrogates(inner) for key, inner in found.items()}
        case list() | tuple():
            return [_escape_surrogates(inner) for inner in cast("list[Any]", value)]
        case _:
            return value
