"""Loading a code location as Dagster loads it, and why one does not load, in a few lines."""

import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import click
import dagster as dg

from pixverse_dagster.cli.discover import CodeLocation
from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.orchestration.commands import is_below, loading
from pixverse_dagster.orchestration.spec import PipelineSpec

_REASON_LINES = 12
_NOISE = "For further information visit"
"""Pydantic's, after each of its errors."""


@dg.definitions
def _lazy() -> dg.Definitions:
    return dg.Definitions()


_LAZY: type = type(cast("object", _lazy))
"""What the decorator makes of a function: no `dg.Definitions` before it is called. Its class has no public name."""


@dataclass(frozen=True)
class Loaded:
    """A code location's definitions, and how the command line finds them again."""

    definitions: dg.Definitions
    source: CommandLine

    @property
    def specs(self) -> Iterator[PipelineSpec]:
        """The pipelines in it."""
        for resource in (self.definitions.resources or {}).values():
            if isinstance(resource, PipelineSpec):
                yield resource


def load_location(location: CodeLocation) -> Sequence[Loaded]:
    """Import a code location and make its definitions: one, or several that stand in one module.

    Raises UsageError with the reason if it does not load.
    """
    added = [str(folder) for folder in location.folders if folder.is_dir() and str(folder) not in sys.path]
    # They stay: what is imported later, as in a resource, is found in the same places.
    sys.path[:0] = added
    source = location.source
    module = source.module
    if module:
        # Also where it is importable as it is: another shell may have another PYTHONPATH.
        folder = next((str(folder) for folder in location.folders if is_below(folder, module)), "")
        source = replace(source, working_directory=folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Dagster's, about its own beta and deprecated parts
            if location.autoload or (location.project and not _is_there(module)):
                # No `-m` finds a defs folder: the project is looked for again from its folder.
                source = CommandLine(working_directory=str(location.project or location.folders[0]))
                with loading(source):
                    return [Loaded(_load_folder(location), source)]
            with loading(source):
                return [Loaded(definitions, source) for definitions in _find(_import(location), location)]
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and module and f"{module}.".startswith(f"{error.name}.")
        words = f"cannot import {location.name}" if missing else f"{location.name} does not load"
        raise click.UsageError(f"{words}: {describe_reason(error)}") from error


def describe_reason(error: BaseException) -> str:
    """The last lines of what went wrong first: of an error that led to others, and not the tree that Dagster draws."""
    while error.__cause__ is not None or (error.__context__ is not None and not error.__suppress_context__):
        error = error.__cause__ or error.__context__ or error
    if isinstance(error, PixverseError):
        return redact_text(str(error))
    text = "".join(traceback.format_exception_only(error))
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and _NOISE not in line]
    shown = lines if len(lines) <= _REASON_LINES else [lines[0], *lines[1 - _REASON_LINES :]]
    return redact_text("\n".join(shown))


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _load_folder(location: CodeLocation) -> dg.Definitions:
    if location.project:
        return dg.load_from_defs_folder(path_within_project=location.project)
    return dg.load_defs(import_module(location.source.module))


def _import(location: CodeLocation) -> ModuleType:
    if not location.source.python_file:
        return import_module(location.source.module)
    path = Path(location.source.python_file)
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _find(module: ModuleType, location: CodeLocation) -> Iterator[dg.Definitions]:
    """The module's definitions. As Dagster has it, where there are lazy ones, the others do not count.

    Dagster takes one of a kind and wants its name where there are several; here the pipeline's name will do.
    """
    named: dict[str, Any] = vars(module)
    if location.attribute:
        named = {location.attribute: getattr(module, location.attribute)}
    lazy = {id(value): value for value in named.values() if isinstance(value, _LAZY)}
    made = {id(value): value for value in named.values() if isinstance(value, dg.Definitions)}
    yield from (_call(value, location) for value in lazy.values()) if lazy else made.values()


def _call(lazy: Any, location: CodeLocation) -> dg.Definitions:
    if not lazy.has_context_arg:
        return lazy()
    tree = dg.ComponentTree.for_project(location.project) if location.project else dg.ComponentTree.for_test()
    return lazy(tree.load_context)
