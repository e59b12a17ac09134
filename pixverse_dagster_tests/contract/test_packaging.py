"""What is built, and that it works as it is installed: from a wheel, and without its extras."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

import pixverse_dagster
from pixverse_dagster_tests.harness import offline_python

ROOT = Path(__file__).parents[2]
CHILDREN = "test_a_child_process_has_the_package_under_test_and_the_tests"
DEMO = ("starlette", "uvicorn", "dagster_webserver")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist of this tree, and the wheel, built by the backend itself: it needs no network."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    """What git has of this tree."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    try:
        top = Path(git("rev-parse", "--show-toplevel").strip())
    except (OSError, subprocess.CalledProcessError):
        top = None
    if top != ROOT.resolve():
        pytest.skip("not a git checkout")
    return {name for name in git("ls-files", "-z").split("\0") if name and (ROOT / name).exists()}


def test_the_sdist_has_what_git_tracks_and_nothing_else(built: tuple[Path, Path], tracked: set[str]):
    """So its tests have what they read, and nothing of the machine comes along. A new file is `git add`ed first."""
    with tarfile.open(built[0]) as archive:
        names = [PurePosixPath(member.name) for member in archive.getmembers() if not member.isdir()]
    top = {name.parts[0] for name in names}
    assert top == {f"pixverse_dagster-{pixverse_dagster.__version__}"}
    assert {str(PurePosixPath(*name.parts[1:])) for name in names} == tracked | {"PKG-INFO"}


def test_the_wheel_has_the_package_with_its_data_and_nothing_else(built: tuple[Path, Path], tracked: set[str]):
    """Samples, migrations and the marker of types are in it; tests and documents are not."""
    with zipfile.ZipFile(built[1]) as archive:
        names = {info.filename for info in archive.infolist() if not info.is_dir()}
    about = f"pixverse_dagster-{pixverse_dagster.__version__}.dist-info"
    metadata = {f"{about}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    package = {name for name in tracked if name.startswith("pixverse_dagster/")}
    assert names == package | metadata
    assert {
        "pixverse_dagster/py.typed",
        "pixverse_dagster/samples/prompts.csv",
        "pixverse_dagster/core/manifest.schema.json",
        "pixverse_dagster/ledger/migrations/versions/first_ledger.py",
    } <= names


def test_a_child_process_has_the_package_under_test_and_the_tests():
    """Whatever its current folder: what a test starts is what the test is about."""
    program = "import pixverse_dagster, pixverse_dagster_tests.harness.hostile; print(pixverse_dagster.__file__)"
    for folder in (ROOT, Path("/")):
        ran = subprocess.run(
            [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=60, check=True
        )
        assert ran.stdout.strip() == pixverse_dagster.__file__


@pytest.mark.cover
def test_the_tests_of_an_sdist_test_the_installed_wheel(built: tuple[Path, Path], tmp_path: Path):
    """In the unpacked sdist, with the wheel installed, the tree's own package is not used, by children neither.

    It is broken on purpose. The tests that run there start children by `-c`, by `-m` and by the installed program.
    """
    sdist, wheel = built
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    (tree / "pixverse_dagster" / "__init__.py").write_text("raise ImportError('this is the package of the tree')\n")
    made = tmp_path / "installed"
    offline_python.main(["-m", "venv", str(made)])
    # Nothing of what this run handed to its own children.
    given = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONSAFEPATH"}}
    python = made / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "--no-index", "--no-deps", wheel]
    subprocess.run(install, env=given, check=True, timeout=120)
    chosen = [
        "pixverse_dagster_tests/pure/test_redaction.py",
        "pixverse_dagster_tests/contract/test_surface.py::test_the_program_is_installed_and_an_error_is_one_line",
        f"pixverse_dagster_tests/contract/test_packaging.py::{CHILDREN}",
        "pixverse_dagster_tests/contract/test_simulator.py::test_pixwith_delivers_every_output",
    ]
    # -P: as the program `pytest` does, which does not look in the current folder.
    command = [python, "-P", "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *chosen]
    ran = subprocess.run(command, cwd=tree, env=given, capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert f"pixverse_dagster: {made}" in ran.stdout


@pytest.fixture(scope="module")
def without_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all that is installed here but what only the extra `demo` asks for, and this project."""
    folder = tmp_path_factory.mktemp("packages")
    for name in ("purelib", "platlib"):
        for entry in Path(sysconfig.get_path(name)).iterdir():
            if not entry.name.startswith(DEMO) and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
    if not (folder / "pixverse_dagster").exists():
        (folder / "pixverse_dagster").symlink_to(Path(pixverse_dagster.__file__).parent)
    return folder


@pytest.mark.parametrize("command", ["demo", "dev", "simulator --port 0"])
def test_without_the_demo_extra_a_command_says_in_one_line_what_to_install(
    command: str, without_demo: Path, tmp_path: Path
):
    """It ends with 2, makes nothing and shows no traceback."""
    # -S: an interpreter that sees no packages but those of PYTHONPATH.
    program = [sys.executable, "-S", "-m", "pixverse_dagster.cli", *command.split()]
    given = os.environ | {"PYTHONPATH": str(without_demo)}
    # A new environment has no compiled modules yet, and on a busy machine Dagster's many take their time.
    ran = subprocess.run(program, cwd=tmp_path, env=given, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 2, ran.stderr
    assert (ran.stdout, len(ran.stderr.splitlines())) == ("", 1), ran.stderr
    assert ran.stderr.startswith("Error: ")
    assert "pip install 'pixverse-dagster[demo]'" in ran.stderr
    assert list(tmp_path.iterdir()) == []
