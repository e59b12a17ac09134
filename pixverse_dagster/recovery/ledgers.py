"""Which other ledger a rebuilding is about: the one that the store knows and this one does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.manifest import ClipManifest
from pixverse_dagster.ledger.ledgers import Fate
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.marker import LedgerEntry, read_entries


@dataclass(frozen=True)
class Wish:
    """What a person says about the other ledger: which one, that it lives, that nothing of it can be pending."""

    ledger_id: str = ""
    beside: bool = False
    nothing_pending: bool = False


@dataclass(frozen=True)
class OtherLedger:
    """The ledger that a rebuilding is about, and what has become of it. It may be this one, restored from a copy.

    `others` are the pipelines that it kept besides this one.
    """

    id: str
    fate: Fate
    epoch: int
    others: tuple[str, ...] = ()


def choose_ledger(
    session: Session, store: ClipStore, manifests: Iterable[ClipManifest], wish: Wish
) -> OtherLedger | None:
    """The ledger that is meant; None if this one knows all ledgers that the pipeline has had in this store.

    Raises PixverseError where it is not clear which one is meant, or where there is no such ledger.
    """
    ledger, name = session.ledger, session.pipeline.name
    entries = {one.ledger_id: one for one in read_entries(store)}
    newest: dict[str, str] = {one.ledger_id: "" for one in entries.values() if name in one.pipelines}
    for manifest in manifests:
        newest[manifest.ledger_id] = max(newest.get(manifest.ledger_id, ""), manifest.stored_at)
    acknowledged = ledger.ledgers.acknowledged
    unknown = sorted(newest.keys() - acknowledged.keys() - {ledger.id}, key=lambda one: newest[one])
    if wish.ledger_id:
        if wish.ledger_id not in newest:
            raise PixverseError(
                f"no ledger {wish.ledger_id!r} kept pipeline {name!r} in this store: nothing was changed. It knows "
                f"{', '.join(newest) or 'none'}"
            )
        said = "beside" if wish.beside else "lost"
        # Said before, it is not said again: rows that are new since then would be taken for pending ones.
        if wish.ledger_id != ledger.id and acknowledged.get(wish.ledger_id) != said:
            return _other(entries, wish.ledger_id, name, wish)
    elif len(unknown) > 1:
        raise PixverseError(_ask_which(session, {one: newest[one] for one in unknown}))
    elif unknown:
        return _other(entries, unknown[0], name, wish)
    own = _other(entries, ledger.id, name, Wish())
    restored = own.epoch > ledger.ledgers.epoch
    return own if restored or name in ledger.ledgers.unread else None


def _other(entries: Mapping[str, LedgerEntry], ledger_id: str, pipeline: str, wish: Wish) -> OtherLedger:
    entry = entries.get(ledger_id)
    others = tuple(one for one in entry.pipelines if one != pipeline) if entry else ()
    return OtherLedger(ledger_id, "beside" if wish.beside else "lost", entry.epoch if entry else 0, others)


def _ask_which(session: Session, newest: Mapping[str, str]) -> str:
    commands = session.commands
    shown = "; ".join(
        f"{one} ({f'its newest clip is of {at}' if at else 'without a clip'}): "
        f"{commands.render('ledger', 'rebuild', '--ledger', one)} if it is lost, "
        f"{commands.render('ledger', 'rebuild', '--beside', '--ledger', one)} if it is in use elsewhere"
        for one, at in newest.items()
    )
    return (
        f"the store knows pipeline {session.pipeline.name!r} under {len(newest)} ledgers that this one does not know: "
        f"nothing was changed, and nothing is paid for until each is said to be lost or in use. {shown}"
    )
