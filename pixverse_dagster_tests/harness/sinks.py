"""Looks for secrets in everything that the product writes, shows or hands on. Shares nothing with the product."""

from __future__ import annotations

import sqlite3
import threading
import zlib
from collections.abc import Collection, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from pixverse_dagster_tests.harness.canaries import Canaries, Leak

LINKS_IN = frozenset({"request", "images", "body", "urls"})
"""The ledger's columns that hold what a submit or a download still needs: links as they are, but never a key."""
_LEDGER = "pixverse_"
_SAMPLE_SECONDS = 0.05
_SQLITE = b"SQLite format 3\0"


def search_folder(folder: Path, canaries: Canaries) -> Iterator[Leak]:
    """Every file, byte by byte, its name too, and every cell of every database; but for the ledger's free pages."""
    for path in sorted(folder.rglob("*")):
        where = str(path.relative_to(folder))
        yield from canaries.find("the name of a file", where)
        if not path.is_file():
            continue
        data = path.read_bytes()
        if data.startswith(_SQLITE):
            yield from _search_sqlite(path, where, canaries)
        if not path.name.startswith("ledger.db"):
            yield from canaries.find(where, data)


def _search_sqlite(path: Path, where: str, canaries: Canaries) -> Iterator[Leak]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for record in database.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - a name that the database gave
                yield from _search_record(f"{where}: {table}", table, dict(record), canaries)


def search_database(url: str, canaries: Canaries) -> Iterator[Leak]:
    """Every cell of every table."""
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            for table in sa.inspect(engine).get_table_names():
                for record in connection.execute(sa.text(f'SELECT * FROM "{table}"')).mappings():  # noqa: S608 - as above
                    yield from _search_record(f"the database: {table}", table, dict(record), canaries)
    finally:
        engine.dispose()


def _search_record(where: str, table: str, record: dict[str, Any], canaries: Canaries) -> Iterator[Leak]:
    for column, value in record.items():
        data: bytes = bytes(value) if isinstance(value, bytes) else str(value).encode(errors="replace")
        with suppress(zlib.error):  # Dagster keeps some documents compressed
            data += zlib.decompress(data)
        for leak in canaries.find(f"{where}.{column}", data):
            if not (leak.canary.is_link and table.startswith(_LEDGER) and column in LINKS_IN):
                yield leak


def search_bucket(client: Any, bucket: str, canaries: Canaries) -> Iterator[Leak]:
    """Every object: its key, its bytes, its metadata and its headers."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page.get("Contents", ()):
            answer = client.get_object(Bucket=bucket, Key=item["Key"])
            with closing(answer["Body"]) as body:
                data = body.read()
            about = {name: value for name, value in answer.items() if name not in {"Body", "ResponseMetadata"}}
            yield from canaries.find(f"s3: {item['Key']}", data)
            yield from canaries.find(f"s3: {item['Key']}: headers and metadata", f"{item['Key']} {about}")


class Watched:
    """The arguments and the environments of the processes that were seen."""

    def __init__(self) -> None:
        self.arguments: set[str] = set()
        self.environments: set[str] = set()

    def look(self) -> None:
        """Add what runs now below this process."""
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error, OSError):
                self.arguments.add("\0".join(process.cmdline()))
                self.environments.add("\0".join(f"{name}={value}" for name, value in process.environ().items()))

    def search(self, canaries: Canaries, given: Collection[str] = ()) -> Iterator[Leak]:
        """Arguments have no secret; environments have those alone that a person has put there, by these names."""
        for words in self.arguments:
            yield from canaries.find("a process's arguments", words)
        for environment in self.environments:
            added = [pair for pair in environment.split("\0") if pair.partition("=")[0] not in given]
            yield from canaries.find("a process's environment", "\0".join(added))


@contextmanager
def watching() -> Generator[Watched]:
    """Look at the processes that are started in the block, every so often."""
    watched, ended = Watched(), threading.Event()

    def look() -> None:
        while not ended.wait(_SAMPLE_SECONDS):
            watched.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watched
    finally:
        ended.set()
        thread.join()
