"""What other people's code leans on: names, the manifest's schema, errors, commands."""

from __future__ import annotations

import inspect
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import pixverse_dagster
from pixverse_dagster import ClipManifest
from pixverse_dagster.cli import cli
from pixverse_dagster.cli.simulator import FAULTS
from pixverse_dagster.core import errors
from pixverse_dagster.core.errors import PixverseError, RateLimited
from pixverse_dagster.simulator import KINDS

PACKAGE = Path(pixverse_dagster.__file__).parent
ROOT = Path(__file__).parents[2]

# Names


NAMES = [
    "Budget",
    "CallableTable",
    "CheckRules",
    "Clip",
    "ClipInvalid",
    "ClipManifest",
    "FileTable",
    "HighwayResource",
    "InvalidRow",
    "InvalidTable",
    "LedgerResource",
    "LocalClipIOManager",
    "NoAnswer",
    "NoSlot",
    "Paused",
    "RowChanged",
    "NotReady",
    "NotSent",
    "OutOfCredit",
    "OutcomeUnknown",
    "OverBudget",
    "Pace",
    "PipelineOptions",
    "PixverseClipsComponent",
    "PixverseError",
    "PixwithResource",
    "Price",
    "RateLimited",
    "ReadFailed",
    "Refused",
    "ResultExpired",
    "RetryPolicy",
    "RunwareResource",
    "S3ClipIOManager",
    "SqlTable",
    "StoreConflict",
    "TaskFailed",
    "Unauthorized",
    "ValueTable",
    "build_clips_definitions",
]


def test_the_public_names_are_these():
    """Nothing comes or goes by accident, and each name loads."""
    assert sorted(pixverse_dagster.__all__) == sorted(NAMES)
    assert {name for name in NAMES if getattr(pixverse_dagster, name, None) is None} == set()
    assert set(NAMES) <= set(dir(pixverse_dagster))
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", pixverse_dagster.__version__)


def test_every_error_is_public():
    """Whoever calls can branch on each of them."""
    assert {name for name, _ in error_classes()} <= set(NAMES)


def test_a_name_that_is_not_there_is_an_attribute_error():
    """As of any module."""
    with pytest.raises(AttributeError, match="no attribute 'Sora'"):
        getattr(pixverse_dagster, "Sora")  # noqa: B009 - a name that a type checker would rightly refuse


HEAVY = ("boto3", "botocore", "av", "sqlalchemy", "alembic", "dagster_aws")
FRAMES = ("pyarrow", "pandas", "polars", "numpy")
IMPORTS: list[tuple[str, tuple[str, ...]]] = [
    # what is imported, what must not come along
    ("import pixverse_dagster", (*HEAVY, *FRAMES, "dagster", "httpx", "pydantic", "rich")),
    ("from pixverse_dagster import Clip, ClipManifest, NotReady", (*HEAVY, "dagster", "httpx")),
    ("import pixverse_dagster.providers", (*HEAVY, "dagster")),
    ("import pixverse_dagster.testing.plugin", (*HEAVY, *FRAMES, "dagster", "httpx", "pydantic", "starlette")),
    ("from pixverse_dagster import build_clips_definitions, LocalClipIOManager", ("boto3", "av", "dagster_aws")),
    ("import pixverse_dagster.tables", (*HEAVY, *FRAMES, "dagster")),
    ("import pixverse_dagster.simulator", ("dagster", "boto3", "sqlalchemy")),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "absent"), IMPORTS, ids=[statement for statement, _ in IMPORTS])
def test_an_import_loads_only_what_it_needs(statement: str, absent: tuple[str, ...]):
    """A code location starts many processes; boto3, PyAV and SQLAlchemy are loaded by those that use them."""
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(ran.stdout.split())
    assert "pixverse_dagster" in loaded
    assert {module for module in absent if module in loaded} == set()


# The manifest


GOLDEN = Path(__file__).parents[1] / "data" / "manifest.json"


