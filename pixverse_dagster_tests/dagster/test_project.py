"""The command line finds the project: where `dg` and `dagster` find it, and nothing where there is none."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click
import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin, enter_loadable_target_origin_load_context

from pixverse_dagster.cli import cli
from pixverse_dagster.cli.homes import find_home
from pixverse_dagster.cli.project import ProjectChoice
from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.orchestration.commands import find_command_line, loaded_from
from pixverse_dagster_tests.harness.commands import follow, prepare_instance

# Dagster marks much of what it does here itself as beta, and meets its own deprecated names.
pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster._utils.warnings.BetaWarning"),
    pytest.mark.filterwarnings("ignore:.*dagster_run:DeprecationWarning"),
]

MADE = """
import dagster as dg
from pixverse_dagster import LocalClipIOManager, RunwareResource, build_clips_definitions

def made(name):
    providers = [RunwareResource(api_key="k", base_url="http://127.0.0.1:1")]
    return build_clips_definitions(name, [], providers=providers, clips=LocalClipIOManager(base_dir="clips"))
"""
EAGER = MADE + 'defs = made("films")\n'
LAZY = MADE + '@dg.definitions\ndef defs():\n    return made("films")\n'
WITH_CONTEXT = MADE + '@dg.definitions\ndef defs(context: dg.ComponentLoadContext):\n    return made("films")\n'
TWO = MADE + '@dg.definitions\ndef defs():\n    return dg.Definitions.merge(made("films"), made("teasers"))\n'
FOLDER = """
from pathlib import Path
import dagster as dg

@dg.definitions
def defs():
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
YAML = """
type: pixverse_dagster.PixverseClipsComponent
attributes:
  name: {name}
  prompts: {{path: prompts.csv}}
  simulator: http://127.0.0.1:1
  store: {{local: {{base_dir: clips}}}}
"""
TABLE = "id,model,prompt\nkite,runware/pixverse-v4.5,a kite\n"
DG = '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "{0}"\n'
SHORT = "load_from: [python_module: '{0}']\n"
SUBFOLDER = "src/deep/er"

