"""The gallery's page: its sources are sound, and what is checked in is what they are built to."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pixverse_dagster_tests.harness import node

BUILT = Path(__file__).parents[2] / "pixverse_dagster" / "reports" / "gallery" / "page"
SOURCES = node.GALLERY / "src"


@pytest.fixture(scope="module")
def tools() -> Path:
    return node.tools()


def test_the_type_checker_finds_nothing(tools: Path):
    """Strict, over plain modules with types in their comments."""
    assert node.run("node", str(tools / "typescript/bin/tsc"), "--project", "tsconfig.json") == ""


def test_a_rebuild_gives_the_bytes_that_are_checked_in(tools: Path, tmp_path: Path):
    """If not: `npm ci && npm run build` in `gallery/`. Users never build."""
    node.run("node", "build.mjs", str(tmp_path))
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(built) == ["app.css", "app.js", "index.html"]
    assert built == {path.name: path.read_bytes() for path in BUILT.iterdir() if path.name in built}


def test_the_pure_modules_keep_their_rules():
    """Addresses, search, marks and CSV, under node's own test runner."""
    files = sorted(str(path.relative_to(node.GALLERY)) for path in (node.GALLERY / "tests").glob("*.test.mjs"))
    assert files
    node.run("node", "--test", *files)


def test_the_lock_names_no_host():
    """Whoever installs takes the packages from where he takes his; their digests stand in the lock."""
    packages = json.loads((node.GALLERY / "package-lock.json").read_text())["packages"]
    assert all(entry.get("integrity", "").startswith("sha512-") for name, entry in packages.items() if name)
    assert not [name for name, entry in packages.items() if "resolved" in entry]


def test_one_function_makes_elements_and_nothing_becomes_markup_or_code():
    """Scripts are made where data files are loaded; the rest goes through `element`, which takes no plain address."""
    makers: dict[str, set[str]] = {"createElement(": {"dom.js", "load.js"}, ".setAttribute(": {"dom.js", "main.js"}}
    makers |= {word: set() for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(")}
    makers["new Function"] = set()
    makers |= {word: set() for word in ("fetch(", "XMLHttpRequest", "sendBeacon", "WebSocket", "EventSource(")}
    for word, allowed in makers.items():
        found = {path.name for path in SOURCES.glob("*.js") if word in path.read_text()}
        assert found <= allowed, word
    addresses = re.compile(r"\.(src|href|poster|srcdoc) = ")
    assert {path.name for path in SOURCES.glob("*.js") if addresses.search(path.read_text())} <= {"load.js"}


def test_every_module_stands_in_the_list_of_the_readme():
    """A newcomer finds his way."""
    listed = set(re.findall(r"`(\w+\.js)`", (node.GALLERY / "README.md").read_text()))
    assert listed == {path.name for path in SOURCES.glob("*.js")}


def test_modules_are_short():
    """A newcomer reads one at a time."""
    assert {
        path.name: lines for path in SOURCES.glob("*.js") if (lines := len(path.read_text().splitlines())) > 300
    } == {}
