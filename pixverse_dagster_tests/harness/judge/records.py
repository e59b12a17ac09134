"""Every record of a pipeline as it stands, read past the product: ledger tables, store files, Dagster's event tables.

Nothing in this folder imports the product or the simulator: a misreading on their side cannot be on this one too.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

Record = Mapping[str, Any]
_EVER = -1


class Files(Protocol):
    """The files of a store, by their keys."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that begins so."""
        ...

    def read(self, key: str) -> bytes | None:
        """The bytes of a file; None if there is none."""
        ...


@dataclass(frozen=True)
class Folder:
    """A store that is a folder of this machine."""

    base: Path

    def keys(self, prefix: str) -> Iterator[str]:
        """What is being written beside it has a name that begins with a dot."""
        for path in sorted((self.base / prefix.rpartition("/")[0]).rglob("*")):
            key = path.relative_to(self.base).as_posix()
            if path.is_file() and key.startswith(prefix) and not any(part[0] == "." for part in key.split("/")):
                yield key

    def read(self, key: str) -> bytes | None:
        path = self.base / key
        return path.read_bytes() if path.is_file() else None


@dataclass(frozen=True)
class Bucket:
    """A store that is a bucket, or what is below a prefix of it, seen through a client of boto3."""

    client: Any
    bucket: str
    prefix: str = ""

    def keys(self, prefix: str) -> Iterator[str]:
        begin = f"{self.prefix.strip('/')}/" if self.prefix.strip("/") else ""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=begin + prefix)
        for page in pages:
            yield from (found["Key"].removeprefix(begin) for found in page.get("Contents", []))

    def read(self, key: str) -> bytes | None:
        name = "/".join(filter(None, [self.prefix.strip("/"), key]))
        try:
            return self.client.get_object(Bucket=self.bucket, Key=name)["Body"].read()
        except self.client.exceptions.NoSuchKey:
            return None


@dataclass(frozen=True)
class Books:
    """What one ledger says of a pipeline: its tasks by claim, and the money that it counts as spent or reserved."""

    ledger_id: str
    tasks: Sequence[Record]
    total_usd: float

    def newest(self) -> dict[str, Record]:
        """The newest task of each row."""
        return {task["row"]: task for task in self.tasks}


@dataclass(frozen=True)
class ClipEvent:
    """What Dagster's newest materialisation of a row's clips says."""

    task_id: str
    sha256s: Sequence[str]
    data_version: str


@dataclass(frozen=True)
class Places:
    """Where the records of one pipeline are."""

    pipeline: str
    ledger_url: str
    files: Files
    dagster_url: str = ""
    """The database with Dagster's events; empty where there is no Dagster."""

    def books(self) -> Books:
        """The ledger's tables. The column with the pending bodies of submits is left alone."""
        with _connected(self.ledger_url) as connection:
            found = connection.execute(
                sa.text("select * from pixverse_tasks where pipeline = :name order by claimed_at, claim"),
                {"name": self.pipeline},
            ).mappings()
            tasks = [{name: value for name, value in task.items() if name != "body"} for task in found]
            totals = sa.text(
                "select coalesce(sum(usd_millionths), 0) from pixverse_spending "
                "where scope in ('pipeline', 'simulator') and name = :name and day = :day"
            )
            total = connection.execute(totals, {"name": self.pipeline, "day": _EVER}).scalar_one()
            own = connection.execute(sa.text("select value from pixverse_meta where key = 'ledger_id'")).scalar_one()
        return Books(own, tasks, int(total) / 1_000_000)

    def clip_events(self) -> dict[str, ClipEvent]:
        """By row, what Dagster shows of its clips. What was wiped is not shown."""
        statement = sa.text(
            "select l.partition, l.event from event_logs l left join asset_keys k on k.asset_key = l.asset_key "
            "where l.asset_key = :key and l.dagster_event_type = 'ASSET_MATERIALIZATION' "
            "and (k.wipe_timestamp is null or l.timestamp > k.wipe_timestamp) order by l.id"
        )
        with _connected(self.dagster_url) as connection:
            key = json.dumps([self.pipeline, "clips"])
            return {row: _read_event(text) for row, text in connection.execute(statement, {"key": key})}


def sqlite_file(path: Path) -> str:
    """The URL of a SQLite database."""
    return f"sqlite:///{path}"


def dagster_events(home: Path) -> str:
    """Where a Dagster home without a database server keeps what it shows of assets."""
    return sqlite_file(home / "history" / "runs" / "index.db")


def _connected(url: str) -> Any:
    return sa.create_engine(url, poolclass=sa.NullPool).connect()


def _read_event(text: str) -> ClipEvent:
    told = json.loads(text)["dagster_event"]["event_specific_data"]["materialization"]
    said = {entry["label"]: entry["entry_data"] for entry in told["metadata_entries"]}
    manifest = said.get("pixverse/manifest", {}).get("data", {})
    return ClipEvent(
        said.get("pixverse/task_id", {}).get("text", ""),
        [output["sha256"] for output in manifest.get("outputs", ())],
        told["tags"].get("dagster/data_version", ""),
    )


def sha256(data: bytes | None) -> str:
    """The digest of a file's bytes; empty if there is no file."""
    return "" if data is None else hashlib.sha256(data).hexdigest()


def words_of(charge: Record) -> str:
    """The prompt of a charged submission: by it the rows of a test are told apart."""
    body = charge["request"]
    return str(body.get("prompt") or body.get("positivePrompt")).strip()


def words_of_task(task: Record) -> str:
    """The prompt of a ledger's task."""
    return str(json.loads(task["request"])["prompt"]).strip()


def provider_of(task: Record) -> str:
    """Whom a ledger's task was sent to."""
    return str(task["model"]).partition("/")[0]


def charges_by_row(charges: Sequence[Record], rows: Mapping[str, str]) -> dict[str, list[Record]]:
    """The charges of each row; `rows` are the rows by their words. What is nobody's has a name that says so."""
    found: dict[str, list[Record]] = defaultdict(list)
    for charge in charges:
        found[rows.get(words_of(charge), f"nobody's: {words_of(charge)}")].append(charge)
    return found