Files = Mapping[str, str]
Write = Callable[[Files], Path]
LAYOUTS: dict[str, tuple[Files, list[str]]] = {
    # what is there, and the options; `{0}` is a module name that no other test has
    "module, eager": ({"{0}.py": EAGER}, ["-m", "{0}"]),
    "module, lazy": ({"{0}.py": LAZY}, ["-m", "{0}"]),
    "module, lazy, with context": ({"{0}.py": WITH_CONTEXT}, ["-m", "{0}"]),
    "file": ({"{0}.py": LAZY}, ["-f", "{0}.py"]),
    "dg, defs folder": (
        {
            "pyproject.toml": DG, "src/{0}/__init__.py": "", "src/{0}/definitions.py": FOLDER,
            "src/{0}/defs/__init__.py": "", "src/{0}/defs/one/defs.yaml": YAML.format(name="films"),
            "src/{0}/defs/one/prompts.csv": TABLE,
        },
        [],
    ),
    "dg, defs folder alone": (
        {
            "pyproject.toml": DG, "src/{0}/__init__.py": "", "src/{0}/defs/__init__.py": "",
            "src/{0}/defs/one/defs.yaml": YAML.format(name="films"), "src/{0}/defs/one/prompts.csv": TABLE,
        },
        [],
    ),
    "dg, a target module": (
        {"pyproject.toml": DG + 'code_location_target_module = "{0}.loc"\n', "{0}/__init__.py": "", "{0}/loc.py": LAZY},
        [],
    ),
    "dg.toml": (
        {"dg.toml": 'directory_type = "project"\n[project]\nroot_module = "{0}"\n', "pyproject.toml": "[project]\n",
         "{0}/__init__.py": "", "{0}/definitions.py": WITH_CONTEXT, "{0}/defs/__init__.py": ""},
        [],
    ),
    "dg, a workspace": (
        {"dg.toml": 'directory_type = "workspace"\n[workspace]\nprojects = [{{path = "p/one"}}]\n',
         "p/one/pyproject.toml": DG, "p/one/src/{0}/__init__.py": "", "p/one/src/{0}/definitions.py": LAZY},
        [],
    ),
    "workspace.yaml, a module": (
        {"workspace.yaml": "load_from:\n  - python_module: {{module_name: '{0}', working_directory: code}}\n",
         "code/{0}.py": LAZY},
        [],
    ),
    "workspace.yaml, a module in short": ({"workspace.yaml": SHORT, "{0}.py": LAZY}, []),
    "workspace.yaml, a file": (
        {"workspace.yaml": "load_from:\n  - python_file: code/{0}.py\n  - grpc_server: {{host: x, port: 1}}\n",
         "code/{0}.py": LAZY},
        [],
    ),
    "workspace.yaml, a package and its attribute": (
        {"workspace.yaml": "load_from: [python_package: {{package_name: '{0}', attribute: second}}]\n",
         "{0}/__init__.py": MADE + 'first, second = made("teasers"), made("films")\n'},
        [],
    ),
    "workspace.yaml, a defs folder": (
        {"workspace.yaml": "load_from: [autoload_defs_module: {{module_name: '{0}.defs'}}]\n", "pyproject.toml": "",
         "{0}/__init__.py": "", "{0}/defs/__init__.py": "", "{0}/defs/one.py": EAGER},
        [],
    ),
    "tool.dagster": ({"pyproject.toml": '[tool.dagster]\nmodule_name = "{0}"\n', "{0}.py": EAGER}, []),
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a command changes in its process is undone."""
    before, path, modules = dict(os.environ), list(sys.path), set(sys.modules)
    monkeypatch.setenv("DAGSTER_HOME", "")
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) and "/project " in str(sys.modules[name].__file__):
            del sys.modules[name]
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def write(tmp_path: Path, request: pytest.FixtureRequest) -> Write:
    """A function that writes a project, in a folder with a space in its name; `{0}` is a name of the test's own."""
    name = "m" + re.sub(r"\W+", "_", request.node.name)[-60:]

    def made(files: Files) -> Path:
        root = tmp_path / "project films"
        for path, text in files.items():
            target = root / path.format(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            braced = text if path.endswith((".py", ".csv")) or "type:" in text else text.format(name)
            target.write_text(braced)
        (root / SUBFOLDER).mkdir(parents=True, exist_ok=True)
        return root

    return made


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A Dagster home."""
    prepare_instance(tmp_path / "home", "telemetry:\n  enabled: false\n")
    return tmp_path / "home"


def run(*words: str | Path) -> tuple[int, str]:
    """Run a command in this process; its code, and what it printed."""
    ended = CliRunner().invoke(cli, list(map(str, words)))
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended.exit_code, ended.output


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_project_is_found_and_found_again_by_what_is_printed(
    layout: str, write: Write, home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    """From its folder; from below it, where no option names it; and by the printed options, from anywhere else."""
    files, options = LAYOUTS[layout]
    root = write(files)
    name = "m" + re.sub(r"\W+", "_", request.node.name)[-60:]
    given = [option.format(name) for option in options]
    said = ""
    for folder in (root, *([] if options else [root / SUBFOLDER])):
        monkeypatch.chdir(folder)
        code, said = run("tasks", "resolve", "kite", "--adopt", "x", "--home", home, *given)
        assert (code, "row 'kite' of 'films' has no task" in said) == (2, True), said
    printed = said.rpartition("see: ")[2].strip()
    assert f"--pipeline films --home {home}" in printed
    (home.parent / "elsewhere").mkdir()
    shown = follow(printed, home.parent / "elsewhere")
    assert (shown.code, "row 'kite' of 'films' has no task" in shown.errors) == (1, True), shown


def test_outside_a_project_nothing_is_shown(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch):
    """Not the demo either, whose table nobody asked for; nothing is made."""
    monkeypatch.chdir(tmp_path)
    before = sorted(home.rglob("*"))
    for words in (["plan"], ["verify"], ["tasks", "list"], ["tasks", "show", "kite"], ["tasks", "retry", "kite"]):
        code, said = run(*words, "--home", home)
        assert (code, f"no Dagster project in {tmp_path}" in said) == (2, True), said
    assert sorted(home.rglob("*")) == before


ASKED_FOR: dict[str, tuple[list[str], dict[str, str]]] = {
    "by its module": (["-m", "pixverse_dagster.definitions"], {}),
    "by the environment": ([], {"PIXVERSE_NAME": "demo"}),
}


@pytest.mark.parametrize("how", ASKED_FOR)
def test_the_own_pipeline_is_shown_where_it_is_asked_for(
    how: str, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
):
    """By its module, or by a variable of docs/configuration.md."""
    options, environment = ASKED_FOR[how]
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, "pixverse_dagster.definitions", raising=False)
    code, said = run("tasks", "list", "--home", home, *options)
    assert (code, "Tasks of demo" in said) == (0, True), said


def test_a_home_of_the_demo_shows_the_demo_even_in_another_project(
    write: Write, home: Path, monkeypatch: pytest.MonkeyPatch
):
    """It says what it is about, and `.env` of the folder has no part in it."""
    (home / "pixverse.env").write_text("PIXVERSE_NAME=demo\nPIXVERSE_MODE=simulator\n")
    root = write({"workspace.yaml": SHORT, "{0}.py": LAZY, ".env": "PIXVERSE_MODE=live"})
    monkeypatch.chdir(root)
    monkeypatch.delitem(sys.modules, "pixverse_dagster.definitions", raising=False)
    code, said = run("tasks", "list", "--home", home)
    assert (code, "Tasks of demo" in said) == (0, True), said


def test_of_several_pipelines_one_is_chosen_by_name(write: Write, home: Path, monkeypatch: pytest.MonkeyPatch):
    """And without a name, or with a wrong one, all are named."""
    root = write({"workspace.yaml": SHORT, "{0}.py": TWO})
    monkeypatch.chdir(root)
    code, said = run("plan", "--home", home)
    assert (code, "these pipelines: films, teasers. Choose one with --pipeline" in said) == (2, True), said
    code, said = run("plan", "--home", home, "--pipeline", "trailers")
    assert (code, "no pipeline 'trailers'" in said, "films, teasers" in said) == (2, True, True), said
    code, said = run("tasks", "list", "--home", home, "--pipeline", "teasers")
    assert (code, "Tasks of teasers" in said) == (0, True), said


FAULTS: dict[str, tuple[Files, str]] = {
    "a component": (
        {"src/{0}/defs/one/defs.yaml": YAML.format(name="films").replace("base_dir", "base_dirr"),
         "src/{0}/definitions.py": FOLDER}, "base_dirr",
    ),
    "a component of a wrong name": (
        {"src/{0}/defs/one/defs.yaml": YAML.format(name="a-b"), "src/{0}/definitions.py": FOLDER}, "name 'a-b'",
    ),
    "yaml that is none": (
        {"src/{0}/defs/one/defs.yaml": "type: [", "src/{0}/definitions.py": FOLDER}, "expected the node content",
    ),
    "a missing library": ({"src/{0}/definitions.py": "import no_such_library"}, "No module named 'no_such_library'"),
    "a bug": ({"src/{0}/definitions.py": "1 / 0"}, "ZeroDivisionError: division by zero"),
    "a secret": (
        {"src/{0}/definitions.py": "raise OSError('https://x.example/a?t=s3cret refused')"}, "x.example/a?… refused",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_load_says_why_in_a_few_lines(
    fault: str, write: Write, home: Path, monkeypatch: pytest.MonkeyPatch
):
    """The reason itself, and neither the traceback nor the tree around it."""
    files, reason = FAULTS[fault]
    plain = {"pyproject.toml": DG, "src/{0}/__init__.py": "", "src/{0}/defs/__init__.py": ""}
    monkeypatch.chdir(write({**plain, **files}))
    code, said = run("plan", "--home", home)
    assert (code, reason in said, "Traceback" in said, "s3cret" in said) == (2, True, False, False), said
    assert len(said.splitlines()) < 18, said


def test_a_key_that_is_not_set_is_named(write: Write, home: Path, monkeypatch: pytest.MonkeyPatch):
    """What a resource lacks is no traceback either, and no end: what needs no key goes on."""
    keyed = LAZY.replace('api_key="k"', 'api_key=dg.EnvVar("NO_SUCH_KEY")')
    monkeypatch.chdir(write({"workspace.yaml": SHORT, "{0}.py": keyed}))
    code, said = run("plan", "--home", home)
    assert (code, "NO_SUCH_KEY" in said, "Traceback" in said) == (0, True, False), said


def test_a_file_of_settings_that_cannot_be_read_is_named(write: Write, home: Path, monkeypatch: pytest.MonkeyPatch):
    """And `-m` goes on without it."""
    root = write({"workspace.yaml": "load_from: [\n", "{0}.py": LAZY})
    monkeypatch.chdir(root)
    code, said = run("plan", "--home", home)
    assert (code, "workspace.yaml cannot be read" in said) == (2, True), said
    (module,) = root.glob("m*.py")
    assert run("tasks", "list", "--home", home, "-m", module.stem)[0] == 0


# Homes


NO_HOMES: dict[str, Files | None] = {
    "nothing": None,
    "an empty folder": {},
    "a project": {"pyproject.toml": "", "storage/notes.txt": "", "history/notes.txt": ""},
}


@pytest.mark.parametrize("kind", NO_HOMES)
def test_a_folder_that_is_no_home_stays_as_it_is(
    kind: str, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """No folder, no database."""
    root, folder = write({"workspace.yaml": SHORT, "{0}.py": LAZY}), tmp_path / "f"
    files = NO_HOMES[kind]
    if files is not None:
        folder.mkdir()
    for path, text in (files or {}).items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    monkeypatch.chdir(root)
    before = sorted(tmp_path.glob("f/**/*"))
    for words in (["plan"], ["verify"], ["tasks", "list"], ["tasks", "resolve", "kite", "--abandon"]):
        code, said = run(*words, "--home", folder)
        assert (code, f"no Dagster home at {folder}" in said) == (2, True), said
    assert sorted(tmp_path.glob("f/**/*")) == before
    assert folder.exists() == (files is not None)


MARKS = ["dagster.yaml", "history/runs.db", "storage/pixverse/ledger.db", "pixverse.env"]


@pytest.mark.parametrize("mark", MARKS)
def test_a_folder_that_dagster_or_we_have_worked_in_is_a_home(mark: str, tmp_path: Path):
    """One mark will do."""
    (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mark).touch()
    assert find_home(tmp_path) == (tmp_path, "")


def test_an_empty_folder_is_a_new_home_where_dagster_is_told_so(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """`DAGSTER_HOME` is Dagster's own word for it, also where `--home` repeats it."""
    monkeypatch.chdir(write({"workspace.yaml": SHORT, "{0}.py": LAZY}))
    (tmp_path / "new").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "new"))
    assert run("tasks", "list", "--home", tmp_path / "new")[0] == 0
    assert run("tasks", "list")[0] == 0


