"""Slots: the account that a task is on, what waits for one, and what a person decided about a task."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what waiting and retrying need; tasks of before belong to no account and hold no slot."""
    op.add_column("pixverse_tasks", sa.Column("account", sa.String(64), nullable=False, server_default=""))
    op.add_column("pixverse_tasks", sa.Column("released", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("pixverse_tasks", sa.Column("settled", sa.Text))
    op.create_index("pixverse_tasks_open", "pixverse_tasks", ["account", "state"])
    op.create_table(
        "pixverse_waiting",
        sa.Column("pipeline", sa.String(200), primary_key=True),
        sa.Column("row", sa.String(255), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("next_submit_at", sa.Float, nullable=False),
    )
    op.create_table(
        "pixverse_accounts",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("held_until", sa.Float, nullable=False),
        sa.Column("strikes", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_table(
        "pixverse_takes",
        sa.Column("pipeline", sa.String(200), primary_key=True),
        sa.Column("row", sa.String(255), primary_key=True),
        sa.Column("take", sa.Integer, nullable=False),
    )
