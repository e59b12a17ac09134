"""Rows whose folders would be one in this store: a problem of the later ones, before anything is paid for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pixverse_dagster.core.layout import encode_row
from pixverse_dagster.core.row import Problem
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.marker import alike
from pixverse_dagster.tables.parse import Draft
from pixverse_dagster.transport.logs import get_logger

_log = get_logger()


def shared_folders(session: Session, drafts: Sequence[Draft]) -> list[Problem]:
    """A problem for every row whose folder is that of an earlier row. Asks the store, which is left as it is.

    Only where there are ids that a store could take for one: nothing else is asked of it.
    """
    close = [group for group in _groups(drafts) if len(group) > 1]
    if not close or session.open_store is None:
        return []
    try:
        store = session.open_store()
        return [problem for group in close for problem in _problems(store, group)]
    except Exception as error:  # noqa: BLE001 - a store's own errors have no common base
        # The rows are read all the same: nothing is paid for that this store cannot keep.
        _log.warning("the store could not be asked whether it tells all rows apart (%s)", type(error).__name__)
        return []


def _groups(drafts: Iterable[Draft]) -> list[list[Draft]]:
    found: dict[str, list[Draft]] = {}
    for draft in drafts:
        found.setdefault(alike(encode_row(draft.id)), []).append(draft)
    return list(found.values())


def _problems(store: ClipStore, group: Sequence[Draft]) -> list[Problem]:
    counted: list[Draft] = []
    problems: list[Problem] = []
    for draft in group:
        same = (one for one in counted if not store.told_apart(encode_row(one.id), encode_row(draft.id)))
        if (first := next(same, None)) is None:
            counted.append(draft)
            continue
        words = (
            f"the store has one folder for this id and for {first.id!r} on line {first.raw.line}, which counts: its "
            "file system does not tell them apart. Nothing is paid for this row; give it another id"
        )
        problems.append(draft.problem("id", words))
    return problems
