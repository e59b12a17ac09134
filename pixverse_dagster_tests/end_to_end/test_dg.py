"""A stranger's way in: a `dg` project, the scaffold command, and dg's own checks of what it wrote."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from pixverse_dagster.orchestration.resources import RESOURCES, key_variable
from pixverse_dagster_tests.harness.commands import run_dg, run_pytest, wait_until
from pixverse_dagster_tests.harness.fixtures import Tell
from pixverse_dagster_tests.harness.offline_python import write_python
from pixverse_dagster_tests.harness.servers import free_ports, tied_to_us
from pixverse_dagster_tests.harness.webserver import Webserver

ROOT = Path(__file__).parents[2]
LAST = "galaxies-drift"
ODD = 'sc01/sh020, "[a]" #1 *?'
"""What the row after it is called: nearly everything can be a partition key."""
STATS = """query($keys: [AssetKeyInput!]) { assetNodes(assetKeys: $keys) {
  partitionStats { numMaterialized numFailed numPartitions } } }"""

PYPROJECT = """
[project]
name = "studio"
version = "0.1.0"
requires-python = ">=3.11"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "studio"
registry_modules = ["studio.components.*"]
"""
DEFINITIONS = """
from pathlib import Path

import dagster as dg


@dg.definitions
def defs():
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


@pytest.fixture
def studio(tmp_path: Path) -> Path:
    """A dg project as `create-dagster project` writes it, in short."""
    package = tmp_path / "src" / "studio"
    for folder in (package, package / "defs", package / "components"):
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
    (package / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    return tmp_path


def dg_command(studio: Path, *arguments: str) -> str:
    """Run `dg` in the project and return what it says."""
    done = run_dg(studio, *arguments)
    assert done.code == 0, done.log
    return done.log


@pytest.mark.cover
def test_the_quickstart_passes_every_check_of_dg(tmp_path: Path) -> None:
    """The example loads as it stands, without a key."""
    example = Path(__file__).parents[2] / "examples" / "quickstart"
    copy = shutil.copytree(example, tmp_path / "quickstart", ignore=shutil.ignore_patterns("clips", ".venv"))
    assert "validated successfully" in dg_command(copy, "check", "yaml")
    listed = dg_command(copy, "list", "defs")
    assert "trailers/clips" in listed
    assert "trailers_table" in listed


def test_the_scaffold_command_writes_a_folder_that_passes_every_check_of_dg(studio: Path) -> None:
    """It lists the component, writes its folder, and finds YAML, definitions and secrets in order; twice over."""
    assert "pixverse_dagster.PixverseClipsComponent" in dg_command(studio, "list", "components")
    for name in ("trailers", "teasers"):
        dg_command(studio, "scaffold", "defs", "pixverse_dagster.PixverseClipsComponent", name)
        folder = studio / "src" / "studio" / "defs" / name
        assert sorted(path.name for path in folder.iterdir()) == ["defs.yaml", "prompts.csv"]
    tests = ["test_teasers.py", "test_trailers.py"]
    assert sorted(path.name for path in (studio / "tests").iterdir()) == tests
    assert "validated successfully" in dg_command(studio, "check", "yaml", "--validate-requirements")
    assert "All definitions loaded successfully" in dg_command(studio, "check", "defs")
    secrets = dg_command(studio, "list", "envs")
    for name in RESOURCES:
        (line,) = (line for line in secrets.splitlines() if key_variable(name) in line)
        assert {"trailers", "teasers"} <= set(re.findall(r"\w+", line)), line
    listed = dg_command(studio, "list", "defs")
    for name in ("trailers/clips", "teasers/clips", "trailers_poll", "teasers_submit_new", "outcomes_known"):
        assert name in listed, listed


def test_the_test_that_the_scaffold_command_writes_passes(studio: Path) -> None:
    """`pytest` finds the simulator by itself; a test that is there already is left as it is."""
    dg_command(studio, "scaffold", "defs", "pixverse_dagster.PixverseClipsComponent", "trailers")
    ran = run_pytest(studio, "-q", "-p", "no:cacheprovider")
    assert ran.code == 0, ran.log
    assert "1 passed" in ran.output
    assert not (studio / "clips").exists()
    (studio / "tests" / "test_teasers.py").write_text("# my own\n")
    dg_command(studio, "scaffold", "defs", "pixverse_dagster.PixverseClipsComponent", "teasers")
    assert (studio / "tests" / "test_teasers.py").read_text() == "# my own\n"


@dataclass(frozen=True)
class Reader:
    """Somebody who types what the README says, on other ports, in a clone of what a wheel is made of."""

    folder: Path
    simulator: int
    pages: int

    @property
    def clone(self) -> Path:
        return self.folder / "clone"

    @property
    def films(self) -> Path:
        return self.folder / "studio" / "films"

    def get_clone(self) -> None:
        self.clone.mkdir()
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, self.clone)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "pixverse_dagster", self.clone / "pixverse_dagster", ignore=ignored)
        write_python(self.folder / "bin")

    def types(self, name: str, folder: Path, without: str = "", end: str = LAST) -> list[str]:
        """The command that runs the README's bash block after `<!-- command: NAME -->` in a folder.

        Lines with `without` in them are left out: that part is done. `end` is where its range of rows ends.
        """
        text = (ROOT / "README.md").read_text()
        found = re.search(rf"<!-- command: {name} -->\n```bash\n(.*?)```", text, re.DOTALL)
        assert found, name
        words = found.group(1).replace("8765", str(self.simulator)).replace("dg dev", f"dg dev --port {self.pages}")
        words = words.replace(LAST, end)
        if without:
            words = "".join(line for line in words.splitlines(keepends=True) if without not in line)
        # A new shell has no environment; the pages are opened in the one that the project was made in.
        goes_on = {"project pages", "before going live"}
        activate = f". {self.folder}/studio/bin/activate" if name in goes_on else ""
        activate += "\nexport DAGSTER_HOME=$PWD/.dagster" if name == "before going live" else ""
        return [*tied_to_us(signal.SIGKILL), "bash", "-euo", "pipefail", "-c", f"cd {folder}\n{activate}\n{words}"]

    @property
    def environment(self) -> dict[str, str]:
        # Without the tests' own environment: nothing that is typed here may reach it.
        own = str(Path(sys.executable).parent)
        others = [part for part in os.environ["PATH"].split(os.pathsep) if part != own]
        path = os.pathsep.join([str(self.folder / "bin"), *others])
        pip = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "false", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        return {**os.environ, **pip, "PATH": path, "COLUMNS": "200"}

    def does(self, name: str, folder: Path, without: str = "", end: str = LAST) -> None:
        command = self.types(name, folder, without, end)
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def opens_pages(self) -> Generator[Webserver]:
        """Dagster's pages, and the simulator."""
        log = self.folder / "pages.log"
        with log.open("w") as output:
            shown = subprocess.Popen(
                self.types("project pages", self.films), env=self.environment, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        web = Webserver(f"http://127.0.0.1:{self.pages}")
        try:
            wait_until(lambda: web.answers() or shown.poll() is not None, 120, "the pages are there")
            assert shown.poll() is None, log.read_text()
            yield web
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shown.pid, signal.SIGKILL)
            shown.wait()


