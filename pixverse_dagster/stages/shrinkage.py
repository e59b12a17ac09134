"""A table of which most rows are gone: a file that was cut, or a query that found little, and not a person's wish."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.stages.read import TableReading
from pixverse_dagster.stages.session import Session

_MANY_ROWS = 20


def check_shrinkage(session: Session, reading: TableReading, going: Collection[str]) -> TableReading:
    """The reading; with a remark if fewer than half of the rows are left. `going` are the partitions that would go.

    Raises InvalidTable where many rows and their partitions would go at once and nobody has allowed it. What was read
    before then stays as it is.
    """
    before, after = set(session.ledger.rows.ids(session.pipeline.name)), reading.ids
    gone = before - after
    if 2 * len(after) >= len(before):
        return reading
    counted = f"the table has {len(after)} rows, and had {len(before)} when it was last read"
    if going and len(gone) >= _MANY_ROWS and not session.options.allow_shrink:
        raise InvalidTable(
            f"{session.pipeline.table.describe()}: {counted}; {len(going)} partitions would go. Nothing was taken: "
            "the rows, partitions and clips that are there stay. Nothing was sent. If it is meant, set the option "
            "allow_shrink, or keep_removed_partitions, and read it again"
        )
    return replace(reading, remarks=(*reading.remarks, counted))
