"""A copy of the ledger: whole, as of one moment, and never in the place of anything else."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import sqlalchemy as sa

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.ledger.backup import backup, dump_command, is_file
from pixverse_dagster.ledger.engine import open_engine, sqlite_url
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster_tests.harness.factories import NAME, make_rows


@pytest.fixture
def url(tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "ledger.db")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    engine = open_engine(url)
    yield Ledger(engine)
    engine.dispose()


def opened(path: Path) -> Iterator[Ledger]:
    engine = open_engine(sqlite_url(path))
    yield Ledger(engine)
    engine.dispose()


def test_a_copy_is_the_same_ledger(ledger: Ledger, url: str, tmp_path: Path):
    """With its id and its rows; one file, that only its owner may read."""
    ledger.rows.record(NAME, make_rows(5), [], "run-1", time.time())
    copy = tmp_path / "kept" / "ledger-1.db"
    copy.parent.mkdir()
    assert backup(url, copy) == ledger.id
    assert [path.name for path in copy.parent.iterdir()] == ["ledger-1.db"]
    assert copy.stat().st_mode & 0o777 == 0o600
    for found in opened(copy):
        assert (found.id, found.rows.find(NAME)) == (ledger.id, ledger.rows.find(NAME))


def test_a_ledger_is_copied_while_it_is_written_to(ledger: Ledger, url: str, tmp_path: Path):
    """What was committed together is in the copy together."""
    over, started = Event(), Event()

    def write() -> None:
        count = 1
        while not over.is_set():
            ledger.rows.record(NAME, make_rows(count % 50 + 1), [], f"run-{count}", time.time())
            count += 1
            started.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        started.wait()
        copies = [tmp_path / f"copy-{number}.db" for number in range(3)]
        for copy in copies:
            backup(url, copy)
        over.set()
        writing.result()
    for copy in copies:
        for found in opened(copy):
            with sa.create_engine(sqlite_url(copy)).connect() as connection:
                query = "SELECT row_count FROM pixverse_snapshots ORDER BY created_at DESC LIMIT 1"
                count = connection.execute(sa.text(query)).scalar_one()
            assert len(found.rows.find(NAME)) == count


def test_nothing_is_overwritten(ledger: Ledger, url: str, tmp_path: Path):
    """Whatever stands under the name, a link that leads nowhere included."""
    kept, link = tmp_path / "kept.db", tmp_path / "link.db"
    kept.write_bytes(b"yesterday")
    link.symlink_to(tmp_path / "nowhere")
    for target in (kept, link, tmp_path / "ledger.db"):
        before = sorted(tmp_path.iterdir())
        with pytest.raises(PixverseError, match="exists and was not touched"):
            backup(url, target)
        assert sorted(tmp_path.iterdir()) == before
    assert kept.read_bytes() == b"yesterday"


def test_what_is_no_ledger_leaves_no_copy(tmp_path: Path):
    """A missing file is not made, and another database is not taken for a ledger."""
    target, other = tmp_path / "copy.db", tmp_path / "other.db"
    with pytest.raises(PixverseError, match="there is no ledger"):
        backup(sqlite_url(tmp_path / "missing.db"), target)
    other.write_bytes(b"not a database at all" * 100)
    with pytest.raises(PixverseError, match="could not be copied"):
        backup(sqlite_url(other), target)
    with pytest.raises(PixverseError, match="could not be copied"):
        backup(sqlite_url(other), tmp_path / "no folder" / "copy.db")
    assert list(tmp_path.iterdir()) == [other]


def test_a_ledger_on_postgresql_is_copied_by_a_command_without_the_password():
    """Quoted for a shell, in its own drivers' words."""
    url = "postgresql+psycopg2://me:s3cret@db.example:5433/led%20ger?sslmode=require&sslpassword=s3cret"
    command = dump_command(url, Path("a b.dump"))
    assert "s3cret" not in command
    assert shlex.split(command) == [
        "pg_dump",
        "--format=custom",
        "--table=pixverse_*",
        "--file=a b.dump",
        "--dbname=postgresql://me@db.example:5433/led ger?sslmode=require",
    ]
    assert (is_file(url), is_file("sqlite:////a")) == (False, True)


def test_the_command_copies_a_ledger(postgres_database: str, tmp_path: Path):
    """Run as it is printed, against a real server."""
    if shutil.which("pg_dump") is None:
        pytest.skip("pg_dump is not installed")
    engine = open_engine(postgres_database)
    ledger_id = Ledger(engine).id
    engine.dispose()
    target = tmp_path / "ledger.dump"
    subprocess.run(shlex.split(dump_command(postgres_database, target)), check=True, timeout=60)
    shown = subprocess.run(["pg_restore", "--file=-", target], capture_output=True, text=True, check=True, timeout=60)
    assert ledger_id in shown.stdout
