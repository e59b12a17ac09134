"""Prompt tables from a database query. SQLAlchemy is imported only when one is used."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.row import RawRow
from pixverse_dagster.core.secrets import remember_url
from pixverse_dagster.tables.cells import error_text, raw_row, unique_columns
from pixverse_dagster.tables.notes import Notes

if TYPE_CHECKING:
    import sqlalchemy as sa

_BATCH_ROWS = 500
_POSTGRES = {"postgresql", "postgres"}
"""Without a driver; `postgres://` is what hosts of databases hand out."""
_QUERY_SHOWN = 60
# The query is sent as it was written: colons and percent signs in it are not parameters.
_READING: dict[str, Any] = {"yield_per": _BATCH_ROWS, "no_parameters": True, "postgresql_readonly": True}


class SqlTable:
    """The rows of a query, in its order, streamed from any database that SQLAlchemy reaches.

    The query runs in a transaction that is always rolled back, and is read-only on PostgreSQL and SQLite.
    `postgresql://` and `postgres://` are taken to mean psycopg2. Without an ORDER BY, the line of a row may differ
    between two readings.
    """

    def __init__(self, url: str, query: str) -> None:
        remember_url(url)
        self._url = url
        self._query = query

    def __repr__(self) -> str:
        return f"SqlTable({self.describe()})"

    def describe(self) -> str:
        """The database without user, password and options, and the beginning of the query."""
        words = redact_text(" ".join(self._query.split()))
        words = words if len(words) <= _QUERY_SHOWN else words[:_QUERY_SHOWN] + "…"
        try:
            return f"{_public(_parse(self._url))} ({words})"
        except InvalidTable:
            return f"(unreadable URL) ({words})"

    def read(self, notes: Notes | None = None) -> Iterator[RawRow]:
        """The rows in the query's order. Raises InvalidTable if the database or the query fails."""
        name = self.describe()
        with _connected(name, _parse(self._url)) as connection:
            result = connection.exec_driver_sql(self._query)
            if not result.returns_rows:
                raise InvalidTable(f"{name}: the query gives no rows: use a SELECT. Nothing was sent")
            columns = unique_columns(name, result.keys())
            if notes:
                notes.columns = columns
            for number, cells in enumerate(result, start=1):
                yield raw_row(number, dict(zip(columns, cells, strict=True)))


def _parse(url: str) -> sa.URL:
    from sqlalchemy import make_url  # noqa: PLC0415 - half a second that tables in files need not pay
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415 - for the same reason

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidTable(
            "the database's URL is not one that SQLAlchemy reads: write postgresql://user:password@host/database. "
            "Nothing was sent"
        ) from None
    return parsed.set(drivername="postgresql+psycopg2") if parsed.drivername in _POSTGRES else parsed


def _public(url: sa.URL) -> str:
    return str(type(url).create(url.get_backend_name(), host=url.host, port=url.port, database=url.database))


@contextmanager
def _connected(name: str, url: sa.URL) -> Generator[sa.Connection]:
    from sqlalchemy import NullPool, create_engine  # noqa: PLC0415 - half a second that tables in files need not pay
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - for the same reason

    file = url.database if url.get_backend_name() == "sqlite" else None
    if file and file != ":memory:" and not file.startswith("file:") and not Path(file).exists():
        # SQLite would create an empty database.
        raise InvalidTable(f"{name}: there is no such file. Nothing was sent")
    try:
        engine = create_engine(url, hide_parameters=True, poolclass=NullPool)
        with engine.connect().execution_options(**_READING) as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA query_only=ON")
            yield connection
    except (SQLAlchemyError, ImportError) as error:
        # The driver's own message: that of SQLAlchemy contains the whole query.
        text = error_text(getattr(error, "orig", None) or error)
        text = text.replace(url.password, "…") if url.password else text
        raise InvalidTable(
            f"{name}: cannot be read ({type(error).__name__}: {text}): check the query, the database and that its "
            "driver is installed. Nothing was sent"
        ) from None
