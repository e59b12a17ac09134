"""New ledgers in files, copied from one: to bring an empty file up to date takes ten times as long."""

import sqlite3
import tempfile
import uuid
from contextlib import closing
from functools import cache
from pathlib import Path

from pixverse_dagster.ledger.engine import open_engine, sqlite_url
from pixverse_dagster.ledger.schema import meta


def ledger_in(folder: Path, name: str = "ledger.db") -> str:
    """The URL of the ledger in this folder; where there is none it gets a new one, with an id of its own."""
    path = folder / name
    if path.exists():
        return sqlite_url(path)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_template())
    with closing(sqlite3.connect(path)) as connection, connection:
        changed = f"UPDATE {meta.name} SET value = ? WHERE key = 'ledger_id'"  # noqa: S608 - our constant
        connection.execute(changed, (uuid.uuid4().hex,))
    return sqlite_url(path)


@cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        open_engine(sqlite_url(path)).dispose()
        return path.read_bytes()
