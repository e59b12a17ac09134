"""The folders are the layers: who may import whom, where each library is at home, and that nothing goes in circles."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pixverse_dagster

PACKAGE = Path(pixverse_dagster.__file__).parent
SOURCES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
MAY_IMPORT: Mapping[str, str] = {
    "core": "",
    "policy": "core",
    "providers": "core",
    "storage": "core",
    "simulator": "",
    "transport": "core policy providers",
    "ledger": "core policy providers",
    "media": "core policy transport",
    "tables": "core providers transport",
    "reports": "core policy ledger storage media",
    "stages": "core policy providers storage transport ledger media tables",
    "recovery": "core policy providers storage transport ledger stages reports",
    "orchestration": "core policy providers storage transport ledger tables stages reports",
    "testing": "core policy stages storage orchestration",
    "definitions": "core policy tables transport stages orchestration",
    "cli": "core policy tables ledger storage stages reports recovery orchestration definitions",
}
ONLY_IN: Mapping[str, str] = {  # whoever wants to replace a library knows where it is
    "dagster": "orchestration definitions testing cli",
    "dagster_aws": "orchestration definitions",
    "dagster_shared": "orchestration",
    "sqlalchemy": "ledger tables",
    "alembic": "ledger",
    "httpx": "transport providers testing cli",
    "httpcore": "transport",
    "av": "media simulator",
    "boto3": "tables storage",
    "botocore": "tables",
    "click": "cli",
    "fsspec": "tables storage",
    "pytest": "testing.plugin",
    "rich": "cli",
    "starlette": "simulator",
    "uvicorn": "simulator",
}
NOT_IN_VALUES = {"os", "pathlib", "socket", "threading", "time", "subprocess", "logging", "tempfile"}


def imports(module: str) -> Iterator[tuple[str, str]]:
    """Every (module, name) that a module imports, wherever in it; the name is empty for `import x`."""
    source = SOURCES[module]
    package = module.split(".") if source.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((base, alias.name) for alias in node.names)


def imported(module: str) -> set[str]:
    """The modules, ours and others', that a module imports."""
    return {f"{base}.{name}" if f"{base}.{name}" in SOURCES else base for base, name in imports(module)}


def folder(module: str) -> str:
    """The layer that a module of ours is in; empty for the package itself."""
    return ".".join(module.split(".")[1:2])


def is_in(module: str, homes: str) -> bool:
    """Whether one of these parts of the package holds the module."""
    return any(f"{module}.".startswith(f"pixverse_dagster.{home}.") for home in homes.split())


MODULES = [module for module in SOURCES if folder(module)]
TESTS = Path(__file__).parents[1]
JUDGES = sorted([*(TESTS / "harness/judge").glob("*.py"), *(TESTS / "harness").glob("*/judge.py")])
"""What says in the end whether the promises of the product held."""
JUDGED_WITH = {"sqlalchemy"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_its_own_folder_and_those_that_the_table_names(module: str):
    """Exactly this table, with no exceptions."""
    allowed = {folder(module), *MAY_IMPORT[folder(module)].split()}
    ours = {name for name in imported(module) if name.split(".")[0] == "pixverse_dagster"}
    assert {name for name in ours if folder(name) not in allowed} == set()


@pytest.mark.parametrize("name", [name for name in MAY_IMPORT if (PACKAGE / name).is_dir()])
def test_each_folder_says_in_its_first_line_what_it_may_import(name: str):
    """A reader sees the rule where it holds."""
    first = (ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text())) or "").splitlines()[0]
    said = re.search(r"May import: ([\w, ]+)\.$", first)
    assert said, f"{name}: {first}"
    assert said.group(1).replace(",", "") == (MAY_IMPORT[name] or "nothing")


def test_nothing_is_imported_in_a_circle():
    """Not even inside a folder, and not inside a function."""
    graph = {module: {name for name in imported(module) if name in SOURCES} - {module} for module in MODULES}
    # A package's own names are for its users; its parts import each other by module.
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_has_one_home(library: str):
    """Elsewhere it is not imported."""
    users = {m for m in MODULES if any(f"{name}.".startswith(f"{library}.") for name in imported(m))}
    assert users
    assert {module for module in users if not is_in(module, ONLY_IN[library])} == set()


def test_dagsters_private_names_are_looked_up_in_one_place_and_never_imported():
    """A release that moves one must not take down a code location with paid tasks under way."""
    naming = {module for module in MODULES if "dagster._" in SOURCES[module].read_text()}
    assert naming == {"pixverse_dagster.orchestration.internal"}
    assert [m for m in MODULES if any(name.startswith("dagster._") for name in imported(m))] == []


@pytest.mark.parametrize("module", [module for module in MODULES if folder(module) in {"core", "policy"}])
def test_values_and_decisions_know_no_machine(module: str):
    """No files, sockets, threads or clocks."""
    assert {name.split(".")[0] for name in imported(module)} & NOT_IN_VALUES == set()


@pytest.mark.parametrize("module", MODULES)
def test_no_folder_imports_anothers_private_names(module: str):
    """What starts with an underscore is its module's own."""
    private = {
        (base, name) for base, name in imports(module) if base.startswith("pixverse_dagster") and name[:1] == "_"
    }
    assert private == set()


@pytest.mark.parametrize("path", JUDGES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_judge_draws_nothing_from_the_product_or_the_simulator(path: Path):
    """It imports itself and what reads a database: what they misread is not misread in the same way here."""
    judges = {".".join(one.relative_to(TESTS.parent).with_suffix("").parts) for one in JUDGES}
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert name in judges or name.partition(".")[0] in {*sys.stdlib_module_names, *JUDGED_WITH} - {"importlib"}
        assert not isinstance(node, ast.ImportFrom) or node.level == 0
        assert not isinstance(node, ast.Name) or node.id != "__import__"


def test_there_are_judges_and_the_simulator_names_no_other_part_of_the_package():
    """Not in a text either, by which it could import it."""
    assert {path.parent.name for path in JUDGES} >= {"judge", "crash", "soak"}
    others = {name for name in MAY_IMPORT if name != "simulator"}
    for module in (module for module in MODULES if folder(module) == "simulator"):
        named = set(re.findall(r"pixverse_dagster\.(\w+)", SOURCES[module].read_text()))
        assert named & others == set(), module


def test_the_table_is_about_what_is_there():
    """Every folder and module of the package has a line, and no line is about nothing; imports are really seen."""
    assert {folder(module) for module in MODULES} == set(MAY_IMPORT)
    seen = set[str]().union(*map(imported, MODULES))
    assert {"dagster", "httpx", "sqlalchemy", "av", "dagster_aws.s3", "pixverse_dagster.core.task"} <= seen
