"""What a person does to keep the record: copies of the ledger, and stores of another form that are left alone."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from pixverse_dagster.core.layout import clip_folder
from pixverse_dagster.ledger.engine import open_engine, sqlite_url
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster_tests.harness.commands import pixverse


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    return home


def test_the_ledger_is_copied_by_a_command(home: Path):
    """Once under each name; where there is no ledger, none is made."""
    url, copy = sqlite_url(home / "ledger.db"), home / "copy.db"
    given = {"PIXVERSE_LEDGER_URL": url}
    missing = pixverse("ledger", "backup", str(copy), home=home, environment=given, check=False)
    assert (missing.returncode, copy.exists()) == (2, False)
    assert "there is no ledger" in missing.stderr
    engine = open_engine(url)
    ledger_id = Ledger(engine).id
    made = pixverse("ledger", "backup", str(copy), home=home, environment=given)
    assert f"ledger {ledger_id} is in {copy}" in made.stdout
    engine.dispose()
    before = copy.read_bytes()
    again = pixverse("ledger", "backup", str(copy), home=home, environment=given, check=False)
    assert (again.returncode, copy.read_bytes()) == (2, before)
    assert "exists and was not touched" in again.stderr


def test_for_a_ledger_on_postgresql_the_command_is_printed(home: Path):
    """And what it prints is all that standard output has, without the password; nobody takes it for a copy."""
    given = {"PIXVERSE_LEDGER_URL": "postgresql://me:s3cret@db.example/ledger"}
    ran = pixverse("ledger", "backup", "ledger.dump", home=home, environment=given, check=False)
    assert ran.returncode == 2
    (line,) = ran.stdout.splitlines()
    assert shlex.split(line)[0] == "pg_dump"
    assert "Nothing was copied" in ran.stderr
    assert "s3cret" not in ran.stdout + ran.stderr


@pytest.mark.parametrize("command", ["plan", "verify"])
def test_a_store_of_the_earlier_form_is_refused_before_anything_is_read(home: Path, command: str):
    """In one line, and nothing is written there."""
    store = home / "clips"
    place = store / clip_folder("demo", "kite", "0" * 64, 1).manifest
    place.parent.mkdir(parents=True)
    place.write_text('{"version": 1}')
    given = {"PIXVERSE_CLIPS_DIR": str(store), "PIXVERSE_NAME": "demo"}
    ran = pixverse(command, home=home, environment=given, check=False)
    assert ran.returncode == 2
    assert "before the first release" in ran.stderr
    assert "nothing is paid against it" in ran.stderr
    assert [path for path in store.rglob("*") if path.is_file()] == [place]
