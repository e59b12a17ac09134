"""The places in the queue of the rows that one run submits: asked for when it starts, and kept until they are sent."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from dataclasses import replace

from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Place, QueuedRow
from pixverse_dagster.policy.timing import MAX_PLACE_SECONDS
from pixverse_dagster.stages.session import Session

BUDGET_SECONDS = 600
"""A row in the queue that does not fit into what is left of a budget is looked at again after so long."""
ASKED = "asked for, and a run has it"
_MAX_SAME_REFUSALS = 3
_NUMBERS = re.compile(r"\w*\d[\w-]*")
_ANSWER_CHARACTERS = 200


def queued_row(session: Session, row: Row, reason: str) -> QueuedRow:
    """A row's place in the queue, as from now."""
    return QueuedRow(row.id, row.digest, row.request.provider(), session.run_id, reason, session.clock())


def take_as_asked(session: Session, keys: Iterable[str]) -> None:
    """These rows were asked for before this session: those that were withdrawn since are not asked for anew by it."""
    rows = session.ledger.rows.find(session.pipeline.name, keys)
    session.asked.rows.update((row.id, row.digest) for row in rows.values())


class Places:
    """The places of these rows. Thread-safe.

    From here on they are in the queue, leased to this run and renewed while it works, so that whatever becomes of it,
    what was asked for is not forgotten: when the lease is over, another run goes on. A row leaves the queue with its
    claim, or because `leave` said so. `close` writes what was said of the others.
    """

    def __init__(self, session: Session, rows: Iterable[Row]) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._lease_seconds = session.options.pace.collect_lease_seconds
        self._renewed_at = session.clock()
        self._kept: dict[str, Place] = {}
        self._left: set[str] = set()
        rows = list(rows)
        again = [row.id for row in rows if (row.id, row.digest) in session.asked.rows]
        session.asked.rows.update((row.id, row.digest) for row in rows)
        until = self._renewed_at + self._lease_seconds
        entries = [queued_row(session, row, ASKED) for row in rows]
        name, queue = session.pipeline.name, session.ledger.queue
        self._entries = queue.ask(name, entries, until, session.worlds, again) if entries else {}

    @property
    def renew_seconds(self) -> float:
        """How often the lease is to be renewed."""
        return self._lease_seconds / 3

    def make(self, row: Row, reason: str, wait_seconds: float = 0) -> Place:
        """The row's place as it is kept for this reason: no earlier in the queue, and no later."""
        entry = self._entries.get(row.id) or queued_row(self._session, row, reason)
        return Place(replace(entry, reason=reason), self._session.clock() + min(wait_seconds, MAX_PLACE_SECONDS))

    def make_last(self, row: Row, answer: str) -> Place | None:
        """A place at the end, after a refusal that may be about the row; None after the third same one in a row."""
        words = _without_numbers(answer)
        before = self._entries.get(row.id)
        refusals = 1 + (before.refusals if before and before.answer == words else 0)
        if refusals >= _MAX_SAME_REFUSALS:
            return None
        times = "once" if refusals == 1 else f"{refusals} times with the same answer"
        wait_seconds = self._session.options.pace.hold_wait(2 * refusals)
        place = self.make(row, f"refused {times}, and tried again at the end of the queue: {answer}", wait_seconds)
        entry = replace(place.entry, since=self._session.clock(), refusals=refusals, answer=words)
        return replace(place, entry=entry)

    def make_after_trouble(self, row: Row, said: str, wait_seconds: float) -> Place:
        """The row's place after it was told that something is wrong with the account, which is remembered."""
        place = self.make(row, said, wait_seconds)
        return replace(place, entry=replace(place.entry, trouble=_without_numbers(said)))

    def had_trouble(self, row: Row, said: str) -> bool:
        """Whether the row was told the same of its account before."""
        entry = self._entries.get(row.id)
        return entry is not None and entry.trouble == _without_numbers(said)

    def keep(self, row: Row, reason: str, wait_seconds: float = 0) -> None:
        """The row keeps its place, and its turn comes no earlier than after this time."""
        self.settle(row.id, self.make(row, reason, wait_seconds))

    def leave(self, key: str) -> None:
        """The row is not in the queue any more."""
        self.settle(key, None)

    def settle(self, key: str, place: Place | None) -> None:
        """The row keeps this place, or leaves the queue."""
        with self._lock:
            if place is None:
                self._left.add(key)
            else:
                self._kept[key] = place

    def written(self, key: str) -> None:
        """The row's claim, or the refusal of it, has said what is to be said."""
        with self._lock:
            self._entries.pop(key, None)

    def renew(self) -> None:
        """Take the lease again, if it is time."""
        session, now = self._session, self._session.clock()
        if now < self._renewed_at + self.renew_seconds:
            return
        self._renewed_at = now
        session.ledger.queue.renew(
            session.pipeline.name, sorted(self._rest()), session.run_id, now + self._lease_seconds
        )

    def close(self, *, withdrawn: bool) -> None:
        """Write it down. Others go on at once with the rows whose turn did not come.

        Not so if they are `withdrawn`, for a person stopped the run: whoever says that takes its rows off the queue.
        """
        session, now = self._session, self._session.clock()
        name, queue = session.pipeline.name, session.ledger.queue
        rest = self._rest()
        if not withdrawn:
            why = "the run that had it ended before its turn came"
            self._kept |= {key: Place(replace(self._entries[key], reason=why), now) for key in rest}
        queue.put_off(name, [place for _, place in sorted(self._kept.items())])
        queue.leave(name, sorted(self._left), session.run_id)

    def _rest(self) -> set[str]:
        with self._lock:
            return self._entries.keys() - self._kept.keys() - self._left


def _without_numbers(answer: str) -> str:
    """An answer as it is compared with the next one: ids and times in it differ every time."""
    return _NUMBERS.sub("#", answer).casefold()[:_ANSWER_CHARACTERS]
