"""What commands print with `--json`: one document, of a schema that is published; and any command on any console."""

from __future__ import annotations

import json
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pixverse_dagster.cli.documents import JsonOption
from pixverse_dagster_tests.harness.commands import follow, pixverse
from pixverse_dagster_tests.harness.documents import SCHEMAS, json_commands, schema_path
from pixverse_dagster_tests.harness.forked import Ran

ROOT = Path(__file__).parents[2]
COMMANDS = dict(json_commands())
RUNS: dict[tuple[str, ...], list[tuple[list[str], set[int]]]] = {
    ("accounts", "list"): [([], {0})],
    ("clips", "retake"): [(["{folder}/marks.csv"], {0})],
    ("check",): [([], {1}), (["--live", "--record", "{folder}/recorded"], {1})],
    ("costs",): [([], {0}), (["--by", "model", "--balance"], {0})],
    ("demo",): [],
    ("gallery",): [([], {0})],
    ("ledger", "rebuild"): [(["--dry-run"], {0})],
    ("plan",): [([], {1})],
    ("read",): [(["{folder}/rows.csv"], {1})],
    ("tasks", "list"): [([], {0}), (["--all", "--state", "stored"], {0}), (["--state", "invalid"], {0})],
    ("tasks", "show"): [(["kite"], {0}), (["nobody"], {1})],
    ("verify",): [([], {0})],
}
"""How each command is run, and with what it ends. The demo makes the home of all others."""
ROWS = """id,prompt,model,images
kite,a kite,runware/pixverse-v4.5,
dragon,ein Drache über der Brücke → 🐉,runware/pixverse-v4.5,
bad,a kite,runware/no-such-model,
"""


def check(words: tuple[str, ...], text: str) -> Any:
    """One document, as its published schema has it."""
    document = json.loads(text)
    schema = json.loads((ROOT / schema_path(words)).read_text())
    import_module("jsonschema").Draft202012Validator(schema).validate(document)
    return document


def run(home: Path, *words: str, **environment: str) -> Ran:
    """A command at the demo's home; `read` needs none."""
    place = [] if words[0] == "read" else ["--home", str(home)]
    given = [word.format(folder=home.parent) for word in words]
    return follow(shlex.join(["pixverse-dagster", *given, *place]), home.parent, environment)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home after a demo: two rows are stored, and one cannot be generated."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "rows.csv").write_text(ROWS)
    ran = pixverse("demo", "--prompts", str(folder / "rows.csv"), "--generation-seconds", "0.2", "--json",
                   home=folder / "home", check=False)  # fmt: skip
    found = check(("demo",), ran.stdout)
    assert [clip["state"] for clip in found["clips"]] == ["stored", "stored"], ran.stderr
    key = Path(found["clips"][0]["where"]).relative_to(folder / "home" / "clips").with_suffix("")
    (folder / "marks.csv").write_text(f"clip,mark,note\n{key},reject,zu früh → 🐉\nnone/1,reject,\n")
    return folder / "home"


def test_every_command_with_json_has_a_published_schema_and_a_run_here() -> None:
    """Found by walking all commands: a new one without either fails."""
    assert [words for words, option in COMMANDS.items() if not isinstance(option, JsonOption)] == []
    assert set(RUNS) == set(COMMANDS)
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "docs/schemas").iterdir()} == set(SCHEMAS)


@pytest.mark.parametrize("words", sorted(RUNS), ids=" ".join)
def test_a_command_prints_one_document_of_its_schema(words: tuple[str, ...], home: Path) -> None:
    """On a console of any encoding. Whatever else it has to say goes to the standard error."""
    for arguments, codes in RUNS[words]:
        ran = run(home, *words, *arguments, "--json", PYTHONIOENCODING="ascii")
        assert ran.code in codes, ran.errors
        check(words, ran.output)


@pytest.mark.parametrize("words", [["plan"], ["tasks", "show", "kite"], ["verify"]], ids=" ".join)
def test_an_error_is_no_document(words: list[str], home: Path) -> None:
    """It is a line on the standard error, and the standard output has nothing."""
    ran = run(home, *words, "--json", "--pipeline", "nobody's")
    assert (ran.code, ran.output) == (2, "")
    assert "Error: there is no pipeline" in ran.errors


def test_what_a_users_module_prints_is_no_part_of_the_document(home: Path) -> None:
    """Neither of the module itself, nor of a program that it starts."""
    module = home.parent / "loud.py"
    module.write_text(
        "import os\nprint('loading')\nos.system('echo started')\nfrom pixverse_dagster.definitions import defs\n"
    )
    ran = run(home, "tasks", "list", "--json", "-f", str(module))
    assert {task["row"] for task in check(("tasks", "list"), ran.output)} == {"kite", "dragon"}
    assert {"loading", "started"} <= set(ran.errors.split())


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("words", sorted(RUNS.keys() - {("demo",)}), ids=" ".join)
@pytest.mark.cover
def test_no_command_fails_on_a_console_for_want_of_a_letter(words: tuple[str, ...], encoding: str, home: Path) -> None:
    """What the console has no letter for is spelled out."""
    for arguments, codes in RUNS[words]:
        more = ["--yes"] if words == ("clips", "retake") else []
        ran = run(home, *words, *arguments, *more, PYTHONIOENCODING=encoding)
        assert ran.code in codes | {0}, ran.errors
        assert "Traceback" not in ran.log
