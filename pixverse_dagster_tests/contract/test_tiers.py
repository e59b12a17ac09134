"""The folders of the tests are tiers: what stands in one needs no more than its folder says."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TIERS = ("pure", "contract", "stages", "dagster", "end_to_end")
SHARED = {"harness", "guards"}
WITHOUT_DAGSTER = ("pure", "stages")
OUR_DAGSTER = ("pixverse_dagster.orchestration", "pixverse_dagster.definitions", "pixverse_dagster.cli")

STEPS = {
    "makes a socket": "import socket; socket.socket()",
    "looks a name up": "import socket; socket.getaddrinfo('localhost', 80)",
    "asks the web": "import httpx; httpx.get('http://127.0.0.1:9/')",
    "starts a program": "import subprocess; subprocess.run(['true'])",
    "starts a shell": "import os; os.system('true')",
    "forks": "import os; os.fork() or os._exit(0)",
    "spawns a worker": "import multiprocessing as m; m.get_context('spawn').Process(target=print).start()",
    "forks a worker": "import multiprocessing as m; m.get_context('fork').Process(target=print).start()",
    "becomes a program": "import os; os.execv('/bin/true', ['true'])",
    "opens a database": "import sqlite3; sqlite3.connect(':memory:')",
    "opens a database elsewhere": "import threading as t; o = t.Thread(target=opens); o.start(); o.join()",
    "loads Dagster": "import dagster",
    "swallows the error": """import contextlib, os
    with contextlib.suppress(BaseException):
        os.system('true')""",
}
PURE = {
    "computes": "assert 1 + 1 == 2",
    "writes a file": "(tmp_path / 'a').write_text('kite')",
    "starts a thread": "import threading as t; o = t.Thread(target=print); o.start(); o.join()",
}
HEAD = """
import pytest
def opens():
    import contextlib, sqlite3
    with contextlib.suppress(RuntimeError):
        sqlite3.connect(':memory:')
@pytest.fixture
def listening():
    import socket
    return socket.create_server(('127.0.0.1', 0))
def test_asks_for_a_server(listening): pass
"""


def child(*words: str, cwd: Path) -> str:
    """What a Python of its own prints, without this run's settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, *words]
    ran = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return ran.stdout + ran.stderr


def test_a_pure_test_that_leaves_its_process_fails_and_the_step_does_not_happen(tmp_path: Path):
    """Sockets, processes, databases and Dagster: each is refused, and reported also where the error is swallowed."""
    shutil.copy(TESTS / "pure" / "conftest.py", tmp_path)
    tests = [f"def test_{name.replace(' ', '_')}(tmp_path):\n    {text}\n" for name, text in (STEPS | PURE).items()]
    (tmp_path / "test_steps.py").write_text(HEAD + "".join(tests))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    said = child("-m", "pytest", "-p", "no:cacheprovider", "-rA", "--tb=short", cwd=tmp_path)
    found = {
        name: how for how, name in re.findall(r"^(PASSED|FAILED|ERROR) test_steps\.py::test_(\w+)", said, re.MULTILINE)
    }
    named = {name.replace(" ", "_") for name in STEPS}
    expected = {name.replace(" ", "_"): "PASSED" for name in PURE} | dict.fromkeys(named, "FAILED")
    assert found == expected | {"asks_for_a_server": "ERROR"}, said
    assert said.count("a pure test needs no more than its own process: ") >= len(STEPS) + 1


def test_a_test_beside_the_pure_ones_may_leave_its_process(tmp_path: Path):
    """The hook acts while a pure test runs and at no other time."""
    (tmp_path / "pure").mkdir()
    shutil.copy(TESTS / "pure" / "conftest.py", tmp_path / "pure")
    (tmp_path / "pure" / "test_a.py").write_text("def test_pure(): pass\n")
    (tmp_path / "test_b.py").write_text("import os\ndef test_forks():\n    assert os.system('true') == 0\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    assert " 2 passed" in child("-m", "pytest", "-p", "no:cacheprovider", "pure", "test_b.py", cwd=tmp_path)


def test_collecting_the_pure_tests_loads_no_dagster_and_no_server():
    """They start at once."""
    script = (
        "import sys, pytest; code = pytest.main(['--collect-only', '-q', '-p', 'no:cacheprovider', sys.argv[1]]); "
        "print('code', int(code)); "
        "print('loaded', sorted({'dagster', 'uvicorn', 'psycopg2', 'boto3', 'alembic'} & sys.modules.keys()))"
    )
    said = child("-c", script, str(TESTS / "pure"), cwd=TESTS.parent)
    assert "code 0\nloaded []" in said, said[-2000:]


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = sorted(path for path in TESTS.rglob("*.py") if TESTS / "data" not in path.parents)
NAMES = [str(path.relative_to(TESTS)) for path in MODULES]


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_no_module_imports_a_test_module(path: Path):
    """What tests share is in the harness, and what breaks guards beside it: neither is ever collected."""
    ours = [name for name in imported(path) if name.startswith("pixverse_dagster_tests.")]
    assert [name for name in ours if name.split(".")[1] not in SHARED] == []
    assert path.parent.name in TIERS or not SHARED.isdisjoint(path.parts) or path.name == "conftest.py"


@pytest.mark.parametrize("tier", WITHOUT_DAGSTER)
def test_only_the_tiers_with_dagster_import_it(tier: str):
    """Stages and values are Python's own: they can be used, and so tested, without Dagster."""
    found = {(path.name, name) for path in (TESTS / tier).glob("*.py") for name in imported(path)}
    assert found
    with_dagster = {(file, name) for file, name in found if name.split(".")[0] in {"dagster", "dagster_aws"}}
    assert with_dagster | {(file, name) for file, name in found if name.startswith(OUR_DAGSTER)} == set()


@pytest.mark.parametrize("tier", TIERS)
def test_a_test_has_the_marker_of_its_folder(tier: str, pytestconfig: pytest.Config):
    """So that a tier can be asked for by name, too."""
    assert any(line.startswith(f"{tier}: ") for line in pytestconfig.getini("markers"))
    assert any((TESTS / tier).glob("test_*.py"))


def test_this_test_is_marked(request: pytest.FixtureRequest):
    """Here: in `contract`."""
    assert {mark.name for mark in request.node.iter_markers()} & set(TIERS) == {"contract"}
