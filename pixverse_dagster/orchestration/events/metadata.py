"""Metadata that several events have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import dagster as dg

from pixverse_dagster.core.layout import DIGEST_DIGITS
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Task, task_cost
from pixverse_dagster.core.values import iso

CLIP_CHECK = "playable_as_asked"
DATA_VERSION_TAG = "dagster/data_version"
TABLE_VERSION = "by row"
"""The data version of every reading: a changed row is marked by an event of its own, and no other is out of date."""


def metadata_table(columns: Sequence[str], lines: Iterable[Sequence[str | int]]) -> dg.TableMetadataValue:
    """Lines of cells as a table in metadata; `line` and `rows` are numbers."""
    kinds = {"line": "int", "rows": "int"}
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord(
                {
                    column: redact_text(cell) if isinstance(cell, str) else cell
                    for column, cell in zip(columns, line, strict=True)
                }
            )
            for line in lines
        ],
        schema=dg.TableSchema([dg.TableColumn(name, kinds.get(name, "string")) for name in columns]),
    )


def version_tags(
    task: Task, version: str, upstream: str, upstream_version: str, upstream_event_id: int | None = None
) -> dict[str, str]:
    """What Dagster needs to tell whether a partition is up to date; it adds them itself only to its own events.

    Of a partitioned upstream it looks at the event alone, of an unpartitioned one at the version alone.
    """
    return {
        DATA_VERSION_TAG: version,
        "dagster/data_version_is_user_provided": "true",
        "dagster/code_version": task.request.CODE_VERSION,
        f"dagster/input_data_version/{task.pipeline}/{upstream}": upstream_version,
        f"dagster/input_event_pointer/{task.pipeline}/{upstream}": "NULL"
        if upstream_event_id is None
        else str(upstream_event_id),
    }


def found_words(task: Task) -> str:
    """That a task was found in the store, and whose it is."""
    whose = f"paid for by ledger {task.paid_by}" if task.paid_by else "paid for by this ledger"
    return f"found in the store, {whose} on {iso(task.claimed_at)[:10]}"


def task_metadata(task: Task) -> dict[str, Any]:
    """What a task is and cost, and nothing that changes later: its state is the ledger's.

    Dagster plots every number over time; so numbers are only those that one wants to see plotted, and the rest is text.
    """
    cost = task_cost(task)
    metadata: dict[str, Any] = {} if cost.usd is None else {"pixverse/cost_usd": cost.usd}
    metadata |= {
        "pixverse/cost_source": cost.source,
        "pixverse/model": task.request.MODEL,
        "pixverse/provider": task.provider,
        "pixverse/task_id": task.task_id or "",
        **({"pixverse/attempt": str(task.attempt)} if task.attempt else {}),
        "pixverse/account": task.account,
        "pixverse/take": str(task.take),
        # Wide as the page is, a whole digest pushes the table over its edge; the manifest has it.
        "pixverse/digest": task.digest[:DIGEST_DIGITS],
    }
    if task.found_at is not None:
        # Its cost is of the day when it was claimed, and no cost of the run that found it.
        metadata["pixverse/found_at"] = dg.MetadataValue.timestamp(task.found_at)
        metadata["pixverse/paid_earlier"] = True
    if task.paid_by:
        metadata["pixverse/paid_by_ledger"] = task.paid_by
    if task.submitted_at:
        metadata["pixverse/submitted_at"] = dg.MetadataValue.timestamp(task.submitted_at)
    return metadata
