"""What the store says of the ledger, and what the ledger knows of itself."""

from __future__ import annotations

from collections.abc import Iterator

from pixverse_dagster.core.layout import LedgerKey
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.reports.verify import kinds
from pixverse_dagster.reports.verify.findings import Discrepancy
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.marker import read_entries


def compare_ledgers(ledger: Ledger, store: ClipStore, pipeline: str, *, stored: bool) -> Iterator[Discrepancy]:
    """What differs. `stored` says whether the ledger has stored a clip of the pipeline, so that it must be named.

    Raises StoreConflict or LedgersUnreadable where the store's documents cannot be read.
    """
    known, own = ledger.ledgers, ledger.id
    entries = {one.ledger_id: one for one in read_entries(store)}
    mine = entries.get(own)
    where = store.uri(str(LedgerKey(own)))
    if stored and (mine is None or pipeline not in mine.pipelines):
        said = "does not name the pipeline" if mine else "is not there"
        yield Discrepancy("", where, f"{said}, and the ledger has stored clips of it", kinds.LEDGER_UNSIGNED)
    if mine is not None and mine.epoch > known.epoch:
        words = f"counts {mine.epoch} beginnings and ends of runs that pay, and the ledger {known.epoch}"
        yield Discrepancy("", where, words, kinds.LEDGER_BEHIND)
