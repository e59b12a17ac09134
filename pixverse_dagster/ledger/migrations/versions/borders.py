"""Whose a task is: the key that claimed it, the ledger that paid for it, and the world that its pipeline works in."""

from collections import Counter

import sqlalchemy as sa
from alembic import op

revision = "3b8f20d4c6e1"
down_revision = "7c41e9d05b2a"


def upgrade() -> None:
    """Add the columns. Tasks that are there belong to the first key that was seen for their account.

    What simulators charged leaves the totals of pipelines and runs, and gets totals of its own.
    """
    op.add_column("pixverse_tasks", sa.Column("key", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("pixverse_tasks", sa.Column("found_at", sa.Float(), nullable=True))
    op.add_column("pixverse_tasks", sa.Column("paid_by", sa.String(length=64), nullable=True))
    op.create_index("pixverse_tasks_reference", "pixverse_tasks", ["client_reference"])
    op.add_column("pixverse_account_keys", sa.Column("identity", sa.String(64), nullable=False, server_default=""))
    op.create_table(
        "pixverse_worlds",
        sa.Column("pipeline", sa.String(length=200), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("world", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("pipeline", "provider"),
    )
    _move_files()
    tasks = sa.table("pixverse_tasks", sa.column("account"), sa.column("key"))
    keys = sa.table("pixverse_account_keys", sa.column("account"), sa.column("fingerprint"), sa.column("first_seen_at"))
    first = (
        sa.select(keys.c.fingerprint)
        .where(keys.c.account == tasks.c.account)
        .order_by(keys.c.first_seen_at, keys.c.fingerprint)
        .limit(1)
        .scalar_subquery()
    )
    op.execute(sa.update(tasks).values(key=sa.func.coalesce(first, "")))
    _part_totals()


def _part_totals() -> None:
    columns = ("pipeline", "world", "run_id", "state", "claimed_at", "cost_usd", "estimate_usd")
    tasks = sa.table("pixverse_tasks", *map(sa.column, columns))
    spending = sa.table("pixverse_spending", *map(sa.column, ("scope", "name", "day", "usd_millionths")))
    query = sa.select(tasks).where(tasks.c.world == "simulator", tasks.c.state != "refused")
    simulated: Counter[tuple[str, str, int]] = Counter()
    for task in op.get_bind().execute(query).all():
        usd = task.estimate_usd if task.cost_usd is None else task.cost_usd
        if millionths := round((usd or 0.0) * 1_000_000):
            simulated["pipeline", task.pipeline, int(task.claimed_at // 86_400)] += millionths
            simulated["pipeline", task.pipeline, -1] += millionths
            simulated["run", f"{task.pipeline}/{task.run_id}", -1] += millionths
    own = {"pipeline": "simulator", "run": "simulator run"}
    for (scope, name, day), millionths in sorted(simulated.items()):
        same = (spending.c.scope == scope, spending.c.name == name, spending.c.day == day)
        op.execute(sa.update(spending).where(*same).values(usd_millionths=spending.c.usd_millionths - millionths))
        op.execute(sa.insert(spending).values(scope=own[scope], name=name, day=day, usd_millionths=millionths))


def _move_files() -> None:
    """Files get a table in which a key may have several digests; a primary key cannot be changed in every database."""
    common = ("task", "key", "sha256", "n", "size_bytes")
    op.create_table(
        "pixverse_files",
        sa.Column("task", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=700), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("task", "key", "sha256"),
    )
    before = sa.table("pixverse_outputs", *map(sa.column, (*common, "stored_at")))
    after = sa.table("pixverse_files", *map(sa.column, (*common, "recorded_at")))
    op.execute(sa.insert(after).from_select([*common, "recorded_at"], sa.select(*before.c)))
    op.drop_table("pixverse_outputs")
