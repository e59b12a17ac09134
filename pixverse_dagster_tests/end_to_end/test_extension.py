"""A fourth provider and a third store: each one file and one line, and everything else derives from them."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import pixverse_dagster
from pixverse_dagster_tests.harness.commands import prepare_instance
from pixverse_dagster_tests.harness.films import Film, film

PACKAGE = Path(pixverse_dagster.__file__).parent
TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
MODEL = "acme/pixverse-v9"


@dataclass
class Acme:
    """The provider's side: what it was asked for, and where it is."""

    url: str
    charged: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


@pytest.fixture
def acme(tmp_path: Path) -> Iterator[Acme]:
    """Acme's API on this machine: every task is done at once, and its clip is one file."""
    clip = film(tmp_path / "clip.mp4", Film()).read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            here.charged.append(body)
            self.answer({"id": f"task-{len(here.charged)}"})

        def do_GET(self) -> None:
            if self.path.endswith(".mp4"):
                self.send(clip, "video/mp4")
            else:
                self.answer({"url": f"{here.url}/{self.path.rsplit('/', 1)[1]}.mp4"})

        def answer(self, document: dict[str, Any]) -> None:
            self.send(json.dumps(document).encode(), "application/json")

        def send(self, data: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's own name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = Acme(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield here
    server.shutdown()
    thread.join()
    server.server_close()


def insert(path: Path, before: str, line: str) -> None:
    """Add one line to a file of the package, before the one that begins like this."""
    lines = path.read_text().splitlines(keepends=True)
    at = next(n for n, one in enumerate(lines) if one.startswith(before))
    path.write_text("".join([*lines[:at], f"{line}\n", *lines[at:]]))


@pytest.fixture
def extended(tmp_path: Path) -> dict[str, str]:
    """An environment in which the package has one more provider and one more store: two files, two lines."""
    library = tmp_path / "library"
    shutil.copytree(PACKAGE, library / "pixverse_dagster", ignore=shutil.ignore_patterns("__pycache__"))
    parts = TESTS / "harness" / "extension"
    shutil.copy(parts / "acme.py", library / "pixverse_dagster" / "providers")
    shutil.copy(parts / "database.py", library / "pixverse_dagster" / "storage")
    package = library / "pixverse_dagster"
    insert(package / "providers" / "__init__.py", "    )", '        "pixverse_dagster.providers.acme:Acme",')
    database = "pixverse_dagster.storage.database:DatabaseSettings"
    insert(package / "storage" / "__init__.py", "}", f'    "database": "{database}",')
    home = tmp_path / "home"
    prepare_instance(home, "telemetry:\n  enabled: false\n")
    (tmp_path / "table.csv").write_text(f"id,model,prompt,sparkle\nkite,{MODEL},a kite,true\nboat,{MODEL},a boat,\n")
    return {**os.environ, "PYTHONPATH": f"{library}{os.pathsep}{ROOT}", "DAGSTER_HOME": str(home)}


def run(environment: dict[str, str], *words: str) -> str:
    """Run a module as a program, and return what it printed."""
    ran = subprocess.run(
        [sys.executable, "-m", *words],
        env=environment,
        cwd=environment["DAGSTER_HOME"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    return ran.stdout


@pytest.mark.cover
def test_a_component_generates_with_a_new_provider_into_a_new_store(
    extended: dict[str, str], acme: Acme, tmp_path: Path
) -> None:
    """YAML names both; the row is charged once, at the price that stands on the model, and its clip can be loaded."""
    attributes = {
        "name": "films",
        "prompts": {"path": "rows.csv"},
        "simulator": acme.url.removesuffix("/acme"),
        "providers": {"acme": {"max_open_tasks": 1, "base_url": acme.url}},
        "store": {"database": {"file": str(tmp_path / "clips.db")}},
        "options": {"pace": {"first_poll_seconds": 0.1}, "budget": {"total_usd": 1}},
    }
    table, home = str(tmp_path / "table.csv"), extended["DAGSTER_HOME"]
    program = "pixverse_dagster_tests.harness.extension.component"
    found = json.loads(run(extended, program, json.dumps(attributes), table, home, "kite").splitlines()[-1])
    assert [body["text"] for body in acme.charged] == ["a kite"]
    assert found["cost_usd"] == 0.25
    assert found["uri"].startswith(f"{tmp_path / 'clips.db'}#films/clips/kite/")
    assert found["loaded_bytes"] == (tmp_path / "clip.mp4").stat().st_size


@pytest.mark.cover
def test_the_environment_and_the_commands_know_a_new_provider_and_a_new_store(
    extended: dict[str, str], acme: Acme, tmp_path: Path
) -> None:
    """Variables of their own, the plan's price, the task and the comparison of what is stored."""
    settings = {
        "PIXVERSE_MODE": "live",
        "ACME_API_KEY": "a key of the test",
        "PIXVERSE_ACCOUNTS": json.dumps({"acme": {"base_url": acme.url}}),
        "PIXVERSE_DATABASE_FILE": str(tmp_path / "clips.db"),
        "PIXVERSE_PROMPTS": str(tmp_path / "table.csv"),
        "PIXVERSE_DOWNLOAD": json.dumps({"allow_private_network": True}),
        "PIXVERSE_PACE": json.dumps({"first_poll_seconds": 0.1}),
    }
    environment, module = extended | settings, "pixverse_dagster.definitions"
    home = ("--home", extended["DAGSTER_HOME"])
    planned = json.loads(run(environment, "pixverse_dagster.cli", "plan", "--json", *home))
    assert [(row["model"], row["verdict"], row["cost_usd"]) for row in planned["rows"]] == [(MODEL, "new", 0.25)] * 2
    run(environment, "dagster", "asset", "materialize", "-m", module, "--select", "demo/prompts")
    run(environment, "dagster", "asset", "materialize", "-m", module, "--select", "demo/clips", "--partition", "boat")
    (task,) = json.loads(run(environment, "pixverse_dagster.cli", "tasks", "list", "--json", *home))
    assert (task["row"], task["state"], task["task_id"], len(acme.charged)) == ("boat", "stored", "task-1", 1)
    verified = json.loads(run(environment, "pixverse_dagster.cli", "verify", "--json", *home))
    assert (verified["clips"], verified["disagreements"]) == (1, [])


@pytest.mark.cover
def test_the_documents_name_a_new_provider_and_a_new_store(extended: dict[str, str], tmp_path: Path) -> None:
    """Parameters, variables and settings, from the same two files."""
    shutil.copytree(ROOT / "docs", tmp_path / "pages" / "docs")
    run(extended, "pixverse_dagster_tests.harness.documents", str(tmp_path / "pages"))
    parameters = (tmp_path / "pages" / "docs" / "parameters.md").read_text()
    configuration = (tmp_path / "pages" / "docs" / "configuration.md").read_text()
    assert f"## `{MODEL}`" in parameters
    assert "| `sparkle` | `sparkle` | true or false |" in parameters
    for line in ("| `ACME_API_KEY` |", "| `PIXVERSE_DATABASE_FILE` |", "| `database` | `file` |"):
        assert line in configuration
