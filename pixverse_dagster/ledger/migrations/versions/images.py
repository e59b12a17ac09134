"""What images are sent as: what was made of those that a provider does not take, and since when an account has one."""

import sqlalchemy as sa
from alembic import op

revision = "e1a97c3052d8"
down_revision = "5ad0e37b92c8"


def upgrade() -> None:
    """Add the table and the column. No image was converted or staged before."""
    op.create_table(
        "pixverse_conversions",
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("recipe", sa.String(length=200), nullable=False),
        sa.Column("sent_digest", sa.String(length=80), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "recipe"),
    )
    staged_at = sa.Column("staged_at", sa.Float(), nullable=False, server_default="0")
    op.add_column("pixverse_staged_images", staged_at)