def test_the_environment_file_of_the_project_is_read_before_it_loads(
    write: Write, home: Path, monkeypatch: pytest.MonkeyPatch
):
    """As Dagster does: what it says goes before the environment, its home among it. A subfolder's has no part."""
    named = MADE + "import os\ndefs = made(os.environ['FILM'])\n"
    root = write({"workspace.yaml": SHORT, "{0}.py": named, "src/deep/er/.env": "FILM=other"})
    (root / ".env").write_text(f'# the film\nexport FILM="from_env"  # quoted\nDAGSTER_HOME={home}\n')
    monkeypatch.setenv("FILM", "of_the_shell")
    monkeypatch.chdir(root / SUBFOLDER)
    code, said = run("tasks", "list")
    assert (code, "Tasks of from_env" in said) == (0, True), said


def test_a_session_of_the_command_line_carries_the_command_line(
    write: Write, home: Path, monkeypatch: pytest.MonkeyPatch
):
    """So what a stage says names the same project as what the command says."""
    monkeypatch.chdir(write({"workspace.yaml": SHORT, "{0}.py": LAZY}))
    with ProjectChoice(home).open() as project, project.open() as session:
        assert session.commands == project.commands
        assert (session.commands.pipeline, session.commands.home) == ("films", str(home))
        # As a sensor of these definitions has it, which knows the home from its instance.
        spec = project.spec.commands(project.instance)
        assert (spec.module, spec.home) == (project.commands.module, str(home))


