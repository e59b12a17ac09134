"""The first ledger: snapshots and rows of prompt tables, tasks, and the ledger's own identity."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables and give this ledger its random id."""
    meta = op.create_table(
        "pixverse_meta", sa.Column("key", sa.String(64), primary_key=True), sa.Column("value", sa.Text, nullable=False)
    )
    op.bulk_insert(meta, [{"key": "ledger_id", "value": uuid.uuid4().hex}])
    op.create_table(
        "pixverse_snapshots",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("pipeline", sa.String(200), nullable=False, index=True),
        sa.Column("table_digest", sa.String(64), nullable=False),
        sa.Column("row_count", sa.Integer, nullable=False),
        sa.Column("problem_count", sa.Integer, nullable=False),
        sa.Column("problems", sa.Text, nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "pixverse_rows",
        sa.Column("pipeline", sa.String(200), primary_key=True),
        sa.Column("row", sa.String(255), primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("line", sa.Integer, nullable=False),
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("take", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("images", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
    )
    op.create_table(
        "pixverse_tasks",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("pipeline", sa.String(200), nullable=False),
        sa.Column("row", sa.String(255), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("take", sa.Integer, nullable=False),
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("images", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("client_reference", sa.String(64), nullable=False, unique=True),
        sa.Column("task_id", sa.Text),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(32)),
        sa.Column("reason", sa.Text),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("urls", sa.Text),
        sa.Column("seeds", sa.Text),
        sa.Column("estimate_usd", sa.Float),
        sa.Column("cost_usd", sa.Float),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("polls", sa.Integer, nullable=False),
        sa.Column("collects", sa.Integer, nullable=False),
        sa.Column("claimed_at", sa.Float, nullable=False),
        sa.Column("submitted_at", sa.Float),
        sa.Column("finished_at", sa.Float),
        sa.Column("stored_at", sa.Float),
        sa.Column("next_poll_at", sa.Float),
        sa.Column("next_collect_at", sa.Float),
        sa.UniqueConstraint("pipeline", "row", "digest", "attempt", name="pixverse_tasks_claim"),
        sa.Index("pixverse_tasks_due", "pipeline", "state", "next_poll_at"),
    )
