"""Copying a ledger while it is in use."""

from __future__ import annotations

import os
import shlex
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.ledger.schema import meta


def backup(url: str, target: Path) -> str:
    """Copy a SQLite ledger to a new file, as it is at one moment, whoever writes to it meanwhile. Returns its id.

    The file appears complete, checked and flushed to disk, or not at all. It is readable by its owner only, for a
    ledger holds result URLs. Raises PixverseError if the file exists, or if the copy is not the ledger.
    """
    source = Path(sa.make_url(url).database or "")
    if not source.is_file():
        raise PixverseError(f"there is no ledger at {source}: nothing was copied, and {target} was not made")
    if os.path.lexists(target):
        raise _exists(target)
    incoming = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        os.close(os.open(incoming, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        ledger_id = _copy(source, incoming)
        # A link, because a rename would replace a file that somebody made in the meantime.
        os.link(incoming, target)
    except FileExistsError:
        raise _exists(target) from None
    except (OSError, sqlite3.Error) as error:
        raise PixverseError(f"{source} could not be copied ({error}): {target} was not made") from error
    finally:
        incoming.unlink(missing_ok=True)
    _sync(target.parent)
    return ledger_id


def dump_command(url: str, target: Path) -> str:
    """The command that copies a ledger on PostgreSQL. It has no password: `pg_dump` asks, or finds it by itself."""
    parsed = sa.make_url(url)
    query = {name: value for name, value in parsed.query.items() if "password" not in name.lower()}
    public = sa.URL.create(
        "postgresql",
        username=parsed.username,
        host=parsed.host,
        port=parsed.port,
        database=parsed.database,
        query=query,
    )
    words = ["pg_dump", "--format=custom", "--table=pixverse_*", f"--file={target}", f"--dbname={public}"]
    return shlex.join(words)


def is_file(url: str) -> bool:
    """Whether the ledger is a SQLite file."""
    return sa.make_url(url).get_backend_name() == "sqlite"


def _copy(source: Path, incoming: Path) -> str:
    with closing(sqlite3.connect(source)) as ledger, closing(sqlite3.connect(incoming)) as copy:
        ledger.backup(copy)
        # One file, without a log beside it; the ledger turns its log on again when it is opened.
        copy.execute("PRAGMA journal_mode=DELETE")
        ledger_id = _read_id(ledger)
    with closing(sqlite3.connect(f"{incoming.resolve().as_uri()}?mode=ro", uri=True)) as copy:
        (state,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
        if state != "ok" or _read_id(copy) != ledger_id:
            raise PixverseError(f"the copy of {source} is not the ledger ({state}): it was deleted")
    _sync(incoming)
    return ledger_id


def _read_id(connection: sqlite3.Connection) -> str:
    query = f"SELECT value FROM {meta.name} WHERE key = 'ledger_id'"  # noqa: S608 - our constant
    (found,) = connection.execute(query).fetchone()
    return str(found)


def _exists(target: Path) -> PixverseError:
    return PixverseError(f"{target} exists and was not touched: give the copy a new name, such as one with the date")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
