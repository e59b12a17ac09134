"""Asking the store before anybody is paid: whether a request is there, and whether others may have paid for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pixverse_dagster.core.errors import StoreConflict
from pixverse_dagster.core.layout import LEDGERS_PREFIX
from pixverse_dagster.core.row import Row
from pixverse_dagster.policy.plan import NotPaid, Verdict
from pixverse_dagster.stages.changed_images import say_changed
from pixverse_dagster.stages.find import Forgotten, ImageChanged, InStore, StoreAnswer, search_store
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.store import describe, probe_store, sign
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.marker import check_form, read_entries
from pixverse_dagster.transport.logs import get_logger

_log = get_logger()
_LOOK_AGAIN_SECONDS = 600
"""What a session did not find in the store it looks for again after so long: rows may wait for their turn for hours."""

_NOT_ASKED = "the store could not be asked whether it was paid for before ({}). Nothing was sent, nothing was spent"


@dataclass(frozen=True)
class StoreView:
    """What the store says of rows that would be paid for.

    `answers` has the rows that it holds something of. `withheld` says why no other row is paid for until a person
    decides, `problem` why the store could not be asked; both are empty if nothing is in the way.
    """

    answers: Mapping[str, StoreAnswer] = field(default_factory=dict[str, StoreAnswer])
    withheld: str = ""
    problem: str = ""


def ask_store(session: Session, store: ClipStore, rows: Sequence[Row]) -> StoreView:
    """What the store says of these rows. Writes nothing.

    Raises StoreConflict for a store of an earlier or a later form; whatever else is wrong with the store is `problem`.
    """
    if not rows:
        return StoreView()
    name, now, not_there = session.pipeline.name, session.clock(), session.asked.not_there
    try:
        check_form(store, name)
    except StoreConflict:
        raise
    except Exception as error:  # noqa: BLE001 - a store's own errors have no common base
        return StoreView(problem=_NOT_ASKED.format(describe(error)))
    try:
        sought = [row for row in rows if now - not_there.get((row.id, row.digest), 0.0) > _LOOK_AGAIN_SECONDS]
        paid = session.options.pay_for_changed_images
        answers = search_store(store, name, sought, session.worlds, pay_for_changed_images=paid)
        withheld = find_others(session, store)
    except Exception as error:  # noqa: BLE001 - as above
        return StoreView(problem=_NOT_ASKED.format(describe(error)))
    not_there.update({(row.id, row.digest): now for row in sought if row.id not in answers})
    return StoreView(answers, withheld)


def find_others(session: Session, store: ClipStore) -> str:
    """Why rows that the store does not have may have been paid for all the same; empty if no other ledger is known.

    Raises StoreConflict if what is written about a ledger cannot be understood, or the store's own error.
    """
    name, ledger, commands = session.pipeline.name, session.ledger, session.commands
    entries = read_entries(store)
    # Read after the entries: a run raises the ledger's epoch first and the store's second.
    epoch, known = ledger.ledgers.epoch, ledger.ledgers.acknowledged
    others = [one.ledger_id for one in entries if name in one.pipelines and one.ledger_id not in {ledger.id, *known}]
    ahead = max((one.epoch for one in entries if one.ledger_id == ledger.id), default=0)
    rebuild, beside = commands.render("ledger", "rebuild"), commands.render("ledger", "rebuild", "--beside")
    if others:
        return (
            f"the store knows pipeline {name!r} under another ledger ({', '.join(others)}), and has no clip of this "
            "row: it may be paid for and still be under way there. Nothing was sent, and nothing was spent. If that "
            f"ledger is lost: {rebuild}. If it is in use as well: {beside}"
        )
    if name in ledger.ledgers.unread:
        return (
            f"this ledger goes on as one that was lost, which kept pipeline {name!r} as well, and its clips are not "
            "taken in yet. The store has no clip of this row: it may be paid for and still be under way. Nothing was "
            f"sent, and nothing was spent. To take in what the store holds: {rebuild}"
        )
    if ahead > epoch:
        return (
            f"this ledger is older than the store: it is at epoch {epoch}, and the store has seen epoch {ahead} of it, "
            "as after it was restored from a copy. The store has no clip of this row: it may be paid for and still be "
            f"under way. Nothing was sent, and nothing was spent. To take in what the store holds: {rebuild}"
        )
    return ""


def begin_paying(session: Session, store: ClipStore) -> str:
    """Why nothing may be paid for now; empty if rows that the store does not have may be.

    Once in a session: the store shows that it can be written to and overwrites nothing, this ledger's epoch is raised,
    there and in the store, and then other ledgers are looked for again, so that of two that begin at the same moment
    one at least sees the other. Stopped at any moment, it is safe to repeat.
    """
    if session.asked.may_pay:
        return ""
    name, ledger = session.pipeline.name, session.ledger
    why = probe_store(store, name)
    if why:
        return why
    epoch = ledger.ledgers.raise_epoch()
    try:
        sign(store, ledger.id, name, epoch)
        why = find_others(session, store)
    except Exception as error:  # noqa: BLE001 - a store's own errors have no common base
        return (
            f"{store.uri(LEDGERS_PREFIX)} cannot be written to ({describe(error)}), and another ledger could pay for "
            "the same where it does not find the name of this one. Nothing was sent and nothing is paid for; what was "
            "paid before is still collected. Mend the store"
        )
    session.asked.may_pay = not why
    return why


def end_paying(session: Session) -> None:
    """Raise the epoch once more after rows were paid for: a copy of the ledger made meanwhile is older than the store.

    Where the store cannot be written to now, the next run that pays does it.
    """
    if session.open_store is None or not session.asked.may_pay:
        return
    store, ledger = session.open_store(), session.ledger
    try:
        sign(store, ledger.id, session.pipeline.name, ledger.ledgers.raise_epoch())
    except Exception as error:  # noqa: BLE001 - a store's own errors have no common base
        _log.warning("%s does not say that this run has paid: %s", store.uri(LEDGERS_PREFIX), describe(error))


def not_paid(session: Session, row: str, answer: StoreAnswer) -> NotPaid:
    """Why a row is not paid for, by what the store holds of it."""
    match answer:
        case InStore():
            manifest = answer.newest.manifest
            mine = manifest.ledger_id in {session.ledger.id, *_lost(session)}
            whose = "" if mine else f" by another ledger ({manifest.ledger_id})"
            return NotPaid(Verdict.IN_STORE, f"paid for{whose} on {manifest.submitted_at[:10]}: {manifest.task_id}")
        case Forgotten():
            when = answer.tombstone.when[:10]
            return NotPaid(Verdict.FORGOTTEN, f"deleted on demand on {when}, and not paid for again")
        case ImageChanged():
            return NotPaid(Verdict.WITHHELD, say_changed(session.commands, row))
        case _:
            words = f"what the store has in the place of its clip cannot be told: {answer.problem}"
            return NotPaid(Verdict.WITHHELD, words)


def _lost(session: Session) -> set[str]:
    return {one for one, fate in session.ledger.ledgers.acknowledged.items() if fate == "lost"}
