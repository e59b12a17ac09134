"""Prompt tables in files: on this machine, behind a URL, or in S3."""

from __future__ import annotations

import io
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pixverse_dagster.core.errors import InvalidTable, ReadFailed
from pixverse_dagster.core.redaction import redact_url
from pixverse_dagster.core.row import RawRow
from pixverse_dagster.core.secrets import remember_url
from pixverse_dagster.tables.cells import error_text
from pixverse_dagster.tables.formats import FORMATS, Reader, format_names, needs_seek
from pixverse_dagster.tables.kinds import HEAD_BYTES, named_format, served_format, sniffed_format
from pixverse_dagster.tables.notes import FileSettings, Notes
from pixverse_dagster.tables.text import READ_AHEAD_BYTES
from pixverse_dagster.transport.download import Downloader, DownloadRules

MAX_COPY_BYTES = 512 * 1024**2
"""Largest table that is copied to a temporary file in order to be read."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_CHAINS = frozenset(
    {"simplecache", "filecache", "blockcache", "cached", "reference", "zip", "tar", "dir", "local", "data"}
)
"""What fsspec knows and is no place of its own."""
_QUERY = re.compile(r"[?#].*", re.DOTALL)


@dataclass(frozen=True)
class Look:
    """What a look at a watched table says: whether it is due to be read, and what to remember until the next look."""

    is_due: bool
    cursor: str
    words: str


def look_at(cursor: str | None, seen: str | None) -> Look:
    """Judge a table's fingerprint by the last looks at it. Pure.

    A table is due if it is not what was taken last, and two looks in a row saw the same of it: at the first it may
    still be written. No time is compared with any clock, as a network share has its own.
    """
    try:
        kept: Any = json.loads(cursor or "{}")
    except ValueError:
        kept = None
    known = cast("dict[str, Any]", kept) if isinstance(kept, dict) else {}
    taken, before = known.get("taken"), known.get("seen")
    is_due = seen is not None and seen == before != taken
    if seen is None:
        words = "is not there"
    elif seen == taken:
        words = "is as it was"
    else:
        words = "has changed: it is read if it is still the same at the next look"
    return Look(is_due, json.dumps({"taken": seen if is_due else taken, "seen": seen}), words)


class FileTable:
    """A prompt table in a file: a path, a `file://`, `http(s)://` or `s3://` URL, or one that fsspec reaches.

    `gs://`, `abfs://`, `sftp://`, `hf://` and others need their own library (gcsfs, adlfs …) and its configuration.

    What is read is one state of it: a file that changes while it is read is not taken, and of an object in S3 one
    version is read.

    `.csv`, `.tsv` and `.txt` are read as CSV with a header line, whatever its separator; `.json` as an array of
    objects, `.jsonl` and `.ndjson` as JSON Lines, `.parquet` as Parquet, `.xlsx` as a workbook. `settings` come before
    the name. Of a URL, its query comes before its ending (`format=csv`); without either, the host's `Content-Type`
    tells, and else the content. With `first_rows`, only so many rows are read.

    `rules` limit what is fetched by http(s). `s3` makes a boto3 S3 client, which is closed after use; the default one
    finds its region, endpoint and credentials in the environment.
    """

    def __init__(
        self,
        source: str | Path,
        first_rows: int | None = None,
        *,
        rules: DownloadRules | None = None,
        s3: Callable[[], Any] | None = None,
        settings: FileSettings | None = None,
    ) -> None:
        remember_url(str(source))
        self._given = source
        found = None if isinstance(source, Path) else _SCHEME.match(source)
        self._scheme = found.group(1).lower() if found else ""
        self._source = str(source)
        self._first_rows = first_rows
        self._rules = rules or DownloadRules()
        self._s3 = s3 or _environment_client
        self._settings = settings or FileSettings()
        self.path = Path(url2pathname(urlsplit(self._source).path) if self._scheme == "file" else self._source)

    @property
    def folder(self) -> str:
        """Where relative image names start: the table's folder or URL; for a table in S3, the working directory."""
        if self._scheme in {"http", "https"}:
            return redact_url(_QUERY.sub("", self._source).rpartition("/")[0] + "/")
        return str(self.path.parent) if self._scheme in {"", "file"} else "."

    def describe(self) -> str:
        """The path of the file, or its URL without user, password and query string."""
        return redact_url(self._source) if self._scheme not in {"", "file"} else str(self.path)

    @property
    def can_be_watched(self) -> bool:
        """Whether a change of the file can be detected without reading it."""
        return self._scheme in {"", "file", "s3"}

    def fingerprint(self) -> str | None:
        """A text that changes when the file does: its time and size, or S3's ETag. None if there is no file."""
        if self._scheme == "s3":
            # Imported here: 1 s, which other tables need not pay.
            from botocore.exceptions import ClientError  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]

            try:
                with closing(self._s3()) as client:
                    return str(client.head_object(**self._object())["ETag"])
            except ClientError:
                return None
        try:
            found = self.path.stat()
        except (OSError, ValueError):  # a name with a NUL is no file's
            return None
        return f"{found.st_mtime_ns}-{found.st_size}"

    def _object(self) -> dict[str, str]:
        """The bucket and key of an `s3://` URL."""
        bucket, _, key = self._source[len("s3://") :].partition("/")
        return {"Bucket": bucket, "Key": key}

    def with_settings(self, settings: FileSettings) -> FileTable:
        """The same table, read with these settings."""
        return FileTable(self._given, self._first_rows, rules=self._rules, s3=self._s3, settings=settings)

    def read(self, notes: Notes | None = None) -> Iterator[RawRow]:
        """The rows in file order. Raises InvalidTable if the file cannot be read or its format is unknown."""
        notes = notes or Notes()
        reader = self._find_reader()
        served = [""]
        seekable = reader is None or needs_seek(reader)
        with self._unchanged(), self._open(seekable=seekable, told=served.append) as stream:
            if reader is None:
                reader = FORMATS[served_format(served[-1]) or sniffed_format(stream.read(HEAD_BYTES))]
                stream.seek(0)
            yield from islice(reader(self.describe(), stream, notes, self._settings), self._first_rows)

    def _find_reader(self) -> Reader | None:
        """The reader of the format that is said; None if host or content have to tell, of a URL without an ending."""
        kind = named_format(self._source, is_url=self._scheme not in {"", "file", "s3"})
        if self._settings.format:
            kind = f".{self._settings.format.lower().lstrip('.')}"
        if kind is not None and kind not in FORMATS:
            raise InvalidTable(f"{self.describe()}: tables are {format_names()} files, not {kind!r}. Nothing was sent")
        return FORMATS[kind] if kind else None

    @contextmanager
    def _unchanged(self) -> Generator[None]:
        """The file has the same time and size after the block, or what was read in it is not a table."""
        watched = self._scheme in {"", "file"}
        before = self.fingerprint() if watched else None
        try:
            yield
        except InvalidTable:
            if before is None or self.fingerprint() == before:
                raise
        else:
            if before is None or self.fingerprint() == before:
                return
        raise InvalidTable(
            f"{self.describe()}: changed while it was read, and is perhaps still being written. Nothing of it was "
            "taken. Nothing was sent: read it again"
        )

    @contextmanager
    def _open(self, *, seekable: bool, told: Callable[[str], object]) -> Generator[BinaryIO]:
        match self._scheme:
            case "" | "file":
                opened = self._open_local()
            case "http" | "https":
                opened = self._fetch(told)
            case "s3":
                opened = self._open_s3(seekable=seekable)
            case scheme if _is_elsewhere(scheme):
                opened = self._copy_from_elsewhere()
            case _:
                raise InvalidTable(
                    f"{self.describe()}: a table is a path or a file://, http(s):// or s3:// URL, or one that fsspec "
                    "knows; for a database use SqlTable(url, query). Nothing was sent"
                )
        with opened as stream:
            yield stream

    @contextmanager
    def _open_local(self) -> Generator[BinaryIO]:
        try:
            with self.path.open("rb") as file:
                yield file
        except FileNotFoundError:
            raise InvalidTable(f"{self.path}: there is no such file. Nothing was sent") from None
        except (OSError, ValueError) as error:
            raise InvalidTable(f"{self.path}: cannot be read ({error_text(error)}). Nothing was sent") from None

    @contextmanager
    def _fetch(self, told: Callable[[str], object]) -> Generator[BinaryIO]:
        with closing(Downloader(self._rules)) as downloader, _scratch() as copy:
            try:
                most = min(self._rules.max_bytes, MAX_COPY_BYTES)
                downloader.fetch(self._source, copy, most, told=lambda headers: told(headers.get("Content-Type", "")))
            except ReadFailed as error:
                raise InvalidTable(f"{self.describe()}: {error}. Nothing was sent") from None
            copy.seek(0)
            yield copy

    @contextmanager
    def _copy_from_elsewhere(self) -> Generator[BinaryIO]:
        """A copy of a file that fsspec reaches: gs, abfs, sftp, hf … Its library is the user's own."""
        import fsspec  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]

        limit = min(self._rules.max_bytes, MAX_COPY_BYTES)
        with _scratch() as copy:
            try:
                with cast("Any", fsspec).open(self._source, "rb") as file:
                    while chunk := file.read(READ_AHEAD_BYTES):
                        copy.write(chunk)
                        if copy.tell() > limit:
                            break
            except Exception as error:  # noqa: BLE001 - what these libraries raise has no common base
                raise InvalidTable(
                    f"{self.describe()}: cannot be read ({type(error).__name__}: {error_text(error)}): check its name, "
                    f"the credentials, and that fsspec's library for {self._scheme}:// is installed. Nothing was sent"
                ) from None
            if copy.tell() > limit:
                raise InvalidTable(f"{self.describe()}: larger than {limit} bytes. Nothing was sent")
            copy.seek(0)
            yield copy

    @contextmanager
    def _open_s3(self, *, seekable: bool) -> Generator[BinaryIO]:
        # Imported here: 1 s, which other tables need not pay.
        from botocore.exceptions import (  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]
            BotoCoreError,
            ClientError,
        )

        try:
            with closing(self._s3()) as client:
                found = client.get_object(**self._object())
                with closing(found["Body"]) as body:
                    if not seekable:
                        yield cast("BinaryIO", io.BufferedReader(body, READ_AHEAD_BYTES))
                        return
                    if found["ContentLength"] > (limit := min(self._rules.max_bytes, MAX_COPY_BYTES)):
                        raise InvalidTable(f"{self.describe()}: larger than {limit} bytes. Nothing was sent")
                    with _scratch() as copy:
                        shutil.copyfileobj(body, copy)
                        copy.seek(0)
                        yield copy
        except (BotoCoreError, ClientError, ValueError) as error:
            raise InvalidTable(
                f"{self.describe()}: cannot be read from S3 ({error_text(error)}): check its name and the "
                "credentials. Nothing was sent"
            ) from None


def _is_elsewhere(scheme: str) -> bool:
    # Imported here: other tables need not pay for it.
    from fsspec import available_protocols  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    return scheme in available_protocols() and scheme not in _CHAINS


def _scratch() -> Any:
    return tempfile.TemporaryFile(prefix="pixverse-table-")


def _environment_client() -> Any:
    # Imported here: 1 s, which other tables need not pay.
    import boto3  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]

    # A session of its own, because boto3's default session is not thread-safe.
    return cast("Any", boto3).session.Session().client("s3")
