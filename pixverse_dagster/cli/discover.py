"""What Dagster would load: the code locations of a folder, found as `dg` and `dagster dev` find them."""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import click
import yaml

from pixverse_dagster.core.commands import CommandLine


@dataclass(frozen=True)
class CodeLocation:
    """One target of Dagster's: a module, a file, or a defs folder."""

    source: CommandLine
    folders: tuple[Path, ...] = ()
    """Where its modules are looked for, before everything else."""
    project: Path | None = None
    """The folder of its `dg` project, if it is one."""
    attribute: str = ""
    autoload: bool = False
    """Whether the module is a defs folder, to be loaded whole."""

    @property
    def name(self) -> str:
        """The target, for a person."""
        return self.source.module or self.source.python_file or str(self.project)


@dataclass(frozen=True)
class Found:
    """The code locations of a folder, and the folder whose `.env` Dagster reads for them."""

    folder: Path
    locations: tuple[CodeLocation, ...]


def find_locations(start: Path) -> Found | None:
    """The project around a folder: the nearest that has one, that folder or one above it."""
    for folder in (start, *start.parents):
        locations = tuple(_dg_locations(folder)) or tuple(_workspace_locations(folder)) or _legacy(folder)
        if locations:
            return Found(folder, locations)
    return None


def locate_module(module: str, folder: Path) -> Found:
    """A module, as `dagster -m` takes it: installed, or in this folder. With its `dg` project, if it is of one."""
    top = module.split(".", maxsplit=1)[0]
    project = _project_of(top)
    location = CodeLocation(CommandLine(module=module), (folder,), project)
    return Found(project or folder, (location,))


def locate_file(path: Path, folder: Path) -> Found:
    """A file, as `dagster -f` takes it: its imports are looked for in this folder."""
    if not path.is_file():
        raise click.UsageError(f"there is no file {path}")
    source = CommandLine(python_file=str(path.resolve()), working_directory=str(folder))
    return Found(folder, (CodeLocation(source, (folder,)),))


def _dg_locations(folder: Path) -> Iterator[CodeLocation]:
    """The `dg` project of this folder, or the projects of the `dg` workspace that it is."""
    settings = _dg_settings(folder)
    if project := settings.get("project"):
        yield _dg_project(folder, project)
    for entry in settings.get("workspace", {}).get("projects", ()):
        path = (folder / entry["path"]).resolve()
        if project := _dg_settings(path).get("project"):
            yield _dg_project(path, project)


def _dg_settings(folder: Path) -> Mapping[str, Any]:
    # Where there is a dg.toml, dg does not look into pyproject.toml.
    if (folder / "dg.toml").is_file():
        return _read_toml(folder / "dg.toml")
    return _read_toml(folder / "pyproject.toml").get("tool", {}).get("dg", {})


def _dg_project(folder: Path, project: Mapping[str, Any]) -> CodeLocation:
    module = project.get("code_location_target_module") or f"{project.get('root_module', folder.name)}.definitions"
    return CodeLocation(CommandLine(module=module), _import_folders(folder), folder)


def _import_folders(folder: Path) -> tuple[Path, ...]:
    return (folder, *([folder / "src"] if (folder / "src").is_dir() else []))


def _project_of(top: str) -> Path | None:
    """The `dg` project that a package is the root module of."""
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        spec = None
    places = [*(spec.submodule_search_locations or []), *([spec.origin] if spec.origin else [])] if spec else []
    for folder in Path(places[0]).parents if places else ():
        if project := _dg_settings(folder).get("project"):
            return folder if project.get("root_module") == top else None
    return None


def _workspace_locations(folder: Path) -> Iterator[CodeLocation]:
    path = folder / "workspace.yaml"
    if not path.is_file():
        return
    try:
        document: Any = yaml.safe_load(path.read_text()) or {}
        entries: Sequence[Mapping[str, Any]] = document.get("load_from") or ()
        for entry in entries:
            for kind, given in entry.items():
                yield from _workspace_entry(folder, kind, given)
    except (yaml.YAMLError, AttributeError, TypeError, KeyError) as error:
        raise click.UsageError(f"{path} cannot be read: {error}. Give -m MODULE instead") from error


def _workspace_entry(folder: Path, kind: str, given: Any) -> Iterator[CodeLocation]:
    """A line of `load_from`. A gRPC server is another process, perhaps of another machine, and cannot be loaded."""
    options: Mapping[str, Any] = cast("Mapping[str, Any]", given) if isinstance(given, dict) else {}
    names = {"python_module": "module_name", "python_package": "package_name", "autoload_defs_module": "module_name"}
    directory = (folder / _text(options.get("working_directory", "."))).resolve()
    attribute = _text(options.get("attribute", ""))
    if kind == "python_file":
        file = (folder / _text(options["relative_path"] if options else given)).resolve()
        source = CommandLine(python_file=str(file), working_directory=str(directory))
        yield CodeLocation(source, (directory,), attribute=attribute)
    elif kind in names:
        source = CommandLine(module=_text(options[names[kind]] if options else given))
        yield CodeLocation(source, (directory,), attribute=attribute, autoload=kind == "autoload_defs_module")


def _text(value: Any) -> str:
    """A text of Dagster's configuration: written out, or the name of a variable."""
    return os.environ.get(str(cast("Any", value)["env"]), "") if isinstance(value, dict) else str(value)


def _legacy(folder: Path) -> tuple[CodeLocation, ...]:
    """What `[tool.dagster]` names."""
    settings = _read_toml(folder / "pyproject.toml").get("tool", {}).get("dagster", {})
    if not settings.get("module_name"):
        return ()
    directory = (folder / settings.get("working_directory", ".")).resolve()
    return (CodeLocation(CommandLine(module=settings["module_name"]), (directory,)),)


def _read_toml(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text()) if path.is_file() else {}
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path} cannot be read: {error}. Give -m MODULE instead") from error
