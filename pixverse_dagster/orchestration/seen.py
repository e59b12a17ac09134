"""What the poll sensor remembers from tick to tick, and what it tells of because of that."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import dagster as dg

from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.ledger.history import HistoryEntry
from pixverse_dagster.orchestration.events.red import ROWS_AT_ONCE, red_rows
from pixverse_dagster.orchestration.events.status import session_status, status_event
from pixverse_dagster.reports.ended import ENDS_WITHOUT_CLIP, find_without_clip
from pixverse_dagster.reports.status import Status
from pixverse_dagster.stages.session import Session
from pixverse_dagster.transport.logs import get_logger

LOOK_SECONDS = 60.0
"""How often, at most, a tick looks how the pipeline stands, and asks for a run that tells of failed rows."""
REPEAT_SECONDS = 600.0
"""While something is under way and nothing changes, it is told again so much later."""
_ENTRIES_AT_ONCE = 5000
_log = get_logger()


@dataclass(frozen=True)
class Seen:
    """The sensor's cursor. Times are seconds since the epoch; positions are of the ledger's history.

    All that happened up to `position` is in the status that was looked at last, and of all that ended up to `reported`
    a run was asked to tell.
    """

    looked_at: float = 0.0
    told_at: float = 0.0
    told: str = ""
    under_way: bool = False
    position: int = 0
    reported: int = 0
    asked_at: float = 0.0


def read_cursor(cursor: str | None) -> Seen:
    """What a cursor holds; of one of another form nothing, so that all is told once more."""
    try:
        return Seen(**json.loads(cursor or "{}"))
    except (ValueError, TypeError):
        return Seen()


def write_cursor(seen: Seen) -> str:
    """The cursor as text."""
    return json.dumps(asdict(seen))


def look_at_status(session: Session, seen: Seen) -> tuple[dg.AssetObservation | None, Seen]:
    """How the pipeline stands, if it is to be told now: at most once a minute while something is under way.

    And once more when all has come to rest. Told again only where it changed, or after ten minutes. A fault of that
    keeps nothing else from being done.
    """
    try:
        return _look_at_status(session, seen)
    except Exception as error:  # noqa: BLE001 - whatever it is, the clips that a tick asks for are none of its business
        _warn("how the pipeline stands", error)
        return None, seen


def look_at_ends(session: Session, instance: dg.DagsterInstance, seen: Seen) -> tuple[list[str], Seen]:
    """The rows that ended without a clip since the last time, which Dagster does not show as failed yet.

    At most once a minute, so that what fails together is one run. A fault of that keeps nothing else from being done.
    """
    try:
        return _look_at_ends(session, instance, seen)
    except Exception as error:  # noqa: BLE001 - as above
        _warn("which rows failed", error)
        return [], seen


def _look_at_status(session: Session, seen: Seen) -> tuple[dg.AssetObservation | None, Seen]:
    now = session.clock()
    if seen.looked_at <= now < seen.looked_at + LOOK_SECONDS:
        return None, seen
    position = session.ledger.overview.position()
    if position == seen.position and not seen.under_way:
        return None, seen
    status = session_status(session)
    looked = replace(seen, looked_at=now, position=position, under_way=status.is_under_way)
    told = _fingerprint(status)
    is_old = status.is_under_way and not seen.told_at <= now < seen.told_at + REPEAT_SECONDS
    if told == seen.told and not is_old:
        return None, looked
    return status_event(status), replace(looked, told=told, told_at=now)


def _look_at_ends(session: Session, instance: dg.DagsterInstance, seen: Seen) -> tuple[list[str], Seen]:
    now, name = session.clock(), session.pipeline.name
    if seen.asked_at <= now < seen.asked_at + LOOK_SECONDS:
        return [], seen
    entries = session.ledger.history.after(seen.reported, _ENTRIES_AT_ONCE, name)
    rows, last = _rows_that_ended(entries, seen.reported)
    ended = find_without_clip(session.ledger, name, rows, session.worlds)
    looked = replace(seen, reported=last)
    if not ended:
        return [], looked
    red = red_rows(instance, dg.AssetKey([name, "clips"]))
    wanted = sorted(ended.keys() - red)
    return wanted, replace(looked, asked_at=now) if wanted else looked


def _warn(what: str, error: Exception) -> None:
    _log.warning("%s could not be told: %s", what, redact_text(f"{type(error).__name__}: {error}"))


def _rows_that_ended(entries: list[HistoryEntry], before: int) -> tuple[list[str], int]:
    """The rows of entries that tell of an end without a clip, the first ones, and the position up to which."""
    rows, last = dict[str, None](), before
    for entry in entries:
        if entry.state in ENDS_WITHOUT_CLIP:
            if len(rows) >= ROWS_AT_ONCE and entry.row not in rows:
                break
            rows[entry.row] = None
        last = entry.position
    return list(rows), last


def _fingerprint(status: Status) -> str:
    """What a status says apart from the time: the same while nothing changes."""
    states = [(one.state, one.why, one.count) for one in status.states]
    said: list[Any] = [states, status.invalid_rows, status.spent_usd, status.at_stake_usd, status.paused]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]
