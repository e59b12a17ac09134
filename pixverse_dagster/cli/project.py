"""The project that a command is about: what its options choose, or else that of the working folder."""

import os
import shutil
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import click
import dagster as dg
from dotenv import dotenv_values

from pixverse_dagster.cli.discover import Found, find_locations, locate_file, locate_module
from pixverse_dagster.cli.homes import enter_home, find_home, is_demo_home
from pixverse_dagster.cli.load import Loaded, describe_reason, load_location
from pixverse_dagster.core.commands import PROGRAM, CommandLine
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.orchestration.environment import PREFIX, variables
from pixverse_dagster.orchestration.io_managers.base import ClipIOManager
from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore

OWN_MODULE = "pixverse_dagster.definitions"


@dataclass(frozen=True)
class Project:
    """A pipeline of a code location, with the ledger and the store that its definitions configure."""

    spec: PipelineSpec
    definitions: dg.Definitions
    resources: Any
    instance: dg.DagsterInstance
    commands: CommandLine
    """The commands that messages name: they find this project again from any folder."""
    gone: str = ""
    """The pipeline that is meant, where the definitions do not have it, but the ledger of `spec` keeps its tasks."""

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.gone or self.spec.name

    @property
    def ledger(self) -> Ledger:
        """The pipeline's ledger."""
        return getattr(self.resources, self.spec.ledger_key).get_ledger(self.instance)

    @property
    def ledger_url(self) -> str:
        """The URL of the ledger's database; with a password, if it has one."""
        return getattr(self.resources, self.spec.ledger_key).get_url(self.instance)

    @property
    def store(self) -> ClipStore:
        """The pipeline's store."""
        io_manager: ClipIOManager = getattr(self.resources, self.spec.clips_key)
        return io_manager.get_store()

    def open(self) -> Session:
        """A session on the pipeline; close it after use. An account that cannot be used is named."""
        session = self.spec.open(self.resources, self.instance, commands=self.commands)
        if self.gone:
            session = replace(session, pipeline=replace(session.pipeline, name=self.gone))
        for why in {client.unusable for client in session.clients.values() if client.unusable}:
            click.echo(redact_text(f"{why}."), err=True)
        return session


@dataclass(frozen=True)
class ProjectChoice:
    """What the options of a command say about the project; what they leave open is looked for."""

    home: Path | None = None
    module: str = ""
    python_file: Path | None = None
    working_directory: Path | None = None
    pipeline: str = ""

    @contextmanager
    def open(self) -> Generator[Project]:
        """The pipeline that is meant, its resources set up.

        Makes nothing where there is no home. Raises UsageError where it is not clear which pipeline is meant, or where
        one does not load.
        """
        with self._opened(lambda found: [_choose(found, self.pipeline)]) as projects:
            yield projects[0]

    @contextmanager
    def open_either(self, old: str, new: str) -> Generator[Project]:
        """The pipeline that has one of these names, before or after its definition has the new one.

        Raises UsageError where there is none, or where both are there and so are two pipelines.
        """
        with self._opened(lambda found: [_choose_either(found, old, new)]) as projects:
            yield projects[0]

    @contextmanager
    def open_kept(self) -> Generator[Project]:
        """As `open`; but the name may be that of a pipeline that was renamed or removed, and that the ledger keeps.

        Raises UsageError also where neither the project nor its ledger knows the name.
        """
        with self._opened(lambda found: _choose_kept(found, self.pipeline)) as projects:
            if self.pipeline in {"", *(project.name for project in projects)}:
                yield projects[0]
                return
            ledgers = {project.ledger.id: project for project in projects}
            keepers = [one for one in ledgers.values() if self.pipeline in one.ledger.tasks.pipelines()]
            if len(keepers) != 1:
                names = ", ".join(sorted(project.name for project in projects))
                where = "several of its ledgers have" if keepers else "nor has its ledger"
                raise click.UsageError(f"there is no pipeline {self.pipeline!r}: the project has {names}, {where} it")
            commands = replace(keepers[0].commands, pipeline=self.pipeline)
            yield replace(keepers[0], gone=self.pipeline, commands=commands)

    @contextmanager
    def open_all(self) -> Generator[list[Project]]:
        """Every pipeline of the project, or the one that is named. Raises UsageError if there is none."""
        with self._opened(lambda found: _find_all(found, self.pipeline)) as projects:
            yield projects

    @contextmanager
    def _opened(self, choose: Callable[[Found], list[tuple[PipelineSpec, Loaded]]]) -> Generator[list[Project]]:
        found = self._locate()
        if not is_demo_home(self.home):
            # As `dg` and `dagster` do: what a project's `.env` says goes before what the environment says.
            given = dotenv_values(found.folder / ".env")
            os.environ.update({name: value for name, value in given.items() if value is not None})
        home, trouble = find_home(self.home)
        if home and not trouble:
            enter_home(home)
        chosen = choose(found)
        if home is None or trouble:
            raise click.UsageError(trouble)
        with ExitStack() as stack:
            yield [_set_up(spec, loaded, str(home), stack) for spec, loaded in chosen]

    def _locate(self) -> Found:
        """What was chosen; else the project of the working folder; else our own pipeline, where it was asked for."""
        folder = (self.working_directory or Path.cwd()).resolve()
        if self.module and self.python_file:
            raise click.UsageError("give one of -m MODULE and -f FILE")
        if self.python_file:
            return locate_file(self.python_file, folder)
        if self.module:
            return locate_module(self.module, folder)
        if is_demo_home(self.home):
            return locate_module(OWN_MODULE, folder)
        if found := find_locations(folder):
            return found
        home, trouble = find_home(self.home)
        configured = any(os.environ.get(one.name) for one in variables() if one.name.startswith(PREFIX))
        if is_demo_home(home) or configured:
            return locate_module(OWN_MODULE, folder)
        raise click.UsageError(
            f"there is no Dagster project in {folder}, nor in a folder above it. Change into the project's folder, or "
            f"give -m MODULE (-m {OWN_MODULE} is this project's own pipeline)" + (f". And {trouble}" * bool(trouble))
        )


