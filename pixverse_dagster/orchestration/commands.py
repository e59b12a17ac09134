"""Where this process has its definitions from, for the commands that messages name."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg

from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.orchestration.internal import internal

_loading: ContextVar[CommandLine | None] = ContextVar("pixverse_loading", default=None)


@contextmanager
def loading(source: CommandLine) -> Generator[None]:
    """While it lasts, definitions that are made are taken to be loaded from here."""
    token = _loading.set(source)
    try:
        yield
    finally:
        _loading.reset(token)


def loaded_from() -> CommandLine:
    """What is being loaded at the moment: by the command line, or by a code server of Dagster's, if either is."""
    if source := _loading.get():
        return source
    origin = internal("LoadableTargetOrigin")
    try:
        target = origin.get() if origin else None
    except dg.DagsterInvariantViolationError:  # nothing is being loaded
        target = None
    return _read(target, "module_name", "package_name") if target else CommandLine()


def find_command_line(
    pipeline: str, made_from: CommandLine, instance: dg.DagsterInstance, run: Any = None
) -> CommandLine:
    """The command line of a pipeline in this process: as its run has it, else as its definitions were loaded."""
    origin = getattr(run, "job_code_origin", None)
    pointer = getattr(getattr(origin, "repository_origin", None), "code_pointer", None)
    source = _read(pointer, "module") if pointer else made_from
    return replace(source, pipeline=pipeline, home="" if instance.is_ephemeral else instance.root_directory)


def _read(target: Any, *modules: str) -> CommandLine:
    """A target of Dagster's, as the options of our commands name it."""
    folder = str(getattr(target, "working_directory", "") or "")
    if python_file := getattr(target, "python_file", ""):
        return CommandLine(python_file=str(Path(folder, python_file)), working_directory=folder)
    module = next((found for name in modules if (found := getattr(target, name, ""))), "")
    if not module or (not hasattr(target, "attribute") and not hasattr(target, "fn_name")):
        return CommandLine(working_directory=folder)  # a defs folder: its project is found from there
    return CommandLine(module=module, working_directory=folder if is_below(folder, module) else "")


def is_below(folder: str | Path, module: str) -> bool:
    """Whether the module is imported from this folder, and may be nowhere else."""
    top = Path(folder, module.split(".", maxsplit=1)[0])
    return bool(folder) and (top.is_dir() or top.with_suffix(".py").is_file())
