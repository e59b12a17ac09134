"""What providers charged, what they say that they charge, and what they say of their accounts."""

import sqlalchemy as sa
from alembic import op

revision = "4f6d2b8e91c3"
down_revision = "e1a97c3052d8"


def upgrade() -> None:
    """Add the tables. Of what was charged before, nothing counts as seen: the next charge will."""
    op.create_table(
        "pixverse_prices",
        sa.Column("account", sa.String(length=200), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("terms", sa.String(length=400), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("usd", sa.Float(), nullable=False),
        sa.Column("highest_usd", sa.Float(), nullable=False),
        sa.Column("highest_at", sa.Float(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("account", "model", "terms", "source"),
    )
    op.create_table(
        "pixverse_account_facts",
        sa.Column("account", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("amount", sa.Float(), nullable=True),
        sa.Column("unit", sa.String(length=16), nullable=False, server_default=""),
        sa.Column("key", sa.String(length=64), nullable=False, server_default=""),
        sa.Column("read_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("account", "kind"),
    )