def test_a_choice_that_is_two_is_refused(tmp_path: Path):
    """A module or a file."""
    with (
        pytest.raises(click.UsageError, match="one of -m MODULE and -f FILE"),
        ProjectChoice(module="a", python_file=tmp_path / "b.py").open(),
    ):
        pass


def test_definitions_that_were_not_loaded_by_anybody_name_no_module():
    """The command is right in the project's own folder."""
    with dg.instance_for_test() as instance:
        commands = find_command_line("films", loaded_from(), instance)
    assert commands.render("plan") == f"pixverse-dagster plan --pipeline films --home {commands.home}"


SERVERS: dict[str, tuple[dict[str, str], CommandLine]] = {
    "a module": ({"module_name": "films", "working_directory": "/elsewhere"}, CommandLine(module="films")),
    "a module beside": (
        {"module_name": "films.a", "working_directory": "{0}"}, CommandLine(module="films.a", working_directory="{0}"),
    ),
    "a package": ({"package_name": "films", "working_directory": ""}, CommandLine(module="films")),
    "a file": (
        {"python_file": "defs.py", "working_directory": "{0}"},
        CommandLine(python_file="{0}/defs.py", working_directory="{0}"),
    ),
    "a defs folder": (
        {"autoload_defs_module_name": "films.defs", "working_directory": "{0}"}, CommandLine(working_directory="{0}"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", SERVERS)
def test_what_a_code_server_loads_is_what_its_sensors_name(kind: str, tmp_path: Path):
    """Dagster knows while it loads, and a sensor's context does not."""
    (tmp_path / "films").mkdir()
    target, expected = SERVERS[kind]
    here = {name: value.format(tmp_path) for name, value in target.items()}
    with enter_loadable_target_origin_load_context(LoadableTargetOrigin(**here)):
        found = loaded_from()
    assert found == CommandLine(
        module=expected.module,
        python_file=expected.python_file.format(tmp_path),
        working_directory=expected.working_directory.format(tmp_path),
    )
