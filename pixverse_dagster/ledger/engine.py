"""Opening the ledger's database: the same schema and code on SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.secrets import remember_url
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger import schema
from pixverse_dagster.ledger.schema import meta

BUSY_TIMEOUT_SECONDS = 60
_WAL_RETRY_SECONDS = 0.02

CHUNK = 500
"""How many keys or rows one statement carries."""
_MIGRATION_LOCK = 0x50495856
"""An arbitrary constant: PostgreSQL's advisory lock for migrating this ledger."""


# A database error would otherwise quote what was being written: prompts, result URLs, webhook tokens.
_QUIET: dict[str, Any] = {"hide_parameters": True}


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite ledger in this file."""
    return sa.URL.create("sqlite", database=str(path)).render_as_string()


def open_engine(url: str) -> sa.Engine:
    """An engine for the ledger, its schema brought up to date. `postgresql://` is taken to mean psycopg2."""
    remember_url(url)
    parsed = sa.make_url(url)
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg2")
    if parsed.get_backend_name() == "sqlite":
        engine = _open_sqlite(parsed)
    else:
        # Whatever the database's default: a claim must see what was committed while it waited for its turn.
        engine = sa.create_engine(
            parsed, **_QUIET, isolation_level="READ COMMITTED", pool_pre_ping=True, pool_size=10, max_overflow=60
        )
    event.listen(engine, "handle_error", _hide_values)
    try:
        _migrate(engine)
    except BaseException:
        # Nobody gets this engine, so nobody else can close its connections.
        engine.dispose()
        raise
    return engine


def _hide_values(context: sa.engine.ExceptionContext) -> None:
    """Keep the first line of a database's words: below it PostgreSQL quotes the row that it refuses."""
    for error in (context.original_exception, context.sqlalchemy_exception):
        if error is not None:
            error.args = tuple(arg.partition("\n")[0] if isinstance(arg, str) else arg for arg in error.args)


def _open_sqlite(url: sa.URL) -> sa.Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(
        url,
        **_QUIET,
        pool_size=10,
        max_overflow=60,
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )

    def on_connect(connection: Any, _record: Any) -> None:
        # Transactions are begun by on_begin; the driver's own implicit ones would begin too late.
        connection.isolation_level = None
        cursor = connection.cursor()
        _use_wal(cursor)
        # FULL: the intent to pay must survive a power cut, not only a crash of this process.
        cursor.execute("PRAGMA synchronous=FULL")
        # Result URLs are permissions: deleted ones leave no bytes behind.
        cursor.execute("PRAGMA secure_delete=ON")
        cursor.close()

    def on_begin(connection: sa.Connection) -> None:
        # A writer takes the lock first: upgrading a read transaction fails at once instead of waiting.
        reading = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Switch the file to a write-ahead log, as often as it takes.

    SQLite waits for other connections in every statement but this one: where several processes open a new ledger at
    once, it fails immediately.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            threading.Event().wait(_WAL_RETRY_SECONDS)
        else:
            return


def _migrate(engine: sa.Engine) -> None:
    revision = _revision(engine)
    if revision == schema.HEAD:
        return
    if revision in schema.UNRELEASED:
        raise PixverseError(
            f"the ledger at {engine.url.render_as_string(hide_password=True)} is of a form from before the first "
            "release, which is not read: nothing was changed, and nothing is paid for. Keep it as a record, and point "
            "PIXVERSE_LEDGER_URL or the ledger resource at another database, or move the file away to begin a new one"
        )
    from alembic import command  # noqa: PLC0415 - needed once per ledger, not once per process
    from alembic.config import Config  # noqa: PLC0415 - as above
    from alembic.util import CommandError  # noqa: PLC0415 - as above

    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        config = Config()
        config.set_main_option("script_location", "pixverse_dagster.ledger:migrations")
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise PixverseError(
                f"the ledger cannot be brought to schema {schema.HEAD} ({error}): it may have been written by a newer "
                "pixverse-dagster. Nothing was changed; upgrade this installation"
            ) from error


def _revision(engine: sa.Engine) -> str | None:
    if not sa.inspect(engine).has_table(schema.VERSION_TABLE):
        return None
    with engine.connect().execution_options(read_only=True) as connection:
        return connection.execute(sa.text(f"SELECT version_num FROM {schema.VERSION_TABLE}")).scalar()  # noqa: S608 - our constant


def one_at_a_time(connection: sa.Connection) -> None:
    """Let no other such transaction in until this one ends; SQLite's writers wait for each other by themselves."""
    if connection.dialect.name == "sqlite":
        return
    connection.execute(sa.select(meta.c.key).where(meta.c.key == "ledger_id").with_for_update())


def reading(engine: sa.Engine) -> sa.Connection:
    """A connection that takes no writer's lock."""
    return engine.connect().execution_options(read_only=True)


def select_chunked(
    engine: sa.Engine, query: sa.Select[Any], column: sa.Column[Any], keys: Iterable[str] | None
) -> Iterator[Any]:
    """The records of a query; with `keys`, those whose column is one of them, asked for in bounded portions."""
    with reading(engine) as connection:
        if keys is None:
            yield from connection.execute(query)
            return
        for chunk in chunked(keys, CHUNK):
            yield from connection.execute(query.where(column.in_(chunk)))
