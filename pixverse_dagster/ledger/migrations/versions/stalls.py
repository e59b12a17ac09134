"""What does not come on: tasks that cannot be read or reached, rows that are refused again and again, and failures."""

import sqlalchemy as sa
from alembic import op

revision = "c25e81a7f094"
down_revision = "3b8f20d4c6e1"


def upgrade() -> None:
    """Add the columns. Nothing that is there counts as stalled, and no failure as newer than a retry policy."""
    op.add_column("pixverse_tasks", sa.Column("unread_since", sa.Float(), nullable=True))
    op.add_column("pixverse_tasks", sa.Column("stalled_at", sa.Float(), nullable=True))
    op.add_column("pixverse_tasks", sa.Column("failed_position", sa.BigInteger(), nullable=True))
    op.create_index("pixverse_tasks_failed", "pixverse_tasks", ["pipeline", "kind", "failed_position"])
    op.create_index("pixverse_rows_position", "pixverse_rows", ["pipeline", "position"])
    op.add_column("pixverse_policies", sa.Column("position", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("pixverse_waiting", sa.Column("answer", sa.Text(), nullable=False, server_default=""))
    op.add_column("pixverse_waiting", sa.Column("trouble", sa.Text(), nullable=False, server_default=""))
    cause = sa.Column("cause", sa.String(16), nullable=False, server_default="pace")
    op.add_column("pixverse_accounts", cause)
    op.add_column("pixverse_accounts", sa.Column("key", sa.String(64), nullable=False, server_default=""))
