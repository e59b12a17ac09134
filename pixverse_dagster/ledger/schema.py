"""The ledger's tables. Times are seconds since the epoch, UTC; money is US dollars; JSON is stored as text."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

HEAD = "0002"
"""The newest migration; `migrations/versions` holds the way there."""
VERSION_TABLE = "pixverse_ledger_version"
metadata = MetaData()
meta = Table(
    "pixverse_meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)


snapshots = Table(
    "pixverse_snapshots",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("pipeline", String(200), nullable=False, index=True),
    Column("table_digest", String(64), nullable=False),
    Column("row_count", Integer, nullable=False),
    Column("problem_count", Integer, nullable=False),
    Column("problems", Text, nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
)


rows = Table(
    "pixverse_rows",
    metadata,
    Column("pipeline", String(200), primary_key=True),
    Column("row", String(255), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("line", Integer, nullable=False),
    Column("model", String(100), nullable=False),
    Column("take", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("request", Text, nullable=False),
    Column("images", Text, nullable=False),
    Column("labels", Text, nullable=False),
)


tasks = Table(
    "pixverse_tasks",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("pipeline", String(200), nullable=False),
    Column("row", String(255), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("take", Integer, nullable=False),
    Column("model", String(100), nullable=False),
    Column("request", Text, nullable=False),
    Column("images", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("client_reference", String(64), nullable=False, unique=True),
    Column("account", String(64), nullable=False),
    Column("released", Boolean, nullable=False),
    Column("settled", Text),
    Column("task_id", Text),
    Column("state", String(16), nullable=False),
    Column("kind", String(32)),
    Column("reason", Text),
    Column("note", Text, nullable=False),
    Column("urls", Text),
    Column("seeds", Text),
    Column("estimate_usd", Float),
    Column("cost_usd", Float),
    Column("run_id", String(64), nullable=False),
    Column("polls", Integer, nullable=False),
    Column("collects", Integer, nullable=False),
    Column("claimed_at", Float, nullable=False),
    Column("submitted_at", Float),
    Column("finished_at", Float),
    Column("stored_at", Float),
    Column("next_poll_at", Float),
    Column("next_collect_at", Float),
    # The claim: whoever inserts this row owns the attempt, and nobody else can.
    UniqueConstraint("pipeline", "row", "digest", "attempt", name="pixverse_tasks_claim"),
    Index("pixverse_tasks_due", "pipeline", "state", "next_poll_at"),
    Index("pixverse_tasks_open", "account", "state"),
)


# Rows that somebody asked to be submitted and that had to wait; a claim takes its row off.
waiting = Table(
    "pixverse_waiting",
    metadata,
    Column("pipeline", String(200), primary_key=True),
    Column("row", String(255), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("account", String(64), nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", Float, nullable=False),
    Column("next_submit_at", Float, nullable=False),
)


accounts = Table(
    "pixverse_accounts",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("held_until", Float, nullable=False),
    Column("strikes", Integer, nullable=False),
    Column("reason", Text, nullable=False),
)


# The take that a person asked for, where it is higher than the table's.
takes = Table(
    "pixverse_takes",
    metadata,
    Column("pipeline", String(200), primary_key=True),
    Column("row", String(255), primary_key=True),
    Column("take", Integer, nullable=False),
)