def project_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of every command that looks at a project; they reach it as one `choice`."""

    @wraps(command)
    def with_choice(
        *words: Any,
        home: Path | None,
        module: str | None,
        python_file: Path | None,
        working_directory: Path | None,
        pipeline: str | None,
        **options: Any,
    ) -> None:
        choice = ProjectChoice(home, module or "", python_file, working_directory, pipeline or "")
        command(*words, choice=choice, **options)

    folder, file = click.Path(path_type=Path), click.Path(dir_okay=False, path_type=Path)
    for option in (
        click.option("--home", type=folder, help="Dagster home; $DAGSTER_HOME if not given."),
        click.option("--pipeline", metavar="NAME", help="Pipeline name, where there are several."),
        click.option(
            "-d", "--working-directory", type=folder, help="Work as if started in this folder; modules are found there."
        ),
        click.option("-f", "--python-file", type=file, help="Definitions file."),
        click.option(
            "-m", "--module", help="Definitions module; the project of the working folder, as dg has it, if not given."
        ),
    ):
        with_choice = option(with_choice)
    return with_choice


def _set_up(spec: PipelineSpec, loaded: Loaded, home: str, stack: ExitStack) -> Project:
    """A pipeline with its resources, which are torn down with the stack."""
    commands = _with_program(replace(loaded.source, pipeline=spec.name, home=home))
    wanted = spec.run_resource_keys
    resources = {key: value for key, value in (loaded.definitions.resources or {}).items() if key in wanted}
    try:
        instance = stack.enter_context(dg.DagsterInstance.get())
        built = stack.enter_context(dg.build_resources(resources, instance=instance))
    except Exception as error:
        raise click.UsageError(f"{spec.name!r} cannot be set up: {describe_reason(error)}") from error
    return Project(spec, loaded.definitions, built, instance, commands)


def _load_all(found: Found) -> tuple[list[tuple[PipelineSpec, Loaded]], list[click.UsageError]]:
    """Every pipeline that the locations have, and why those do not load that do not."""
    pairs: list[tuple[PipelineSpec, Loaded]] = []
    failures: list[click.UsageError] = []
    for location in found.locations:
        try:
            pairs += [(spec, loaded) for loaded in load_location(location) for spec in loaded.specs]
        except click.UsageError as error:
            failures.append(error)
    return list({id(spec): (spec, loaded) for spec, loaded in pairs}.values()), failures  # merged, it is in several


def _find_all(found: Found, pipeline: str) -> list[tuple[PipelineSpec, Loaded]]:
    """All pipelines that the locations have, or those of this name. What does not load is an error."""
    pairs, failures = _load_all(found)
    if failures:
        raise failures[0]
    return [(spec, loaded) for spec, loaded in pairs if pipeline in {"", spec.name}] or [_choose(found, pipeline)]


def _choose(found: Found, pipeline: str) -> tuple[PipelineSpec, Loaded]:
    """The one pipeline that is meant, of all that the locations have."""
    pairs, failures = _load_all(found)
    chosen = [(spec, loaded) for spec, loaded in pairs if pipeline in {"", spec.name}]
    if len(chosen) == 1 and (pipeline or not failures):
        return chosen[0]
    if failures:
        raise failures[0]
    where = ", ".join(location.name for location in found.locations)
    raise click.UsageError(_describe_choice(where, sorted(spec.name for spec, _ in pairs), pipeline))


def _choose_kept(found: Found, pipeline: str) -> list[tuple[PipelineSpec, Loaded]]:
    """The pipeline that is meant; where no location has it, all of them: one's ledger may keep it."""
    pairs, failures = _load_all(found)
    if pairs and pipeline and not failures and all(spec.name != pipeline for spec, _ in pairs):
        return pairs
    return [_choose(found, pipeline)]


def _choose_either(found: Found, old: str, new: str) -> tuple[PipelineSpec, Loaded]:
    """The pipeline that is called by either of the names."""
    there = {spec.name for spec, _ in _load_all(found)[0]} & {old, new}
    if len(there) > 1:
        raise click.UsageError(
            f"{old!r} and {new!r} are both pipelines of this project. Nothing was renamed. Take {old!r} out of the "
            "definitions first, or choose another name"
        )
    return _choose(found, new if new in there else old)


def _describe_choice(where: str, names: Sequence[str], pipeline: str) -> str:
    has = f"{where} has these pipelines: {', '.join(names) or 'none'}"
    if not names:
        return f"{has}. Choose another module with -m, or define one with build_clips_definitions or in YAML"
    if pipeline and pipeline not in names:
        return f"there is no pipeline {pipeline!r}: {has}. Choose one with --pipeline NAME"
    if pipeline:
        return f"{pipeline!r} is in several code locations: {has}. Choose one with -m MODULE"
    return f"{has}. Choose one with --pipeline NAME"


def _with_program(commands: CommandLine) -> CommandLine:
    """With the program's path, where the shell would find none by its name, or another one."""
    own, found = Path(sys.executable).with_name(PROGRAM), shutil.which(PROGRAM)
    if not own.exists() or (found and Path(found).resolve() == own.resolve()):
        return commands
    return replace(commands, program=str(own))