@pytest.mark.cover
@pytest.mark.timeout(600)
def test_the_readmes_way_to_a_new_project(tmp_path: Path, tell: Tell) -> None:
    """A wheel, a project, the scaffold, Dagster's pages, `dg launch`: literally, and from nothing but the wheel."""
    reader = Reader(tmp_path, *free_ports(2))
    started = time.monotonic()
    reader.get_clone()
    reader.does("project", reader.clone)
    (installed,) = (tmp_path / "studio").glob("lib/python*/site-packages/pixverse_dagster")
    assert not installed.is_symlink()
    written = reader.films / "src" / "films" / "defs" / "trailers" / "defs.yaml"
    (shown,) = re.findall(r"```yaml\n(type: .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert yaml.safe_load(written.read_text()) == yaml.safe_load(shown)
    written.write_text(written.read_text().replace("8765", str(reader.simulator)))
    table = written.with_name("prompts.csv")
    quoted = ODD.replace('"', '""')
    table.write_text(table.read_text().replace("\nastronaut-cafe,", f'\n"{quoted}",'))
    with reader.opens_pages() as web:
        tell("the README's way to a new project", f"{time.monotonic() - started:.0f} s to Dagster's pages")
        # The second time a row is added, and nothing is paid for again.
        for done, end, paid in (("", LAST, 4), ("trailers/prompts", ODD, 5)):
            reader.does("project launch", reader.films, without=done, end=end)
            (clips,) = web.ask(STATS, keys=[{"path": ["trailers", "clips"]}])["assetNodes"]
            assert clips["partitionStats"] == {"numMaterialized": paid, "numFailed": 0, "numPartitions": 12}
            audit = httpx.get(f"http://127.0.0.1:{reader.simulator}/_simulator/tasks", trust_env=False).json()
            assert len(audit) == paid
        reader.does("before going live", reader.films)
    assert len(list((reader.films / "clips").rglob("manifest.json"))) == 5
