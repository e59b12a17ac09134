"""A stranger's way in: a `dg` project, the scaffold command, and dg's own checks of what it wrote."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
    command = [str(Path(sys.executable).with_name("dg")), *arguments]
    path = os.pathsep.join(filter(None, [str(studio / "src"), os.environ.get("PYTHONPATH", "")]))
    environment = os.environ | {"PYTHONPATH": path, "COLUMNS": "200", "DAGSTER_HOME": ""}
    done = subprocess.run(
        command, cwd=studio, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_quickstart_passes_every_check_of_dg(tmp_path: Path) -> None:
    """The example loads as it stands, without a key."""
    example = Path(__file__).parent.parent / "examples" / "quickstart"
    copy = shutil.copytree(example, tmp_path / "quickstart", ignore=shutil.ignore_patterns("clips", ".venv"))
    assert "validated successfully" in dg_command(copy, "check", "yaml")
    listed = dg_command(copy, "list", "defs")
    assert "trailers/clips" in listed
    assert "trailers_table" in listed


def test_the_scaffold_command_writes_a_folder_that_passes_every_check_of_dg(studio: Path) -> None:
    """It lists the component, writes its folder, and finds the YAML and the definitions in order; twice over."""
    assert "pixverse_dagster.PixverseClipsComponent" in dg_command(studio, "list", "components")
    for name in ("trailers", "teasers"):
        dg_command(studio, "scaffold", "defs", "pixverse_dagster.PixverseClipsComponent", name)
        folder = studio / "src" / "studio" / "defs" / name
        assert sorted(path.name for path in folder.iterdir()) == ["defs.yaml", "prompts.csv"]
    assert "validated successfully" in dg_command(studio, "check", "yaml")
    assert "All definitions loaded successfully" in dg_command(studio, "check", "defs")
    listed = dg_command(studio, "list", "defs")
    for name in ("trailers/clips", "teasers/clips", "trailers_poll", "teasers_submit_new", "outcomes_known"):
        assert name in listed, listed