def test_the_manifest_schema_is_in_the_package():
    """What readers of manifests check against; `test_docs.py` holds it to the code. It fits what is written."""
    schema = json.loads((files("pixverse_dagster") / "core" / "manifest.schema.json").read_text())
    assert schema["properties"]["version"]["const"] == 2
    written = json.loads(GOLDEN.read_text())
    assert set(schema["required"]) <= set(written) == set(schema["properties"])
    # Keys of later releases are allowed, on every level.
    assert [name for name, part in schema["$defs"].items() if "additionalProperties" in part] == []
    assert "additionalProperties" not in schema


def test_a_manifest_is_read_without_dagster():
    """By those who only have the files: nothing else is loaded than what reads them."""
    program = (
        f"import sys\nfrom pixverse_dagster import ClipManifest\nfound = ClipManifest.load({str(GOLDEN)!r})\n"
        "print(found.row, *sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    row, *loaded = ran.stdout.split()
    assert row == "kite"
    assert {"dagster", "dagster_aws", "boto3", "av", "sqlalchemy", "httpx"} & set(loaded) == set()


# Errors


def error_classes() -> list[tuple[str, type[PixverseError]]]:
    """The error classes by name, PixverseError among them."""
    return [(n, c) for n, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, PixverseError)]


CLASSES = [found for _, found in error_classes()]


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_survives_pickling(kind: type[PixverseError]):
    """Dagster moves errors between processes: type, text and every argument arrive."""
    made: list[PixverseError] = [kind(), kind("row 'r1': no credit"), RateLimited("slow down", 2.5), RateLimited()]
    for error in made:
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        assert type(again) is type(error)
        assert (str(again), again.args) == (str(error), error.args)
        assert getattr(again, "retry_after_seconds", 0) == getattr(error, "retry_after_seconds", 0)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_docstring_is_its_default_message(kind: type[PixverseError]):
    """One or two sentences a person can act on; a message of its own replaces them."""
    text = kind.__doc__ or ""
    assert re.fullmatch(r"[A-Z][^\n]+[a-z]\.", text)
    assert (str(kind()), str(kind("x"))) == (text, "x")


def test_the_error_tree_is_as_it_is_drawn():
    """The drawing at the top of the module names every class under its parent, and no other."""
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"( *[│├└─ ]*)(\w+)(  |$)", line):
            depth = (len(found.group(1)) - 4) // 4
            path[depth:] = [found.group(2)]
            drawn[path[-1]] = path[-2] if depth else "Exception"
    assert drawn == {name: (found.__base__ or object).__name__ for name, found in error_classes()}


def test_the_wait_of_a_rate_limit_is_a_number_or_absent():
    """Whatever was put there."""
    assert [RateLimited("", value).retry_after_seconds for value in (None, 3, 0.5)] == [None, 3, 0.5]


# Commands


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """Every command and group by its words."""
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


COMMANDS = list(commands(cli))


def test_the_fixed_commands_are_there():
    """Other people's scripts call these."""
    fixed = {("demo",), ("dev",), ("simulator",), ("plan",), ("tasks", "list"), ("tasks", "show"), ("verify",)}
    fixed |= {("tasks", "resolve"), ("tasks", "retry"), ("tasks", "abandon")}
    assert fixed <= set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=[" ".join(words) or "pixverse-dagster" for words in COMMANDS])
def test_every_command_explains_itself(words: tuple[str, ...]):
    """`--help` exits with 0 and says what the command does before it lists its options."""
    for flag in ("--help", "-h"):
        helped = CliRunner().invoke(cli, [*words, flag], prog_name="pixverse-dagster")
        assert helped.exit_code == 0
        assert helped.output.startswith(" ".join(["Usage: pixverse-dagster", *words]))
        assert re.search(r"\n\n  [A-Z\d][^\n]{20,}", helped.output)


def test_commands_that_print_a_table_print_json_too():
    """For scripts."""
    for words in (["demo"], ["plan"], ["tasks", "list"], ["tasks", "show"], ["verify"]):
        assert "--json" in CliRunner().invoke(cli, [*words, "--help"]).output, words


