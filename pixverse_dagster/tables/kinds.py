"""The format of a table's file: as its name or address has it, as its host says, or as its first bytes are. Pure."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import parse_qsl

from pixverse_dagster.tables.formats import FORMATS

HEAD_BYTES = 4096
_SAYING = ("format", "output", "exportformat", "tqx", "filetype", "type")
"""Parameters of a URL in which export pages name the format."""
_PROGRAMS = frozenset({".php", ".asp", ".aspx", ".ashx", ".jsp", ".do", ".cgi"})
_MEDIA_TYPES = {
    "text/csv": ".csv",
    "application/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/json": ".json",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".ndjson",
    "application/vnd.apache.parquet": ".parquet",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.ms-excel.sheet.macroenabled.12": ".xlsm",
}
"""Those that name one format; `text/plain` and `application/octet-stream` say nothing."""
_SUFFIX = re.compile(r"\.[a-z]{2,8}\d?")


def named_format(source: str, *, is_url: bool) -> str | None:
    """The format by the name of a file or by a URL, as its ending; None where only the content can tell.

    Another ending than those of tables is given back as it is: it is no table's.
    """
    place, _, query = source.partition("?") if is_url else (source, "", "")
    for name, value in parse_qsl(query.partition("#")[0]):
        if name.lower() in _SAYING and (ending := f".{value.rpartition(':')[2].strip().lower()}") in FORMATS:
            return ending
    suffix = PurePosixPath(place.partition("#")[0] if is_url else place).suffix.lower()
    if suffix in FORMATS or not is_url:
        return suffix
    return suffix if _SUFFIX.fullmatch(suffix) and suffix not in _PROGRAMS else None


def served_format(content_type: str) -> str | None:
    """The format by the `Content-Type` with which a host serves a file; None where that names none."""
    return _MEDIA_TYPES.get(content_type.partition(";")[0].strip().lower())


def sniffed_format(head: bytes) -> str:
    """The format of a file that begins with these bytes; CSV, if it is nothing else."""
    if head.startswith(b"PAR1"):
        return ".parquet"
    if head.startswith(b"PK\x03\x04"):
        return ".xlsx"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if re.match(rb'\[\s*[\[{\]]|\{\s*["}]', text):
        return ".json"
    return ".csv"
