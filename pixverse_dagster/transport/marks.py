"""Whether a file behind a URL is still the one that was read: its mark, and how a host is asked by it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

_LONGEST = 300
_ETAG, _TIME = "etag ", "time "
_SETTLED_SECONDS = 60
"""A file that changed within the second of its time has the same one; later than this, it had its last change."""


def mark_of(headers: Mapping[str, str]) -> str:
    """The mark that a host gives a file: its ETag, or its time; empty if nothing of it holds for the bytes."""
    etag = headers.get("ETag", "").strip()
    if etag and not etag.startswith("W/"):  # a weak one also stays where bytes change
        return _ETAG + etag if len(etag) <= _LONGEST and etag.isascii() else ""
    modified, date = (_moment(headers.get(name, "")) for name in ("Last-Modified", "Date"))
    if modified is None or date is None or (date - modified).total_seconds() < _SETTLED_SECONDS:
        return ""
    return f"{_TIME}{headers['Last-Modified']}"


def only_if_changed(mark: str) -> dict[str, str]:
    """The headers of a request that is answered with the file only if it is another one by now."""
    if mark.startswith(_ETAG):
        return {"If-None-Match": mark.removeprefix(_ETAG)}
    return {"If-Modified-Since": mark.removeprefix(_TIME)} if mark.startswith(_TIME) else {}


def _moment(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo is not None else None