def test_the_kinds_of_faults_are_those_of_the_simulator_and_stand_in_the_help():
    """They are written twice, for the simulator shares no code with the product."""
    assert set(FAULTS) == set(KINDS)
    for name in ("demo", "dev", "simulator"):
        helped = CliRunner().invoke(cli, [name, "--help"]).output
        assert [kind for kind in KINDS if kind not in helped] == []


BAD_USAGE: list[tuple[list[str], str]] = [
    (["sing"], "No such command 'sing'"),
    (["plan", "--colour"], "No such option"),
    (["simulator"], "Missing option '--port'"),
    (["simulator", "--port", "99999"], "99999 is not in the range"),
    (["simulator", "--port", "x"], "not a valid integer"),
    (["demo", "--rows", "0"], "0 is not in the range"),
    (["demo", "--prompts", "none.csv"], "does not exist"),
    (["demo", "--deadline-seconds", "0"], "is not in the range"),
    (["dev", "--port", "0"], "is not in the range"),
    (["dev", "--port", "8765"], "must be two ports"),
    (["demo", "--fault", "task.lost=1"], "there is no fault 'task.lost'. Kinds of faults: submit.rate_limited"),
    (["demo", "--fault", "task.failed"], "write KIND=RATE"),
    (["demo", "--fault", "task.failed=2"], "a rate from 0 to 1"),
    (["home"], "Give --home DIR or set DAGSTER_HOME"),
    (["demo", "--home", "/dev/null"], "/dev/null cannot be used"),
    (["demo", "--home", __file__], "is a file"),
    (["plan"], "Give --home DIR or set DAGSTER_HOME"),
    (["verify"], "Give --home DIR or set DAGSTER_HOME"),
    (["tasks", "list"], "Give --home DIR or set DAGSTER_HOME"),
    (["tasks", "list", "--state", "lost"], "'lost' is not one of"),
    (["tasks", "show"], "Missing argument 'ROW'"),
    (["plan", "--home", "none"], "there is no Dagster home at none"),
    (["plan", "--home", ".", "-m", "no.such.module"], "cannot import no.such.module"),
    (["plan", "--home", ".", "-m", "json"], "json has these pipelines: none"),
]


@pytest.mark.parametrize(("words", "complaint"), BAD_USAGE, ids=[" ".join(words) for words, _ in BAD_USAGE])
def test_bad_usage_ends_with_2_and_says_what_is_wrong(
    words: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Before anything is read, started or sent."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(cli, words)
    assert ended.exit_code == 2, ended.output
    assert complaint in ended.output
    assert list(tmp_path.iterdir()) == []


def test_the_program_is_installed_and_an_error_is_one_line(tmp_path: Path):
    """`pixverse-dagster` runs as a program; what a person can act on is no traceback and ends with 2."""
    program = [str(Path(sys.executable).with_name("pixverse-dagster"))]
    version = subprocess.run([*program, "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert pixverse_dagster.__version__ in version.stdout
    demo = ["demo", "--fault", "nonsense=1", "--home", str(tmp_path / "home")]
    ended = subprocess.run([*program, *demo], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("Error: ")


# Types and schema


def test_the_types_are_shipped():
    """Type checkers of users read this package's annotations."""
    assert (PACKAGE / "py.typed").exists()


def test_a_schema_reader_finds_every_field_of_the_manifest():
    """The design's list: where a clip came from, what it cost, what its bytes are."""
    schema: dict[str, Any] = ClipManifest.model_json_schema()
    assert set(schema["required"]) >= {
        "name", "row", "take", "labels", "model", "provider", "request", "request_digest", "task_id",
        "client_reference", "attempts", "submitted_at", "finished_at", "stored_at", "cost", "outputs", "dagster_run_id",
        "dagster_asset_key", "dagster_partition", "code_version", "account", "world", "ledger_id", "claim", "attempt",
        "request_sent", "digest_version", "package_version",
    }  # fmt: skip
    assert set(schema["$defs"]["ClipOutput"]["required"]) >= {
        "key", "sha256", "size_bytes", "poster_key", "poster_sha256", "poster_size_bytes", "container", "codec",
        "width", "height", "fps", "duration_seconds", "audio",
    }  # fmt: skip
