"""Marks: which clips a person picked or rejected, as read from the table that the gallery exports."""

import sqlalchemy as sa
from alembic import op

revision = "5ad0e37b92c8"
down_revision = "c25e81a7f094"


def upgrade() -> None:
    """Add the table. No clip has a mark yet."""
    op.create_table(
        "pixverse_marks",
        sa.Column("pipeline", sa.String(length=200), nullable=False),
        sa.Column("clip", sa.String(length=700), nullable=False),
        sa.Column("row", sa.String(length=255), nullable=False),
        sa.Column("task", sa.String(length=32), nullable=False),
        sa.Column("mark", sa.String(length=16), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("marked_at", sa.String(length=64), nullable=False),
        sa.Column("reported", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("pipeline", "clip"),
    )
